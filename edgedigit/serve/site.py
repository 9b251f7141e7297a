"""What lies where on the site: the page, a model, and the files of other projects."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgedigit.errors import InputError, ModelError
from edgedigit.manifest import manifest_path, verify_manifest
from edgedigit.runtime._paths import default_model, find_folder
from edgedigit.serve.vendor import vendor_files

PAGE = "index.html"
PAGE_SUFFIXES = (".html", ".css", ".js")


def site_files(model: Path | None = None, assets: Path | None = None) -> dict[str, Path]:
    """Every file of the site by its address below the root.

    Args:
        model: an ONNX file with its manifest beside it; None: the one that Python takes too.
        assets: folder of other projects' files; None: the user's cache, filled where it lacks one.

    Raises:
        InputError: if a file is missing or not the one that is expected.
        ModelError: if the model is missing or differs from its manifest.
    """
    model = model or default_model()
    if not model.is_file():
        raise ModelError(f"{model} is not a file, expected an ONNX model; export_models.py writes one")
    verify_manifest(model)
    files = {path.name: path for path in sorted(page_dir().iterdir()) if path.suffix in PAGE_SUFFIXES}
    files |= {"model/model.onnx": model, "model/manifest.json": manifest_path(model)}
    return files | {f"vendor/{name}": path for name, path in vendor_files(assets).items()}


def page_dir() -> Path:
    """The folder with the page: inside the installed package, or at the top of a checkout.

    Raises:
        InputError: if there is none.
    """
    folder, places = find_folder("_web", "web", PAGE)
    if folder is None:
        raise InputError(f"the page is in neither {places}; install edgedigit again")
    return folder


def copy_site(files: dict[str, Path], folder: Path) -> None:
    """Write the site into a folder that any web server can offer."""
    for name, source in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
