"""What a model met before it was finished, so that figures can say on what they rest."""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgedigit.config import DataConfig, with_setting
from edgedigit.data import load_recordings
from edgedigit.data.noises import noises_of_part
from edgedigit.data.recording import SYNTH, UNKNOWN_SPEAKER, Recording
from edgedigit.errors import ConfigError, DataError, EdgedigitError, MissingDataError
from edgedigit.labels import NON_DIGIT
from edgedigit.provenance import config_of, enrolled_on, trained_file
from edgedigit.runtime import Recognizer
from edgedigit.train.pipeline import SELECTION, Material, Track, divide, load_material

UNTOLD = "Nothing says what the model was trained on"
ENROLLED = "Which recordings the model was enrolled with is not known"


@dataclass(frozen=True)
class Heard:
    """What a model met before it was finished, by the names of recordings.

    Attributes:
        known: whether that is all; if not, it may have met others too.
        trained: that it was trained on.
        validation: on which its training was watched and its probabilities were calibrated.
        speakers: of `trained`.
        noises: that were mixed under its recordings, or trained it to answer nothing.
        names: of all of these but noises, by `sound_of` each, so that copies under other names are known.
        why: all is not known, the beginning of a sentence.
    """

    known: bool = False
    trained: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()
    speakers: frozenset[str] = frozenset()
    noises: frozenset[str] = frozenset()
    names: Mapping[bytes, str] = field(default_factory=dict)
    why: str = UNTOLD

    def novelty(self, recording: Recording) -> str:
        """One of `NOVELTY`; "unknown" where nothing says, and of synthetic voices, which are not kept by name."""
        names = {recording.name, self.names.get(sound_of(recording), recording.name)}
        if names & self.trained:
            return "trained"
        if names & self.validation and self.known:
            return "validation"
        if recording.speaker.endswith(f":{UNKNOWN_SPEAKER}"):
            return "new" if self.known else "unknown"
        if recording.speaker in self.speakers:
            return "seen"
        return "unseen" if self.known and recording.source != SYNTH else "unknown"


def sound_of(recording: Recording) -> bytes:
    """A digest of a recording's samples, at the rate that it was read at: the same in whatever file they lie."""
    return hashlib.sha256(recording.waveform.tobytes()).digest()


NOVELTY = {
    "trained": "trained the model",
    "validation": "are of its validation",
    "seen": "are new to it, but by speakers who trained it",
    "unseen": "are by speakers who are new to it",
    "new": "are new to it, by nobody knows whom",
    "unknown": "may or may not have trained the model",
}
"""What a recording is to a model, and how a sentence about several of them goes on."""


def heard_by(model: Path, data_dir: str | Path | None, progress: bool = False) -> Heard:
    """What a model's manifest or run folder says that it was trained on, divided once more as it was then.

    Of an enrolled model it is what the model below it heard: names of the recordings that it was enrolled with are not
    kept.

    Raises:
        ConfigError: if the settings of the training are damaged or not of this version.
        DataError: if the recordings are not there, or a folder of noises is damaged.
    """
    config, enrolled = config_of(model), enrolled_on(model) is not None
    if config is None:
        return Heard(why=ENROLLED if enrolled else UNTOLD)
    track = _real_track(config.data, trained_file(model), data_dir, progress)
    return Heard(
        not enrolled,
        frozenset(recording.name for recording in track.train),
        frozenset(recording.name for recording in track.validation),
        frozenset(recording.speaker for recording in track.train),
        frozenset(recording.name for recording in _noises(config.data, data_dir)),
        {sound_of(recording): recording.name for recording in (*track.validation, *track.train)},
        ENROLLED if enrolled else "",
    )


def track_of(model: Path, tracks: Sequence[Track]) -> Track:
    """The track that a file was trained on: that of selection if a run folder calls it so, else the one exported."""
    return tracks[0] if model.stem.startswith(f"{SELECTION}-") else tracks[-1]


def held_out(model: Path, labels: Sequence[str], part: str, data_dir: str | Path | None) -> list[Recording]:
    """Digits, or whatever words a model knows, that its training kept for validation or test; none of `_unknown_`.

    Args:
        model: ONNX file.
        labels: that it knows.
        part: one of HELD_OUT.
        data_dir: folder of the recordings.

    Raises:
        ConfigError: if nothing says how the model was trained.
        DataError: if it kept none.
    """
    material, track = _division(model, data_dir)
    clips = [clip for clip in _kept(material, track, part) if clip.label != NON_DIGIT and clip.label in labels]
    if not clips:
        refitted = part == "validation" and not track.validation and material.tracks[0].validation
        why = " (data.refit: it trained on those of validation in the end)" if refitted else ""
        raise DataError(f"the training of {model.name} kept no recordings for {part}{why}; name --sources")
    return clips


def held_out_voices(model: Path, part: str, data_dir: str | Path | None) -> list[Recording]:
    """What is no digit among the recordings that a model's training kept, by speakers of whom it heard nothing.

    Args:
        model: ONNX file.
        part: one of HELD_OUT.
        data_dir: folder of the recordings.

    Raises:
        ConfigError: if nothing says how the model was trained.
        DataError: if it kept none.
    """
    material, track = _division(model, data_dir)
    heard = {recording.speaker for recording in track.train}  # a corpus' own split may divide a speaker's recordings
    kept = [one for one in _kept(material, track, part) if one.label == NON_DIGIT and one.speaker not in heard]
    if not kept:
        raise DataError(f"the training of {model.name} kept no other words by strangers for {part}; name recordings")
    return kept


def _division(model: Path, data_dir: str | Path | None) -> tuple[Material, Track]:
    """How a model's training divided its recordings, and the track that it was trained on."""
    config = config_of(model)
    if config is None:
        raise ConfigError(f"{model.name} has no manifest that says how it was trained; name --sources")
    material = load_material(with_setting(config, "data.noises", ""), data_dir)  # these are the test's own
    return material, track_of(model, material.tracks)


def _kept(material: Material, track: Track, part: str) -> list[Recording]:
    """A part of HELD_OUT; refitted models trained on the validation speakers as well."""
    return material.test if part == "test" else track.validation


def recordings_to_test(
    args: argparse.Namespace, recognizer: Recognizer, labels: Sequence[str] | None
) -> list[Recording]:
    """What a command line names by `--held-out`, or by `--sources` and `--part`.

    Args:
        args: `sources part held_out data_dir`.
        recognizer: the model that is tested.
        labels: to read of sources; None: all.

    Raises:
        ConfigError, DataError: as `held_out`, or if nothing is marked as the part.
    """
    if args.held_out:
        return held_out(recognizer.path, recognizer.info.labels, args.held_out, args.data_dir)
    signal = recognizer.info.signal
    recordings = load_recordings(args.sources, args.data_dir, labels=labels, signal=signal, progress=True)
    recordings = [recording for recording in recordings if args.part in (None, recording.split)]
    if not recordings:
        raise DataError(f"no recording of {', '.join(args.sources)} is marked {args.part!r}; leave --part out")
    return recordings


def _real_track(data: DataConfig, model: Path, data_dir: str | Path | None, progress: bool) -> Track:
    """What people recorded for a training. Synthetic voices are never tested with."""
    sources = tuple(source for source in data.sources if source.partition(":")[0] != SYNTH)
    if not sources or data.split == "synthetic":  # people test, if anything
        return Track("", [], [])
    # Synthetic voices only train, and splits deal real speakers: the others are divided alike without them.
    data = replace(data, sources=sources)
    recordings = load_recordings(sources, data_dir, data.labels, data.signal, progress, download=False)
    return track_of(model, divide(data, recordings, []).tracks)


def _noises(data: DataConfig, data_dir: str | Path | None) -> list[Recording]:
    if not data.noises or data.signal.kind != "audio":
        return []
    try:
        noises = load_recordings([data.noises], data_dir, labels=None, signal=data.signal)
    except MissingDataError:  # there were none, and augmentation made its own
        return []
    return noises_of_part(noises, data.noise_part)


def novelty_note(recordings: Sequence[Recording], model: Path, data_dir: str | Path | None) -> str:
    """Sentences on how many of the recordings that a figure rests on are new to a model, and how many trained it."""
    return pooled_novelty_note([(model, recordings)], data_dir)


def pooled_novelty_note(tested: Sequence[tuple[Path, Sequence[Recording]]], data_dir: str | Path | None) -> str:
    """As `novelty_note`, of models that have each answered recordings of their own: what these are to theirs."""
    kinds, unread, untold = Counter(), Counter(), {}
    for model, recordings in tested:
        try:
            heard = heard_by(model, data_dir, progress=True)
        except EdgedigitError as error:
            unread[str(error).partition(";")[0]] += len(recordings)  # what to do would be about training
            continue
        kinds.update(heard.novelty(recording) for recording in recordings)
        if not heard.known:
            untold[heard.why] = None
    sentences = []
    if kinds:
        counts = ", ".join(f"{kinds[kind]} {said}" for kind, said in NOVELTY.items() if kinds[kind])
        each = f", each with one of {len(tested)} models" if len(tested) > 1 else ""
        sentences.append(
            f"Of {kinds.total()} recordings tested{each}, known by folder and name or by the same samples, {counts}."
        )
    sentences += [f"{why}." for why in untold]
    for reason, n in unread.items():
        sentences.append(f"Which of the {n} recordings tested trained the model is not known: {reason}.")
    return " ".join(sentences)
