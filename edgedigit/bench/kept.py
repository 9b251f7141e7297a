"""A result file is not replaced by one that says less."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgedigit import peers
from edgedigit.bench.answers import DETECTOR, answer_name
from edgedigit.bench.browser import ARRIVAL, DRAWING, browser_name
from edgedigit.bench.live import CLICK, microphone_name
from edgedigit.bench.machine import machine_slug
from edgedigit.errors import InputError
from edgedigit.manifest import write_json

LISTENING = "listening"  # what hearing for long is called among the names of rows
ASIDE = ".new"  # ending of what was measured and does not replace the file; no report reads it
NAMED = 3  # of what would be lost; of the rest the number is given
GO_ON = "name another folder with --write DIR, or move the file away"


def destination(args: Namespace, machine: dict) -> Path | None:
    """The file that `--write` keeps the figures in.

    Raises:
        InputError: if what lies there is no result file.
        OSError: if its folder cannot be made.
    """
    if args.write is None:
        return None
    path = args.write / f"{machine_slug(machine)}.json"
    kept_names(path)
    args.write.mkdir(parents=True, exist_ok=True)
    return path


def kept_names(path: Path) -> list[str]:
    """Names of the rows that a file holds, and LISTENING where it has that; none without a file.

    Raises:
        InputError: if it is no result file.
    """
    if not path.exists():
        return []
    try:
        return names_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is in the way and no result file of edgedigit.bench ({why}); {GO_ON}") from None


def names_of(results: dict) -> list[str]:
    """What result files are compared by: names of rows, and LISTENING."""
    return [row["name"] for row in results["rows"]] + ([LISTENING] if results.get("listening") else [])


def check_foreseen(path: Path, args: Namespace, model: Path, n_words: int, conditions: Iterable[str]) -> None:
    """Refuse before anything is measured what the options leave out of a file that has it.

    Raises:
        InputError: naming what would be lost.
    """
    whose = (model.name, f"{model.name} with {DETECTOR}", f"{peers.SILERO}, {model.name}")
    foreseen = {answer_name(who, n_words, args.realtime, one) for who in whose for one in conditions}
    foreseen = foreseen if "answers" in args.only else set()
    foreseen |= {CLICK, microphone_name(model, n_words)} if args.microphone else set()
    foreseen |= {ARRIVAL, DRAWING, browser_name(model, n_words)} if args.browser else set()
    foreseen |= {LISTENING} if args.listen else set()

    def comes(name: str) -> bool:
        if name in (CLICK, ARRIVAL, DRAWING, LISTENING) or ": end of word to answer" in name:
            return name in foreseen
        return ("peers" if name.endswith(": clip to answer") else "inference") in args.only

    lost = [name for name in kept_names(path) if not comes(name)]
    if lost:
        raise InputError(f"{path} would lose {listed(lost)}; measure these too, {GO_ON}")


def keep(path: Path, results: dict) -> None:
    """Write results; beside the file, where that has what they lack.

    Raises:
        InputError: naming what the file has and they have not, once they are written beside it.
    """
    lost = [name for name in kept_names(path) if name not in names_of(results)]
    if lost:
        aside = path.with_name(path.name + ASIDE)
        write_json(aside, results)
        raise InputError(
            f"{path} stays: it would lose {listed(lost)}; what was measured is in {aside}, move it to replace"
        )
    write_json(path, results)


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return "; ".join(f"{name!r}" for name in names[:NAMED]) + more
