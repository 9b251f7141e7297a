"""Fixtures for every test."""

import contextlib
import functools
import os
from pathlib import Path

import pytest

from edgedigit.cli import run_main


@pytest.fixture(scope="session", autouse=True)
def exporter_keeps_its_operators():
    """Where the suite runs on all cores: torch.onnx.export would list its operators for 1.3 s each time."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    with contextlib.suppress(ImportError, AttributeError):  # another torch: the tests take longer
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))


@pytest.fixture(scope="session")
def data_dir():
    """Folder of real recordings, named by EDGEDIGIT_DATA."""
    folder = os.environ.get("EDGEDIGIT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("EDGEDIGIT_DATA does not name a folder of recordings")
    return Path(folder)


@pytest.fixture
def refusal(capsys):
    """Call a command with what it cannot use: the only line that it writes to stderr, having ended with 2."""

    def call(main, argv):
        try:
            code = run_main(main, [str(word) for word in argv])
        except SystemExit as stopped:  # argparse
            code = stopped.code
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert code == 2 and line.startswith("error: ")
        return line

    return call


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A small ONNX model that keeps the contract of the shipped ones."""
    pytest.importorskip("onnx")
    from tiny_model import build_tiny_model

    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture
def run(tiny_model, capsys):
    """Run infer.py in this process, with the tiny model: exit code, stdout lines, stderr lines."""
    import infer

    def run(*args):
        code = run_main(infer.main, [*map(str, args), "--model", str(tiny_model)])
        output = capsys.readouterr()
        return code, output.out.splitlines(), output.err.splitlines()

    return run


@pytest.fixture
def no_room(tmp_path):
    """Names of files that can be opened and not be written, as on a full disk: PNG, and JSON by its temporary name."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    names = tmp_path / "full.png", tmp_path / "full.json"
    names[0].symlink_to("/dev/full")
    names[1].with_name("full.json.tmp").symlink_to("/dev/full")
    return names
