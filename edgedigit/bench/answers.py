"""End of the word to the digit, through the endpointing that the microphone uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgedigit import peers
from edgedigit.bench.printed import PrintingEngine
from edgedigit.errors import GateError, MissingDependencyError, ModelError
from edgedigit.runtime import Recognizer, StreamingRecognizer, VadOptions
from edgedigit.word_stream import BLOCK_MS, MICROPHONE_RATE, Clip, StreamScore, WordStream, build_stream, play, score

CLEAN = "clean"
DETECTOR = "Silero VAD in place of webrtcvad"


@dataclass(frozen=True)
class How:
    """How a stream is played.

    Attributes:
        sample_rate: Hz, of the stream.
        block_ms: of what a device hands over at once.
        realtime: at a microphone's pace; else on a virtual clock.
        seed: of gaps and noise.
        progress: show a bar.
    """

    sample_rate: int = MICROPHONE_RATE
    block_ms: float = BLOCK_MS
    realtime: bool = False
    seed: int = 0
    progress: bool = False


@dataclass(frozen=True, eq=False)
class Answered:
    """A row of the table, and what it was made of.

    Attributes:
        row: end of word -> answer.
        condition: in which the words were spoken.
        decided_ms: (n_words,) to the answer or the rejection; NaN: neither; negative: before the end of the word.
    """

    row: dict
    condition: str
    decided_ms: np.ndarray


def answer_latency(
    model: str | Path, clips: Sequence[Clip], realtime: bool = False, how: How | None = None
) -> StreamScore:
    """Stream clips through the recogniser that the microphone uses, at the thresholds that its model carries."""
    how = replace(how or How(), realtime=realtime)
    stream, recognizer = build_stream(clips, how.sample_rate, seed=how.seed), Recognizer(model)
    return play_words(StreamingRecognizer(recognizer, sample_rate=how.sample_rate), recognizer, stream, how)


def play_words(
    engine: StreamingRecognizer | peers.SileroEndpointing, recognizer: Recognizer, stream: WordStream, how: How
) -> StreamScore:
    """Play a stream to an engine whose caches are warm, and match the answers that it prints to the words."""
    seconds = round(5 * stream.sample_rate)
    with PrintingEngine(engine, recognizer.info.labels) as printing:
        play(WordStream(stream.waveform[:seconds], stream.sample_rate, ()), printing, how.block_ms)
        return score(stream.words, play(stream, printing, how.block_ms, how.realtime, how.progress))


def answer_name(who: str, n_words: int, realtime: bool, condition: str = CLEAN) -> str:
    """Name of a row of end of word -> answer."""
    pace = "in real time" if realtime else "on a virtual clock"
    return f"{who}: end of word to answer, {n_words} words{within(condition)} {pace}"


def within(condition: str) -> str:
    """What a name says of a noise."""
    return "" if condition == CLEAN else f" in {condition}"


def run_answers(
    model: Path,
    clips: Sequence[Clip],
    budget_ms: float,
    how: How,
    condition: str = CLEAN,
    bed: np.ndarray | None = None,
) -> Answered:
    """End of word -> answer in one condition, and what the model answers to the same clips one by one.

    Args:
        model: ONNX file.
        clips: the words.
        budget_ms: how many of all words were answered or rejected within it is counted.
        how: to play them.
        condition: what to call it.
        bed: noise under the stream, as for `build_stream`.
    """
    recognizer = Recognizer(model)
    stream = build_stream(clips, how.sample_rate, seed=how.seed, bed=bed)
    measured = play_words(StreamingRecognizer(recognizer, sample_rate=how.sample_rate), recognizer, stream, how)
    name = answer_name(model.name, len(clips), how.realtime, condition)
    row = answer_row(name, measured, answered_offline(recognizer, stream), budget_ms)
    return Answered(row, condition, measured.decided_ms)


def answer_row(name: str, measured: StreamScore, offline: dict[str, list[bool]], budget_ms: float) -> dict:
    """A row of end of word -> answer, with what `answered_offline` says of the same clips; held to nothing yet."""
    return measured.row(
        name,
        budget_ms,
        groups=_groups(measured, offline),
        **{key: sum(right) for key, right in offline.items()},
    )


def answered_offline(recognizer: Recognizer, stream: WordStream) -> dict[str, list[bool]]:
    """Whether each clip alone, cut out of the stream with the noise that lies there, is answered rightly.

    Returns:
        By `n_correct_offline`, as in the stream: the label is right and not rejected. By `n_label_offline`: the label
        is right, rejected or not.
    """
    predictions = [recognizer.predict(stream.clip_of(word), stream.sample_rate) for word in stream.words]
    label = [one.label == word.label for one, word in zip(predictions, stream.words, strict=True)]
    answer = [right and not one.rejected for right, one in zip(label, predictions, strict=True)]
    return {"n_correct_offline": answer, "n_label_offline": label}


def _groups(measured: StreamScore, offline: dict[str, list[bool]]) -> list[dict]:
    """Of each kind of words in a stream, where it says so: how many, how many right in the stream and one by one."""
    groups = [word.group for word in measured.words]
    rows = []
    for group in dict.fromkeys(filter(None, groups)):
        rows.append({"group": group, "n_clips": groups.count(group)})
        for key, right in {"n_correct": measured.right, **offline}.items():
            rows[-1][key] = sum(one for one, own in zip(right, groups, strict=True) if own == group)
    return rows


def run_silero(
    model: Path, clips: Sequence[Clip], budget_ms: float, how: How, say: Callable[[str], None]
) -> list[dict]:
    """Rows of the same words found by Silero VAD; named and left out where it is not installed."""
    recognizer = Recognizer(model)
    options = replace(VadOptions.from_dict(recognizer.info.thresholds.get("vad", {})), detector="silero")
    engines = {
        f"{model.name} with {DETECTOR}": lambda: StreamingRecognizer(recognizer, options, how.sample_rate),
        f"{peers.SILERO}, {model.name}": lambda: peers.SileroEndpointing(recognizer, how.sample_rate),
    }
    stream = build_stream(clips, how.sample_rate, seed=how.seed)
    rows = []
    for name, make in engines.items():
        try:
            measured = play_words(make(), recognizer, stream, how)
            rows.append(measured.row(answer_name(name, len(clips), how.realtime), budget_ms))
        except (MissingDependencyError, ModelError, GateError) as error:  # a peer that finds no word breaks no gate
            say(f"left out: {name}: {error}")
    return rows


def as_ratios(rows: Sequence[dict], ours: dict) -> list[dict]:
    """Rows of peers with their median as a ratio to ours; None where ours is 0."""
    median_ms, whose = ours["latency_ms_p50"], ours["name"].partition(":")[0]
    return [
        {**row, "ratio": row["latency_ms_p50"] / median_ms if median_ms else None, "ratio_to": whose} for row in rows
    ]
