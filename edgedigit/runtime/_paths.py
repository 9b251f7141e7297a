"""Where the shipped models lie: inside the installed package, or at the top of a checkout."""

from __future__ import annotations

import json
from pathlib import Path

from edgedigit.errors import ModelError

PACKAGE = Path(__file__).resolve().parents[1]
RESULTS = "export_results.json"  # written by export_models.py; its key "default" names the model to use


def artifacts_dir() -> Path:
    """The folder with the shipped models and `samples/`.

    Raises:
        ModelError: if there is none.
    """
    folder, places = find_folder("_artifacts", "artifacts", RESULTS)
    if folder is None:
        raise ModelError(
            f"no shipped model: {RESULTS} is in neither {places}; "
            "name a model file, or run export_models.py --output_dir artifacts"
        )
    return folder


def find_folder(packaged: str, in_checkout: str, file: str) -> tuple[Path | None, str]:
    """The folder that holds `file`, inside the installed package or at the top of a checkout, and where it may be."""
    candidates = (PACKAGE / packaged, PACKAGE.parent / in_checkout)
    folder = next((folder for folder in candidates if (folder / file).is_file()), None)
    return folder, " nor ".join(map(str, candidates))


def default_model() -> Path:
    """The shipped model that was measured best on the machine that exported it.

    Raises:
        ModelError: if there is none, or the results do not name one.
    """
    results = artifacts_dir() / RESULTS
    try:
        return results.parent / json.loads(results.read_text(encoding="utf-8"))["default"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f'{results} does not name a model under "default" ({error!r}); run export_models.py again'
        ) from None
