"""A plain folder of recordings: described by a CSV manifest, or sorted into one sub-folder per label."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from edgedigit.audio import find_files
from edgedigit.data.recording import UNKNOWN_SPEAKER, Entry
from edgedigit.errors import DataError, MissingDataError
from edgedigit.labels import label_of

MANIFEST = "manifest.csv"
COLUMNS = ("file", "label", "speaker", "source")
SPLITS = {
    "": "",
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "validation": "validation",
    "test": "test",
}


def entries(folder: Path) -> list[Entry]:
    """All recordings of `folder`.

    With a `manifest.csv` (or when `folder` is itself a CSV file), its rows: columns file, label, speaker, source and,
    optionally, split. Files are relative to the manifest; a row that is repeated counts once. Without one, every
    audio file in `label/`, all by one unknown speaker, since nothing says otherwise; a folder that has no such files
    either may be part of one with a manifest, whose rows below it count. Labels may be digits or their English names.

    Raises:
        DataError: if the folder, a column, a value or a file is missing, or there are no recordings.
    """
    if folder.suffix == ".csv":
        return _from_manifest(folder)
    if (folder / MANIFEST).is_file():
        return _from_manifest(folder / MANIFEST)
    if not folder.is_dir():
        raise MissingDataError(
            f"folder {folder} does not exist; name one of recordings, below the data or the current folder"
        )
    return _from_subfolders(folder)


def _from_subfolders(folder: Path) -> list[Entry]:
    found = [
        Entry(
            path=path,
            label=label_of(path.parent.name),
            speaker=f"{folder.name}:{UNKNOWN_SPEAKER}",
            source=folder.name,
            name=f"{folder.name}/{path.parent.name}/{path.name}",
        )
        for path in find_files(folder, "*/*")
    ]
    if not found and (folder.parent / MANIFEST).is_file():
        found = [entry for entry in _from_manifest(folder.parent / MANIFEST) if entry.path.is_relative_to(folder)]
    if not found:
        raise DataError(f"{folder} holds neither {MANIFEST} nor label/recording files; expected one of the two layouts")
    return found


def _from_manifest(manifest: Path) -> list[Entry]:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{manifest} lacks the columns {', '.join(missing)}; expected {', '.join(COLUMNS)}")
            found = list(dict.fromkeys(_from_row(manifest, reader.line_num, row) for row in reader))
    except FileNotFoundError:
        raise MissingDataError(f"{manifest} does not exist; name a folder or its {MANIFEST}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{manifest} is not UTF-8 text ({error}); save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(
            f"{manifest}, up to line {reader.line_num}: it is not CSV ({error}); close every quote, or save it again"
        ) from None
    if not found:
        raise DataError(f"{manifest} has no rows; expected one for each recording")
    name, count = Counter(entry.name for entry in found).most_common(1)[0]
    if count > 1:
        raise DataError(f"{manifest} describes {name} in {count} different ways; keep one row for each file")
    return found


def _from_row(manifest: Path, line: int, row: dict[str, str | None]) -> Entry:
    values = {column: (row[column] or "").strip() for column in COLUMNS}
    empty = [column for column, value in values.items() if not value]
    if empty:
        raise DataError(f"{manifest}, line {line}: {', '.join(empty)} is empty; every recording needs {COLUMNS}")
    path = manifest.parent / values["file"]
    if not path.is_file():
        raise DataError(f"{manifest}, line {line}: {path} does not exist; add the file or remove the line")
    split = (row.get("split") or "").strip().lower()
    if split not in SPLITS:
        raise DataError(f"{manifest}, line {line}: split {split!r} is unknown; expected train, validation or test")
    source, speaker = values["source"], values["speaker"]
    return Entry(
        path=path,
        label=label_of(values["label"]),
        speaker=speaker if ":" in speaker else f"{source}:{speaker}",
        source=source,
        name=f"{manifest.parent.name}/{values['file']}",
        split=SPLITS[split],
    )
