"""Splits of a list of recordings into training, validation and test, and the proof that nothing crosses."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from edgedigit.data.audiomnist import TEST_SPEAKERS, speaker_name
from edgedigit.data.recording import SYNTH, Recording
from edgedigit.errors import ConfigError, DataError
from edgedigit.labels import NON_DIGIT

MAX_OVERSHOOT = 1.5  # one speaker may make a source's validation this many times as large as asked for


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into a list of recordings, each (n,) int64 in ascending order."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def _split(train: Iterable[int], validation: Iterable[int] = (), test: Iterable[int] = ()) -> Split:
    return Split(*(np.array(sorted(part), dtype=np.int64) for part in (train, validation, test)))


def _where(recordings: Sequence[Recording], condition: Callable[[Recording], bool]) -> list[int]:
    return [index for index, recording in enumerate(recordings) if condition(recording)]


def _in_fsdd_test(recording: Recording) -> bool:
    return recording.source == "fsdd" and recording.split == "test"


def fsdd_official(recordings: Sequence[Recording]) -> Split:
    """FSDD's own split: recordings 0 to 4 of each digit and speaker test, the others and other sources train.

    Seen speakers only: all six speak in both parts.

    Raises:
        DataError: if there is no FSDD among `recordings`.
    """
    test = _where(recordings, _in_fsdd_test)
    if not test:
        raise DataError(
            "fsdd_official needs the source fsdd, got none of its test recordings; add it to the sources, or divide "
            "others by --set data.split=auto or kfold:N:FOLD"
        )
    return _split(_where(recordings, lambda recording: not _in_fsdd_test(recording)), test=test)


def leave_one_speaker_out(recordings: Sequence[Recording], speaker: str) -> Split:
    """All recordings of one speaker test, everything else trains (FSDD's test recordings of the others included).

    Args:
        recordings: what to split.
        speaker: such as "fsdd:george", or "george" where only one corpus has a speaker of that name.

    Raises:
        DataError: if no speaker or more than one is called that, or the speaker is a synthetic voice.
    """
    known = sorted({recording.speaker for recording in recordings if recording.source != SYNTH})
    matches = [name for name in known if speaker in (name, name.partition(":")[2])]
    if len(matches) != 1:
        choices = ", ".join((matches or known)[:12])
        raise DataError(f"speaker {speaker!r} names {len(matches)} speakers, expected one; choose from {choices}")
    return _split(
        _where(recordings, lambda recording: recording.speaker != matches[0]),
        test=_where(recordings, lambda recording: recording.speaker == matches[0]),
    )


UNITS: dict[str, Callable[[Recording], str]] = {
    "speaker": lambda recording: recording.speaker,
    "session": lambda recording: recording.session,
    "recording": lambda recording: recording.name,
}
"""What kfold deals, never divided."""


def speaker_kfold(
    recordings: Sequence[Recording],
    n_folds: int,
    fold: int,
    seed: int,
    sources: Sequence[str] = (),
    by: str = "speaker",
) -> Split:
    """Disjoint folds: the speakers of each source are dealt over the folds, evenly by recordings.

    Or the sessions; or the recordings, evenly by label: then the speakers of the test train too.

    Synthetic voices always train. FSDD's official test recordings of training speakers are dropped, so that a model
    trained on a fold never met them.

    Args:
        recordings: what to split.
        n_folds: at least 2, at most the number of speakers.
        fold: which one tests, from 0.
        seed: of the deal.
        sources: whose speakers are dealt, the others always train; empty deals those of all.
        by: one of `UNITS`.

    Raises:
        ConfigError: if `n_folds`, `fold` or `by` is impossible.
        DataError: if a source has no recordings, there are fewer speakers than folds, or no sessions are known.
    """
    if n_folds < 2 or not 0 <= fold < n_folds:
        raise ConfigError(f"fold {fold} of {n_folds} is impossible; expected at least 2 folds, numbered from 0")
    if missing := sorted(set(sources) - {recording.source for recording in recordings}):
        raise DataError(f"no recording is of {', '.join(missing)}, whose speakers are to be dealt to folds")
    if by not in UNITS:
        raise ConfigError(f"folds are by {by!r}, expected one of {', '.join(UNITS)}")
    unit = UNITS[by]
    dealt = [recording for recording in recordings if not sources or recording.source in sources]
    if unknown := [recording.name for recording in dealt if not unit(recording)]:
        raise DataError(f"{len(unknown)} recordings, such as {unknown[0]}, have no {by} to be dealt to folds by")
    fold_of = _deal(dealt, n_folds, seed, by)
    if len(fold_of) < n_folds:
        raise DataError(f"{n_folds} folds need as many {by}s, got {len(fold_of)}; use fewer folds or add recordings")
    return _split(
        _where(recordings, lambda recording: fold_of.get(unit(recording)) != fold and not _in_fsdd_test(recording)),
        test=_where(recordings, lambda recording: fold_of.get(unit(recording)) == fold),
    )


def _deal(recordings: Sequence[Recording], n_folds: int, seed: int, by: str) -> dict[str, int]:
    """Fold of each real speaker, or other unit. Within a source, big ones first, each to the fold with the fewest."""
    rng = np.random.default_rng(seed)
    fold_of: dict[str, int] = {}
    total = np.zeros(n_folds)
    group = (lambda r: f"{r.source}/{r.label}") if by == "recording" else (lambda r: r.source)
    for counts in _real_units(recordings, range(len(recordings)), UNITS[by], group).values():
        speakers = [speaker for speaker in counts if speaker not in fold_of]  # a speaker may be in two sources
        rng.shuffle(speakers)
        in_source = np.zeros(n_folds)
        for speaker in sorted(speakers, key=lambda speaker: -counts[speaker]):
            fold = int(np.lexsort((total, in_source))[0])
            fold_of[speaker] = fold
            in_source[fold] += counts[speaker]
            total[fold] += counts[speaker]
    return fold_of


def _real_speakers(recordings: Sequence[Recording], indices: Iterable[int]) -> dict[str, Counter[str]]:
    """Recordings of each speaker in each source, synthetic voices left out; both sorted by name."""
    return _real_units(recordings, indices, UNITS["speaker"], lambda recording: recording.source)


def _real_units(
    recordings: Sequence[Recording],
    indices: Iterable[int],
    unit: Callable[[Recording], str],
    group: Callable[[Recording], str],
) -> dict[str, Counter[str]]:
    """Recordings of each unit in each group, as `_real_speakers`."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    chosen = [recordings[index] for index in indices]
    for recording in sorted(chosen, key=lambda recording: (group(recording), unit(recording))):
        if recording.source != SYNTH:
            counts[group(recording)][unit(recording)] += 1
    return counts


def audiomnist_fold(recordings: Sequence[Recording], fold: int) -> Split:
    """One of AudioMNIST's five published folds (36, 12 and 12 speakers); other sources train.

    Raises:
        ConfigError: if `fold` is not 0 to 4.
        DataError: if a part of the fold has no recordings.
    """
    if not 0 <= fold < len(TEST_SPEAKERS):
        raise ConfigError(f"audiomnist fold {fold} does not exist; choose 0 to {len(TEST_SPEAKERS) - 1}")
    test = {speaker_name(number) for number in TEST_SPEAKERS[fold]}
    validation = {speaker_name(number) for number in TEST_SPEAKERS[fold - 1]}
    split = _split(
        _where(recordings, lambda recording: recording.speaker not in test | validation),
        _where(recordings, lambda recording: recording.speaker in validation),
        _where(recordings, lambda recording: recording.speaker in test),
    )
    if not split.test.size or not split.validation.size:
        raise DataError("audiomnist folds need all 60 speakers of the source audiomnist; add it to the sources")
    return split


def official(recordings: Sequence[Recording]) -> Split:
    """Each corpus' own split (`Recording.split`); recordings without one train.

    Raises:
        DataError: if no recording is marked as validation or test.
    """
    split = _split(
        _where(recordings, lambda recording: recording.split not in ("validation", "test")),
        _where(recordings, lambda recording: recording.split == "validation"),
        _where(recordings, lambda recording: recording.split == "test"),
    )
    if not split.test.size and not split.validation.size:
        raise DataError(
            "no recording belongs to an official validation or test set; choose another split or a source that has one"
        )
    return split


def as_marked(recordings: Sequence[Recording]) -> Split:
    """`official` where any recording is marked as validation or test; else all recordings train."""
    marked = any(recording.split in ("validation", "test") for recording in recordings)
    return official(recordings) if marked else everything(recordings)


def everything(recordings: Sequence[Recording]) -> Split:
    """All recordings train, but for FSDD's official test set, on which no shipped model ever trains."""
    return _split(
        _where(recordings, lambda recording: not _in_fsdd_test(recording)), test=_where(recordings, _in_fsdd_test)
    )


def from_synthetic(recordings: Sequence[Recording]) -> Split:
    """Synthetic voices train, people test: those marked as validation or test, or all where nobody is so marked.

    Raises:
        DataError: if there are no synthetic voices, or no people.
    """
    people = _where(recordings, lambda recording: recording.source != SYNTH)
    marked = [index for index in people if recordings[index].split in ("validation", "test")]
    if not people or len(people) == len(recordings):
        raise DataError("the split synthetic needs a source synth to train on and recordings of people to test on")
    return _split(_where(recordings, lambda recording: recording.source == SYNTH), test=marked or people)


def in_name_order(speakers: Iterable[str]) -> list[str]:
    """Speakers in an order that looks random and depends on their names alone: the same in every program.

    Source: Speech Commands' `which_set`, here with CRC-32.
    """
    return sorted(set(speakers), key=lambda name: (zlib.crc32(name.encode()), name))


def hold_out_non_digits(recordings: Sequence[Recording], split: Split, fraction: float) -> Split:
    """Move speakers of other words from training to the test, so that false accepts are counted on strangers.

    Those whose every recording is of other words, `fraction` of them in each source, but never all: who says digits
    as well is worth more in training.

    Args:
        recordings: what `split` points into.
        split: before validation is cut.
        fraction: of those speakers, 0 to below 1.
    """
    of_digits = {recording.speaker for recording in recordings if recording.label != NON_DIGIT}
    speakers = defaultdict(set)
    for recording in (recordings[index] for index in split.train):
        if recording.speaker not in of_digits and recording.source != SYNTH:
            speakers[recording.source].add(recording.speaker)
    held: set[str] = set()
    for names in speakers.values():
        held |= set(in_name_order(names)[: min(len(names) - 1, round(fraction * len(names)))])
    moved = [index for index in split.train if recordings[index].speaker in held]
    return Split(np.setdiff1d(split.train, moved), split.validation, np.union1d(split.test, moved).astype(np.int64))


def cut_validation(
    recordings: Sequence[Recording], train: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Move whole speakers from training to validation.

    Every source with two or more speakers gives at least one and keeps at least one, but a source with so few that one
    of them is more than `MAX_OVERSHOOT` times the fraction gives none while others can: half of an accent is too dear.
    Where no source has two speakers, those of all sources are dealt with as one. Synthetic voices stay in training
    unless there is nothing else. Recordings are cut, evenly by label, only where there is a single speaker (synthetic
    voices not counted).

    Args:
        recordings: what `train` points into.
        train: (n,) indices.
        fraction: of the recordings of each source, 0 to below 1; 0 cuts nothing.
        seed: of the choice.

    Returns:
        Indices that stay in training and indices to validate on, both ascending.

    Raises:
        ConfigError: if `fraction` is out of range.
        DataError: if there is too little to cut.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"validation fraction {fraction} must be at least 0 and below 1")
    if fraction == 0:
        return np.sort(train), np.array([], dtype=np.int64)
    rng = np.random.default_rng(seed)
    by_source = _real_speakers(recordings, train)
    groups = [counts for counts in by_source.values() if len(counts) > 1]
    groups = [counts for counts in groups if _smallest_share(counts) <= MAX_OVERSHOOT * fraction] or groups
    if not groups:
        groups = [sum(by_source.values(), Counter()) or Counter(recordings[index].speaker for index in train)]
    chosen: set[str] = set()
    seen: set[str] = set()
    for counts in groups:
        chosen |= _choose_speakers(Counter({name: counts[name] for name in counts if name not in seen}), fraction, rng)
        seen |= set(counts)  # a speaker may be in two sources
    if chosen:
        held = [index for index in train if recordings[index].speaker in chosen]
    else:
        spoken = [index for index in train if recordings[index].source != SYNTH]
        held = _choose_recordings(recordings, spoken or train, fraction, rng)
    kept = np.setdiff1d(train, held)
    if not len(held) or not len(kept):
        raise DataError(f"{len(train)} recordings are too few to cut validation from; add recordings or use fraction 0")
    return kept, np.sort(np.array(held, dtype=np.int64))


def _smallest_share(counts: Counter[str]) -> float:
    return min(counts.values()) / counts.total()


def _choose_speakers(counts: Counter[str], fraction: float, rng: np.random.Generator) -> set[str]:
    """Speakers drawn while that brings their share nearer to `fraction`: at least one, never all, none of one."""
    target = fraction * counts.total()
    chosen: list[str] = []
    held = 0
    for speaker in rng.permutation(sorted(counts))[:-1].tolist():
        if chosen and abs(held + counts[speaker] - target) >= abs(held - target):
            break
        chosen.append(speaker)
        held += counts[speaker]
    return set(chosen)


def _choose_recordings(
    recordings: Sequence[Recording], train: np.ndarray, fraction: float, rng: np.random.Generator
) -> list[int]:
    """Recordings of a single speaker, `fraction` of each label."""
    by_label = defaultdict(list)
    for index in train:
        by_label[recordings[index].label].append(int(index))
    held: list[int] = []
    for label in sorted(by_label):
        shuffled = rng.permutation(by_label[label])
        held += shuffled[: max(1, round(fraction * len(shuffled)))].tolist()
    return held


def check_disjoint(recordings: Sequence[Recording], split: Split, by_speaker: bool) -> None:
    """Prove that no recording is in two parts of `split`, and no speaker if `by_speaker`.

    Training and validation may share the speaker where there is only one, synthetic voices not counted.

    Raises:
        DataError: naming what crosses.
    """
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    for name, part in parts.items():
        if part.size and not 0 <= part.min() <= part.max() < len(recordings):
            raise DataError(f"the {name} split points outside the {len(recordings)} recordings")
        if np.unique(part).size != part.size:
            raise DataError(f"the {name} split holds a recording twice")
    names = {name: {recordings[index].name for index in part} for name, part in parts.items()}
    speakers = {name: {recordings[index].speaker for index in part} for name, part in parts.items()}
    real = {recording.speaker for recording in recordings if recording.source != SYNTH}
    for first, second in combinations(parts, 2):
        if shared := names[first] & names[second]:
            raise DataError(f"{len(shared)} recordings are in both {first} and {second}, such as {min(shared)}")
        if not by_speaker:
            continue
        shared = speakers[first] & speakers[second]
        people = (speakers[first] | speakers[second]) & real
        if second == "validation" and len(people) == 1:
            shared -= people
        if shared:
            raise DataError(f"{len(shared)} speakers are in both {first} and {second}, such as {min(shared)}")


SCHEMES = (
    "fsdd_official",
    "loso:SPEAKER",
    "kfold:N_FOLDS:FOLD",
    "audiomnist:FOLD",
    "official",
    "all",
    "auto",
    "synthetic",
)
SPEAKER_DISJOINT = ("loso", "kfold", "audiomnist", "synthetic")
"""Schemes whose test speakers are never heard in training."""


def is_speaker_disjoint(scheme: str, fold_by: str = "speaker") -> bool:
    """Whether accuracy under `scheme` is for unseen speakers."""
    kind = scheme.partition(":")[0]
    return kind in SPEAKER_DISJOINT and (kind != "kfold" or fold_by == "speaker")


def make_split(
    recordings: Sequence[Recording],
    scheme: str,
    validation_fraction: float,
    seed: int,
    fold_sources: Sequence[str] = (),
    fold_by: str = "speaker",
    non_digit_test: float = 0.0,
) -> Split:
    """Split by a scheme written as text, cut validation where the scheme brings none, and check that nothing crosses.

    Args:
        recordings: what to split.
        scheme: fsdd_official, loso:SPEAKER, kfold:N_FOLDS:FOLD, audiomnist:FOLD, official, all, auto (official
            where anything is so marked, else all) or synthetic.
        validation_fraction: of the training recordings, by whole speakers; see `cut_validation`.
        seed: of folds and validation.
        fold_sources: whose speakers kfold deals; empty deals those of all.
        fold_by: what kfold deals, one of `UNITS`.
        non_digit_test: share of the speakers of other words alone who test, see `hold_out_non_digits`.

    Raises:
        ConfigError: if the scheme is unknown or its numbers are.
        DataError: if the recordings cannot be split that way.
    """
    split = _apply(recordings, scheme, seed, fold_sources, fold_by)
    if any(recording.label == NON_DIGIT for recording in recordings):
        split = hold_out_non_digits(recordings, split, non_digit_test)
    if not split.validation.size:
        split = Split(*cut_validation(recordings, split.train, validation_fraction, seed), split.test)
    check_disjoint(recordings, split, is_speaker_disjoint(scheme, fold_by))
    return split


def _apply(recordings: Sequence[Recording], scheme: str, seed: int, fold_sources: Sequence[str], fold_by: str) -> Split:
    match scheme.split(":"):
        case ["fsdd_official"]:
            return fsdd_official(recordings)
        case ["loso", *speaker] if speaker:
            return leave_one_speaker_out(recordings, ":".join(speaker))
        case ["kfold", n_folds, fold] if n_folds.isdecimal() and fold.isdecimal():
            return speaker_kfold(recordings, int(n_folds), int(fold), seed, fold_sources, fold_by)
        case ["audiomnist", fold] if fold.isdecimal():
            return audiomnist_fold(recordings, int(fold))
        case ["official"]:
            return official(recordings)
        case ["all"]:
            return everything(recordings)
        case ["auto"]:
            return as_marked(recordings)
        case ["synthetic"]:
            return from_synthetic(recordings)
    raise ConfigError(f"split {scheme!r} is unknown; choose from {', '.join(SCHEMES)}")
