"""Folders of multi-channel EMG recordings: described by a CSV manifest, or sorted into one sub-folder per label."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedigit.audio import find_files
from edgedigit.data.folder import MANIFEST, SPLITS
from edgedigit.data.progress import progress_bar
from edgedigit.data.recording import UNKNOWN_SPEAKER, Recording
from edgedigit.emg import EMG_SUFFIXES, read_emg
from edgedigit.errors import DataError
from edgedigit.spec import Signal

ALIASES = {  # columns of a manifest beside file and label, all optional, and what others call them
    "speaker": ("speaker", "subject"),
    "source": ("source", "study"),
    "session": ("session",),
    "rate": ("rate_hz", "rate", "sample_rate"),
    "samples": ("samples",),
    "split": ("split",),
}
MIN_SPREAD = 1.0  # of the loudest recording's samples: microvolts and steps of converters are far above, volts below


@dataclass(frozen=True)
class EmgEntry:
    """A recording that has not been read yet; attributes as in `Recording`, 0 where the manifest does not say."""

    path: Path
    label: str
    speaker: str
    source: str
    name: str
    session: str
    split: str
    rate_hz: int
    n_samples: int


def load(folder: Path, labels: Sequence[str] | None, signal: Signal, progress: bool = False) -> list[Recording]:
    """All recordings of `folder` that have one of `labels`, checked against the signal.

    Raises:
        DataError: as `entries`, or if rates or channels are mixed or not the signal's, or a file is not as long as its
            manifest says, or values are in volts.
        EmgError: if a file cannot be read.
    """
    found = [entry for entry in entries(folder) if labels is None or entry.label in labels]
    _check_rates(folder, found, signal)
    recordings = []
    for entry in progress_bar(found, progress, desc="reading recordings", unit="file"):
        emg = read_emg(entry.path)
        if entry.n_samples and emg.shape[1] != entry.n_samples:
            raise DataError(f"{entry.path} holds {emg.shape[1]} samples, its manifest says {entry.n_samples}")
        recordings.append(
            Recording(
                emg,
                signal.sample_rate,
                entry.label,
                entry.speaker,
                entry.source,
                entry.name,
                entry.split,
                entry.session,
            )
        )
    _check_channels(folder, recordings, signal)
    if recordings and max(float(np.ptp(r.waveform)) for r in recordings) < MIN_SPREAD:
        raise DataError(f"the recordings of {folder} stay within {MIN_SPREAD}: volts? expected microvolts or ADC steps")
    return recordings


def entries(folder: Path) -> list[EmgEntry]:
    """All recordings of `folder`, in a fixed order.

    With a `manifest.csv` in it, its rows: columns file and label, and any of `ALIASES`. Where the nearest one above has
    rows of files below `folder`, those. Without, every `.npy` and `.csv` in `label/`, or in `train/label/`,
    `val/label/` and `test/label/`: one unknown person in one session.

    Raises:
        DataError: if the folder, a column, a value or a file is missing, or there are no recordings.
    """
    if not folder.is_dir():
        raise DataError(f"folder {folder} does not exist; write emg:PATH with a path below the data directory")
    if (folder / MANIFEST).is_file():
        return _from_manifest(folder / MANIFEST, folder)
    above = next((path / MANIFEST for path in folder.absolute().parents if (path / MANIFEST).is_file()), None)
    if above and (found := _from_manifest(above, folder)):
        return found
    if found := _from_subfolders(folder):
        return found
    raise DataError(f"{folder} holds neither {MANIFEST} nor label/recording files; expected one of the two layouts")


def _from_subfolders(folder: Path) -> list[EmgEntry]:
    parts = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.lower() in SPLITS)
    found = []
    for part in parts or [folder]:
        for path in find_files(part, "*/*", EMG_SUFFIXES):
            source, name = folder.name, f"{folder.name}/{path.relative_to(folder)}"
            split = SPLITS[part.name.lower()] if parts else ""
            speaker = f"{source}:{UNKNOWN_SPEAKER}"
            found.append(EmgEntry(path, path.parent.name, speaker, source, name, "", split, 0, 0))
    return found


def _from_manifest(manifest: Path, below: Path) -> list[EmgEntry]:
    try:
        return _rows_below(manifest, below)
    except UnicodeDecodeError as error:
        raise DataError(f"{manifest} is not UTF-8 text ({error}); save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{manifest} is not CSV ({error}); close every quote, or save it again") from None


def _rows_below(manifest: Path, below: Path) -> list[EmgEntry]:
    with manifest.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        columns = reader.fieldnames or ()
        missing = [column for column in ("file", "label") if column not in columns]
        if missing:
            raise DataError(
                f"{manifest} lacks the columns {', '.join(missing)}; it has {', '.join(columns)}"
                + (" in one column: separate them by commas" if len(columns) == 1 and ";" in columns[0] else "")
            )
        known = {name: next((c for c in choices if c in columns), "") for name, choices in ALIASES.items()}
        rows = [
            (reader.line_num, row)
            for row in reader
            if (manifest.parent / (row["file"] or "")).absolute().is_relative_to(below.absolute())
        ]
    if not rows and below == manifest.parent:
        raise DataError(f"{manifest} has no rows; expected one for each recording")
    found = [_from_row(manifest, line, row, known) for line, row in rows]
    name, count = max(Counter(entry.name for entry in found).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise DataError(f"{manifest} lists {name} {count} times; keep one row for each file")
    return found


def _from_row(manifest: Path, line: int, row: dict[str, str | None], known: dict[str, str]) -> EmgEntry:
    def value(column: str) -> str:
        return (row.get(column) or "").strip() if column else ""

    file, label = value("file"), value("label")
    if not file or not label:
        raise DataError(f"{manifest}, line {line}: file or label is empty; every recording needs both")
    path = manifest.parent / file
    if not path.is_file():
        raise DataError(f"{manifest}, line {line}: {path} does not exist; add the file or remove the line")
    split = value(known["split"]).lower()
    if split not in SPLITS:
        raise DataError(f"{manifest}, line {line}: split {split!r} is unknown; expected train, validation or test")
    numbers = {}
    for name in ("rate", "samples"):
        text = value(known[name])
        if text and not (text.isdecimal() and int(text) > 0):
            raise DataError(f"{manifest}, line {line}: {known[name]} is {text!r}, expected a whole number")
        numbers[name] = int(text or 0)
    source = value(known["source"]) or manifest.parent.name
    speaker = value(known["speaker"]) or UNKNOWN_SPEAKER
    session = value(known["session"])
    return EmgEntry(
        path=path,
        label=label,
        speaker=speaker if ":" in speaker else f"{manifest.parent.name}:{speaker}",
        source=source,
        name=f"{manifest.parent.name}/{file}",
        session=f"{source}/{session}" if session else "",
        split=SPLITS[split],
        rate_hz=numbers["rate"],
        n_samples=numbers["samples"],
    )


def _check_rates(folder: Path, found: Sequence[EmgEntry], signal: Signal) -> None:
    rates = Counter(entry.rate_hz for entry in found if entry.rate_hz)
    repair, setting = "resample them to one, or name a folder of one rate", "sample_rate (and n_samples)"
    _check_alike(folder, "rates", rates, signal.sample_rate, "at {} Hz", repair, setting)


def _check_channels(folder: Path, recordings: Sequence[Recording], signal: Signal) -> None:
    channels = Counter(len(recording.waveform) for recording in recordings)
    repair = "keep those that all recordings have"
    _check_alike(folder, "channels", channels, signal.n_channels, "of {} channels", repair, "n_channels")


def _check_alike(
    folder: Path, name: str, counts: Counter[int], wanted: int, phrase: str, repair: str, setting: str
) -> None:
    """Raise DataError unless all recordings have the same value, and the signal has it too."""
    if len(counts) > 1:
        listed = ", ".join(f"{count} {phrase.format(value)}" for value, count in sorted(counts.items()))
        raise DataError(f"{folder} mixes {name} ({listed}); {repair}")
    if counts and wanted not in counts:
        raise DataError(
            f"{folder} is {phrase.format(next(iter(counts)))}, the signal {phrase.format(wanted)}; "
            f"set data.signal.{setting} to what was recorded"
        )
