"""From a handful of clips to a model file that keeps the contract: embed, fit, judge, graft."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgedigit.data.recording import Recording
from edgedigit.enroll.clips import N_COPIES, altered_copies, cut_others, noise_windows, other_clips, windows
from edgedigit.enroll.graph import Embedder, Head, graft
from edgedigit.enroll.head import N_FOLDS, Examples, acceptance, fit, held_out_probabilities, threshold
from edgedigit.errors import InputError, ModelError
from edgedigit.labels import DIGITS, NON_DIGIT, check_labels
from edgedigit.manifest import manifest_path, read_manifest, sha256_of, source_commit, write_manifest
from edgedigit.runtime import ModelInfo, Recognizer, VadOptions

KIND = "enrolled"
KEPT_OF_RIGHT = 0.95  # of the user's right answers: what no other word reaches may yet be asked of a word, down to this


@dataclass(frozen=True)
class Enrolled:
    """A fitted classifier, and what it does to clips that it did not learn from (`held_out`, see `judge`)."""

    head: Head
    reject_below: float
    held_out: dict


def enroll(
    clips: Sequence[Recording],
    model: str | Path,
    keep_digits: bool = False,
    others: bool = True,
    false_accepts: float = 0.05,
    seed: int = 0,
    progress: bool = False,
) -> Enrolled:
    """Fit a classifier for the words of `clips` on the embedding of an exported model.

    Digits among the words start from what the model knows of them, new words from nothing.

    Args:
        clips: at the model's sample rate, about ten of each word; those labelled `_unknown_` are other sounds, of any
            length.
        model: ONNX file.
        keep_digits: keep all of the model's digits beside the words.
        others: learn from digits and other words by synthetic voices what is to be rejected.
        false_accepts: share of other words that may be taken for one of the words.
        seed: of the altered copies.
        progress: show a bar while voices are rendered.

    Raises:
        ModelError: if the model takes no audio, or cannot be opened at its classifier.
        ConfigError, InputError: if the words cannot be labels, or the options contradict each other.
    """
    if not 0 <= false_accepts < 1:
        raise InputError(f"false accepts are {false_accepts}, expected a share from 0 to below 1, such as 0.05")
    info = Recognizer(model).info
    if info.signal.kind != "audio":
        raise ModelError(f"{model} takes {info.signal.kind}; words are enrolled on models of audio")
    clips = cut_others(clips, info.n_samples)
    words = sorted({clip.label for clip in clips} - {NON_DIGIT})
    if keep_digits:
        if not set(DIGITS) <= set(info.labels) or not others:
            raise InputError("digits are kept on models that have all ten, with synthetic voices that say them")
        words = [*DIGITS, *(word for word in words if word not in DIGITS)]
    rejects = others or any(clip.label == NON_DIGIT for clip in clips)
    labels = (*words, NON_DIGIT) if rejects else tuple(words)
    check_labels(labels)
    kept = tuple(info.labels.index(word) if word in info.labels and word != NON_DIGIT else -1 for word in labels)

    spoken = other_clips(info.sample_rate, progress) if others else []
    said_for = set(DIGITS) if keep_digits else set()  # an enrolled word is learnt from its own clips alone
    taken = {word.lower() for word in words}
    spoken = [clip for clip in spoken if clip.label in said_for or clip.label not in taken]
    examples = _examples(clips, spoken, labels, kept, Embedder(model), info, seed)
    found = held_out_probabilities(examples)
    unknown = labels.index(NON_DIGIT) if rejects else None
    reject_below = _threshold(examples, found, unknown, false_accepts)
    weights, bias = fit(examples)
    held_out = judge(examples, found, labels, unknown, reject_below)
    return Enrolled(Head(labels, kept, weights, bias), reject_below, held_out)


def _examples(
    clips: Sequence[Recording],
    spoken: Sequence[Recording],
    labels: Sequence[str],
    kept: Sequence[int],
    embedder: Embedder,
    info: ModelInfo,
    seed: int,
) -> Examples:
    """Clips as they are, then their copies, then noises: a user's are many copies, synthetic voices two each."""
    recordings = [*clips, *spoken]
    own = np.arange(len(recordings)) < len(clips)
    index = {label: i for i, label in enumerate(labels)}
    targets = np.array([index.get(recording.label, len(labels) - 1) for recording in recordings])
    waveforms = [recording.waveform for recording in recordings]
    folds = _folds(recordings, own, labels)
    parts, rows = [windows(waveforms, info.n_samples)], [np.arange(len(recordings))]
    for is_own, n_copies in ((True, N_COPIES), (False, 1)):
        chosen = np.flatnonzero(own == is_own)
        copies = altered_copies([waveforms[i] for i in chosen], n_copies, info.n_samples, info.sample_rate, seed)
        parts.append(copies)
        rows.append(np.repeat(chosen, n_copies))
    rows = np.concatenate(rows)
    targets, folds = targets[rows], folds[rows]
    if NON_DIGIT in labels:
        noises = noise_windows(info.n_samples, seed)
        parts.append(noises)
        targets = np.concatenate([targets, np.full(len(noises), len(labels) - 1)])
        folds = np.concatenate([folds, np.arange(len(noises)) % N_FOLDS])
    embeddings, scores = embedder(np.concatenate(parts))
    offsets = np.where(np.array(kept) >= 0, scores[:, list(kept)], 0.0)
    original = np.arange(len(targets)) < len(recordings)
    is_own = np.concatenate([own[rows], np.zeros(len(targets) - len(rows), bool)])
    return Examples(embeddings, offsets, targets, folds, original, is_own)


def _folds(recordings: Sequence[Recording], own: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """A user's clips are dealt within each word; synthetic ones whole words at a time, digits that are kept by clip.

    Parts of one recording have its name, and are dealt together.
    """
    seen: defaultdict[str, dict[str, int]] = defaultdict(dict)
    order = {label: i for i, label in enumerate(dict.fromkeys(recording.label for recording in recordings))}
    folds = []
    for recording, is_own in zip(recordings, own, strict=True):
        dealt = is_own or recording.label in labels
        names = seen[recording.label]
        number = names.setdefault(recording.name, len(names))
        folds.append(number % N_FOLDS if dealt else order[recording.label] % N_FOLDS)
    return np.array(folds)


def _threshold(examples: Examples, found: np.ndarray, unknown: int | None, false_accepts: float) -> float:
    """What few other words reach, and no lower than what nearly all right answers do.

    Other words by synthetic voices are easily rejected, and a low threshold would do for them; what people say nearby
    is not so easy, and it is worth one in twenty of one's own.
    """
    answers, sureness = acceptance(found, unknown)
    right = sureness[examples.original & examples.own & (answers == examples.targets) & (answers != unknown)]
    of_right = np.floor(np.quantile(right, 1 - KEPT_OF_RIGHT) * 1e4) / 1e4 if right.size else 0.0
    others = examples.original & (examples.targets == unknown)
    groups = [others & (examples.own == is_own) for is_own in (True, False)]
    # a user's own other sounds count for themselves, however few: they are what it will hear
    of_others = [threshold(sureness[group], false_accepts) for group in groups if group.any()]
    return float(max([of_right, *of_others]))


def judge(
    examples: Examples,
    found: np.ndarray,
    labels: Sequence[str],
    unknown: int | None,
    reject_below: float,
) -> dict:
    """Counts on held-out clips as recorded.

    Returns:
        `words`: of each, `n, right, rejected, wrong`; `kept`: of digits by synthetic voices, `n, right`; `others`: of
        other words, `n, accepted`.
    """
    answers, sureness = acceptance(found, unknown)
    accepted = (sureness >= reject_below) & (answers != unknown)
    own = examples.original & examples.own
    words: dict[str, dict[str, int]] = {}
    kept = {"n": 0, "right": 0}
    for i, label in enumerate(labels):
        clips = own & (examples.targets == i)
        if i != unknown and clips.any():
            right, refused = accepted & (answers == i), ~accepted
            counts = {
                "n": clips,
                "right": clips & right,
                "rejected": clips & refused,
                "wrong": clips & accepted & ~right,
            }
            words[label] = {name: int(where.sum()) for name, where in counts.items()}
        elif i != unknown:
            clips = examples.original & (examples.targets == i)
            kept = {
                "n": kept["n"] + int(clips.sum()),
                "right": kept["right"] + int((clips & accepted & (answers == i)).sum()),
            }
    others = examples.original & (examples.targets == unknown)
    return {
        "words": words,
        "kept": kept,
        "others": {"n": int(others.sum()), "accepted": int((others & accepted).sum())},
    }


def check_replaceable(path: Path, enrolled_too: bool = True) -> None:
    """Raise InputError if a file is a model that was not enrolled or, unless `enrolled_too`, any model."""
    if not path.exists():
        return
    manifest = read_manifest(path) if manifest_path(path).exists() else {}
    if manifest.get("kind") != KIND:
        raise InputError(f"{path} is a model that this program did not write; name another --output")
    if not enrolled_too:
        words = ", ".join(label for label in manifest.get("labels", ()) if label != NON_DIGIT)
        raise InputError(f"{path} was enrolled before ({words}); add --replace to lose it, or name another --output")


def remove_enrolled(path: Path) -> bool:
    """Remove an enrolled model and its manifest; whether there was one.

    Raises:
        InputError: if it is a model that was not enrolled.
    """
    check_replaceable(path)
    if not path.exists():
        return False
    path.unlink()
    manifest_path(path).unlink()
    return True


def write_enrolled(
    enrolled: Enrolled, clips: Sequence[Recording], model: str | Path, path: str | Path, options: dict
) -> Path:
    """Write the ONNX file `path` and its manifest; returns the path.

    Raises:
        InputError: if it is a model that was not enrolled.
    """
    model, path = Path(model), Path(path)
    check_replaceable(path)
    info = Recognizer(model).info
    counts = dict(sorted(Counter(clip.label for clip in clips).items()))
    replaced = ("temperature", "labels", "thresholds", "reject_label")
    thresholds = {**info.thresholds, "reject_below": enrolled.reject_below}
    if "vad" in thresholds:  # complete, if the model is older than some: later defaults shall not change this one
        thresholds["vad"] = asdict(VadOptions.from_dict(thresholds["vad"]))
    facts = {
        **{key: value for key, value in info.metadata.items() if key not in replaced},
        "labels": json.dumps(enrolled.head.labels, ensure_ascii=False),
        "thresholds": json.dumps(thresholds),
        "enrolled": json.dumps({"clips": counts, "on": model.name, "sha256": sha256_of(model)}, ensure_ascii=False),
        **({"reject_label": NON_DIGIT} if NON_DIGIT in enrolled.head.labels else {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        graft(model, temporary, enrolled.head, facts)
        manifest_path(path).unlink(missing_ok=True)  # a manifest that is not this file's would be worse than none
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    values = {key: _plain(value) for key, value in facts.items()}
    values |= {"sample_rate": info.sample_rate, "n_samples": info.n_samples, "kind": KIND, "options": options}
    write_manifest(path, {**values, "held_out": enrolled.held_out, "commit": source_commit()})
    return path


def _plain(text: str):
    """What a metadata string stands for."""
    return json.loads(text) if text[:1] in ("[", "{") else text
