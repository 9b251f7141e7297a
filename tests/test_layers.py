"""Imports point one way, and the deployed half does not know the training half."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "edgedigit"

# The rows of the architecture, top to bottom; some are divided once more, so that the order is total between them.
ROWS = (
    ("errors", "interrupt"),
    ("labels", "spec", "manifest"),
    ("audio", "emg", "features", "cli", "metrics"),
    ("runtime", "config", "emg_features", "virtual_microphone"),
    ("answers", "display", "provenance", "recording"),
    ("listener",),
    ("live",),
    ("frontend", "data", "figures"),
    ("models",),
    ("train",),
    ("compress",),
    ("export",),
    ("report", "evaluate", "robustness", "peers", "word_stream", "search_space", "shared_study", "enroll", "serve"),
    ("crossval", "tune", "detection", "label_issues", "strings_eval"),
    ("bench",),
    ("compare",),
)
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
TRAINING_ONLY = {"torch", "torch_pruning", "onnx", "onnxsim", "scipy", "matplotlib", "yaml", "pyroomacoustics"}
TRAINING_ONLY |= {"tensorboard", "wandb", "jinja2"}


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def top_name(path):
    """`train` for edgedigit/train/losses.py, `audio` for edgedigit/audio.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Dotted names of all imports, those inside functions too; `from edgedigit import x` counts as edgedigit.x."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} uses a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(path):
    """First names below the package, `__version__` and the like left out."""
    names = {name.split(".")[1] for name in imports(path) if name.startswith("edgedigit.")}
    return {name for name in names if not name.startswith("__")}


def identity(path):
    return str(path.relative_to(ROOT))


def test_every_module_has_its_row():
    assert {top_name(path) for path in modules()} == set(ROW_OF)


@pytest.mark.parametrize("path", modules(), ids=identity)
def test_modules_import_from_rows_above_their_own(path):
    own = top_name(path)
    wrong = [name for name in own_imports(path) - {own} if ROW_OF[name] >= ROW_OF[own]]
    assert wrong == []


@pytest.mark.parametrize(
    "path", [ROOT / "infer.py", PACKAGE / "__init__.py", *sorted((PACKAGE / "runtime").glob("*.py"))], ids=identity
)
def test_the_deployed_half_stands_alone(path):
    assert not {name.split(".")[0] for name in imports(path)} & TRAINING_ONLY
    allowed = {name for row in ROWS[:4] for name in row} - {"metrics", "config", "emg_features", "virtual_microphone"}
    if path.name == "infer.py":
        allowed |= {"answers", "display", "listener", "live", "recording"}
    assert own_imports(path) <= allowed | {"Recognizer"}


def test_what_the_deployed_half_imports_stands_alone_too():
    """Followed to the end: no chain of imports leads from infer.py to the training half."""
    pending, seen = [ROOT / "infer.py", *(PACKAGE / "runtime").glob("*.py")], set()
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        assert not {name.split(".")[0] for name in imports(path)} & TRAINING_ONLY, identity(path)
        for name in own_imports(path):
            module = PACKAGE / f"{name}.py"
            pending += [module] if module.exists() else sorted((PACKAGE / name).glob("*.py"))


def test_rich_is_the_displays_alone_and_that_is_imported_when_used():
    users = [path for path in modules() if "rich" in {name.split(".")[0] for name in imports(path)}]
    assert [path.name for path in users] == ["display.py"]
    code = "import sys, infer, edgedigit.live, edgedigit.runtime; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", [PACKAGE / "__init__.py", *modules()], ids=identity)
def test_importing_does_nothing_but_define(path):
    """No prints, no thread settings, no environment variables at import."""
    forbidden = {"print", "set_num_threads", "set_num_interop_threads", "manual_seed", "setdefault", "putenv", "use"}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            continue
        calls = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
        names = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
        assert not names & forbidden, ast.unparse(statement)
        assert "environ[" not in ast.unparse(statement)
