"""A result file is added to by another run of the same measurement, and never replaced by one that says less."""

from __future__ import annotations

import json
import math
import re
from argparse import Namespace
from collections.abc import Collection, Sequence
from pathlib import Path

from edgedigit import peers
from edgedigit.bench.answers import DETECTOR, answer_name
from edgedigit.bench.browser import ARRIVAL, DRAWING, browser_name
from edgedigit.bench.cold_start import PHASES
from edgedigit.bench.live import CLICK, microphone_name
from edgedigit.bench.machine import machine_slug
from edgedigit.errors import InputError
from edgedigit.manifest import write_json

LISTENING = "listening"  # what hearing for long is called among the names of rows
LISTENING_LIVE = "listening_live"  # the same through a microphone
IN_REAL_TIME = "-in-real-time"  # ending of the name of the file that keeps what a machine heard at a microphone's pace
ASIDE = ".new"  # ending of what was measured and does not replace the file; no report reads it
# What reading a file raises that another program has written, or half of it.
DAMAGE = (OSError, ValueError, ArithmeticError, RecursionError, KeyError, TypeError, AttributeError)
SAME = ("machine", "commit", "seeds", "model", "asked")  # of runs whose rows may stand in one file
NAMED = 3  # of what would be lost; of the rest the number is given
GO_ON = "name another folder with --write DIR, or move the file away"


def destination(args: Namespace, machine: dict) -> Path | None:
    """The file that `--write` keeps the figures in: of a machine, one for streams in real time, and one for the rest.

    Raises:
        InputError: if what lies there is no result file.
        OSError: if its folder cannot be made.
    """
    if args.write is None:
        return None
    real_time = args.realtime or args.microphone or args.browser or args.listen_live
    path = args.write / f"{machine_slug(machine)}{IN_REAL_TIME if real_time else ''}.json"
    kept_extents(path)
    args.write.mkdir(parents=True, exist_ok=True)
    return path


def kept_results(path: Path) -> dict:
    """What a file holds; nothing without a file.

    Raises:
        InputError: if it is no result file.
    """
    if not path.exists():
        return {}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        extents(results)
        return results
    except DAMAGE as error:
        why = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is in the way and no result file of edgedigit.bench ({why}); {GO_ON}") from None


def kept_extents(path: Path) -> dict[str, float]:
    """`extents` of what a file holds; nothing without a file.

    Raises:
        InputError: if it is no result file.
    """
    results = kept_results(path)
    return extents(results) if results else {}


def can_be_added(kept: dict, new: dict, names: Collection[str]) -> bool:
    """Whether rows of another run may stand in one file with what is kept.

    Both are of the same code, model, seed, machine and material, and no row is in both, but for those of delays alone,
    of which the later counts.

    Args:
        kept: what a file holds.
        new: facts of the other run.
        names: of its rows.
    """
    same = all(kept.get(fact) and kept[fact] == new.get(fact) for fact in SAME)
    is_told = same and not f"{kept['commit']}".endswith(("-dirty", "unknown"))
    return is_told and not (set(names) - {CLICK, ARRIVAL, DRAWING}) & extents(kept).keys()


def together(kept: dict, new: dict) -> dict:
    """Two runs in one: the rows, and each sentence of their notes once."""
    rows = {row["name"]: row for one in (kept, new) for row in one["rows"]}
    sentences = dict.fromkeys(re.split(r"(?<=\.) (?=[A-Z])", f"{kept.get('note', '')} {new.get('note', '')}".strip()))
    return {**kept, **new, "rows": list(rows.values()), "note": " ".join(sentences)}


def extents(results: dict) -> dict[str, float]:
    """How much was measured, by name: words or runs of a row, minutes of listening; of each sound heard, 0.

    How many blocks and rows a browser brings is not asked for, and counts as 0 too.
    """
    sizes = {row["name"]: row.get("n_clips", row.get("n", 0)) for row in results["rows"]}
    sizes |= {name: 0 for name in (ARRIVAL, DRAWING) if name in sizes}
    for name in (LISTENING, LISTENING_LIVE):
        if listened := results.get(name):
            sizes[name] = listened.get("minutes", 0)
            sizes |= {f"{name} to {sound['name']}": 0 for sound in listened.get("sounds", ())}
    return sizes


def check_foreseen(
    path: Path, args: Namespace, model: Path, n_words: int, conditions: Collection[str], facts: dict
) -> None:
    """Refuse before anything is measured what the options leave out of a file that has it, or measure less of.

    Args:
        facts: of the run, as `can_be_added` compares them.

    Raises:
        InputError: naming what would be lost.
    """
    whose = (model.name, f"{model.name} with {DETECTOR}", f"{peers.SILERO}, {model.name}")
    named = {answer_name(who, n_words, args.realtime, one) for who in whose for one in conditions}
    named = named if "answers" in args.only else set()
    named |= {CLICK, *(microphone_name(model, n_words, one) for one in conditions)} if args.microphone else set()
    named |= {ARRIVAL, DRAWING, browser_name(model, n_words)} if args.browser else set()

    def foreseen(name: str) -> float | None:
        """How much of it will come; infinite: as much as its name says, None: nothing."""
        if name.startswith(LISTENING_LIVE):
            return 2 * args.listen_live if args.listen_live else None  # so many minutes of two sounds at most
        if name.startswith(LISTENING):
            return args.listen if name == LISTENING or not args.listen else math.inf
        if name in (CLICK, ARRIVAL, DRAWING) or ": end of word to answer" in name:
            return math.inf if name in named else None
        if name.endswith(": clip to answer"):
            return n_words if "peers" in args.only else None
        n_runs = args.processes if name.endswith(tuple(PHASES.values())) else args.runs
        return n_runs if "inference" in args.only else None

    kept = kept_extents(path)
    measured = {name: foreseen(name) for name in kept}
    if kept and can_be_added(kept_results(path), facts, [name for name, size in measured.items() if size is not None]):
        return
    lost = lost_of(kept, measured)
    if lost:
        raise InputError(f"{path} would lose {listed(lost)}; measure these too, {GO_ON}")


def keep(path: Path, results: dict) -> None:
    """Write results: added to a file where they may be, else beside one that has what they lack or holds more of it.

    Raises:
        InputError: naming what the file has and they have not, once they are written beside it.
    """
    kept = kept_results(path)
    if kept and can_be_added(kept, results, extents(results)):
        results = together(kept, results)
    lost = lost_of(extents(kept) if kept else {}, extents(results))
    if lost:
        aside = path.with_name(path.name + ASIDE)
        write_json(aside, results)
        raise InputError(
            f"{path} stays: it would lose {listed(lost)}; what was measured is in {aside}, move it to replace"
        )
    write_json(path, results)


def lost_of(kept: dict[str, float], new: dict[str, float | None]) -> list[str]:
    """What `kept` has and `new` has not, and what it has more of, with both sizes."""
    lost = []
    for name, size in kept.items():
        if new.get(name) is None:
            lost.append(name)
        elif new[name] < size:
            lost.append(f"{name} ({new[name]:g} in place of {size:g})")
    return lost


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return "; ".join(f"{name!r}" for name in names[:NAMED]) + more
