"""Fresh processes of this package, whatever the caller has imported and wherever it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import edgedigit

PARENT = Path(edgedigit.__file__).resolve().parents[1]


def start(module: str, *arguments: str) -> subprocess.Popen:
    """Run `python -m module` with what it says on pipes of text."""
    path = os.pathsep.join(filter(None, (str(PARENT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
