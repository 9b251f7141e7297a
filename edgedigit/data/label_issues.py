"""Recordings whose labels are doubted by a written rule; `python -m edgedigit.label_issues` finds them."""

from __future__ import annotations

import json
from pathlib import Path

from edgedigit.errors import ConfigError


def read_label_issues(path: str | Path) -> dict[str, str]:
    """Names of the doubted recordings, and what is heard in them instead.

    Raises:
        ConfigError: if the file is missing or is not one that `edgedigit.label_issues` wrote.
    """
    try:
        issues = json.loads(Path(path).read_text(encoding="utf-8"))["issues"]
    except OSError as error:
        raise ConfigError(f"data.label_issues {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        issues = None
    if not isinstance(issues, dict) or not all(isinstance(heard, str) for heard in issues.values()):
        raise ConfigError(
            f"data.label_issues {path} does not list issues by name; write it with python -m edgedigit.label_issues"
        )
    return issues
