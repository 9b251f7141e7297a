"""Recordings from many corpora behind one view, and the splits that keep their numbers honest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgedigit.data import audiomnist, emg_folder, emg_simulated, folder, fsdd, speech_commands, synth
from edgedigit.data.download import find_data_dir, locate
from edgedigit.data.languages import ENGLISH
from edgedigit.data.recording import SIMULATED, SYNTH, Entry, Recording, read_entries, with_labels
from edgedigit.errors import ConfigError, DataError
from edgedigit.labels import DIGITS
from edgedigit.spec import Signal

__all__ = ["SOURCES", "Recording", "available_labels", "find_data_dir", "load_recordings"]

CORPORA = {module.CORPUS.name: module for module in (fsdd, audiomnist, speech_commands)}
SOURCES = (*CORPORA, "synth", "synth:N", "synth:N:LANGUAGE", "folder:PATH")
EMG_SOURCES = ("emg:PATH", SIMULATED, f"{SIMULATED}:N")


def load_recordings(
    sources: Sequence[str],
    data_dir: Path | str | None = None,
    labels: Sequence[str] | None = DIGITS,
    signal: Signal | None = None,
    progress: bool = False,
    download: bool = True,
) -> list[Recording]:
    """Load recordings from one or more sources.

    Args:
        sources: any of `SOURCES`, of EMG any of `EMG_SOURCES`. PATH is a folder (or, of audio, a CSV manifest),
            absolute or below the data directory; N is how many clips of each word are synthesised or simulated;
            LANGUAGE is one of espeak-ng's, such as de (N may be left out).
        data_dir: holds the corpora; None means $EDGEDIGIT_DATA, else the user's cache.
        labels: what to keep; None keeps every label.
        signal: what the recordings are of; None is the default, to whose rate audio is resampled.
        progress: show bars.
        download: fetch a corpus that is not on disk.

    Returns:
        Recordings in a fixed order: source by source as listed, sorted within each.

    Raises:
        ConfigError: if a source is unknown.
        DataError: if a corpus is missing, wrongly laid out, listed twice, or holds none of `labels`.
        AudioError: if a file is not audio.
        EmgError: if a file is not EMG.
    """
    signal = signal or Signal()
    if isinstance(sources, str):
        raise ConfigError(f"sources is the text {sources!r}, expected a list such as [{sources!r}]")
    root = find_data_dir(data_dir)
    recordings = []
    for source in sources:
        loaded = _load(source, root, labels, signal, progress, download)
        if not loaded:
            held = sorted(available_labels([source], root))
            raise DataError(
                f"source {source} holds no recording of {', '.join(labels or ('any word',))}; check labels"
                + (f": it holds {', '.join(held[:12])}{', …' * (len(held) > 12)}" if held else "")
            )
        recordings += loaded
    name, count = Counter(recording.name for recording in recordings).most_common(1)[0] if recordings else ("", 0)
    if count > 1:
        raise DataError(f"recording {name} came {count} times; list each source once: got {', '.join(sources)}")
    return recordings


def _load(
    source: str, root: Path, labels: Sequence[str] | None, signal: Signal, progress: bool, download: bool
) -> list[Recording]:
    kind, _, argument = source.partition(":")
    is_emg = kind in ("emg", SIMULATED)
    if is_emg != (signal.kind == "emg"):
        holds, known = ("EMG", SOURCES) if is_emg else ("audio", EMG_SOURCES)
        if is_emg or kind in (*CORPORA, SYNTH, "folder"):
            raise ConfigError(
                f"source {source} holds {holds}, the signal is {signal.kind}; set data.signal.kind, "
                f"or choose from {', '.join(known)}"
            )
    if is_emg:
        return _load_emg(source, kind, argument, root, labels, signal, progress)
    sample_rate = signal.sample_rate
    if kind == SYNTH:
        n_per_word, language = _synth_options(source, argument)
        words = DIGITS if labels is None else labels
        return synth.load(words, n_per_word, sample_rate=sample_rate, progress=progress, language=language)
    entries = _entries(source, root, download, progress)
    return read_entries(with_labels(entries, labels), sample_rate, progress)


def _synth_options(source: str, argument: str) -> tuple[int, str]:
    """Clips of each word and language of synth, synth:N, synth:LANGUAGE or synth:N:LANGUAGE."""
    first, _, rest = argument.partition(":")
    number, language = (first, rest) if first.isdecimal() or rest else ("", first)
    if (number and not number.isdecimal()) or (language and not language[0].isalpha()):
        raise ConfigError(
            f"source {source!r} is unknown; write synth:N:LANGUAGE, at least 1 clip of each word, such as synth:300:de"
        )
    return int(number or synth.N_PER_WORD), language or ENGLISH


def _entries(source: str, root: Path, download: bool = True, progress: bool = False) -> list[Entry]:
    """What a source of recorded audio holds, not read yet."""
    kind, _, argument = source.partition(":")
    if kind in CORPORA and not argument:
        return CORPORA[kind].entries(locate(CORPORA[kind].CORPUS, root, download, progress))
    if kind == "folder" and argument:
        path = Path(argument).expanduser()
        return folder.entries(root / path if (root / path).exists() else path)  # below the data, else below here
    hint = f"write folder:{source}, or " if Path(source).exists() or (root / source).exists() else ""
    raise ConfigError(f"source {source!r} is unknown; {hint}choose from {', '.join((*SOURCES, *EMG_SOURCES))}")


def available_labels(sources: Sequence[str], data_dir: Path | str | None = None) -> set[str]:
    """Labels that sources of recorded audio on disk hold, wanted or not, for a helpful error."""
    root = find_data_dir(data_dir)
    recorded = [source for source in sources if source.partition(":")[0] in (*CORPORA, "folder")]
    return {entry.label for source in recorded for entry in _entries(source, root, download=False)}


def _load_emg(
    source: str,
    kind: str,
    argument: str,
    root: Path,
    labels: Sequence[str] | None,
    signal: Signal,
    progress: bool,
) -> list[Recording]:
    if kind == "emg" and argument:
        path = Path(argument).expanduser()
        return emg_folder.load(root / path if (root / path).exists() else path, labels, signal, progress)
    if kind == SIMULATED and labels is not None and (argument.isdecimal() or source == SIMULATED):
        return emg_simulated.load(labels, int(argument or emg_simulated.N_PER_WORD), signal, progress=progress)
    raise ConfigError(f"source {source!r} is unknown; choose from {', '.join(EMG_SOURCES)}")
