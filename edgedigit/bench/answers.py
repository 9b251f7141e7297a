"""End of the word to the digit, through the endpointing that the microphone uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgedigit.runtime import Recognizer, StreamingRecognizer
from edgedigit.word_stream import BLOCK_MS, MICROPHONE_RATE, Clip, StreamScore, build_stream, play, score


def answer_latency(
    model: str | Path,
    clips: Sequence[Clip],
    realtime: bool = False,
    sample_rate: int = MICROPHONE_RATE,
    block_ms: float = BLOCK_MS,
    seed: int = 0,
    progress: bool = False,
) -> StreamScore:
    """Stream clips through the recogniser that the microphone uses, at the thresholds that its model carries."""
    stream = build_stream(clips, sample_rate, seed=seed)
    engine = StreamingRecognizer(Recognizer(model), sample_rate=sample_rate)
    warm_up = build_stream(clips[:3], sample_rate, seed=seed)
    play(warm_up, engine, block_ms)
    return score(stream.words, play(stream, engine, block_ms, realtime, progress))


def answer_name(model: Path, n_words: int, realtime: bool) -> str:
    """Name of a row of end of word -> answer."""
    pace = "in real time" if realtime else "on a virtual clock"
    return f"{model.name}: end of word to answer, {n_words} words {pace}"


def run_answers(model: Path, clips: Sequence[Clip], budget_ms: float, realtime: bool, **how) -> dict:
    """Row of end of word -> answer."""
    measured = answer_latency(model, clips, realtime, **how)
    return measured.row(
        answer_name(model, len(clips), realtime),
        budget_ms=budget_ms,
        budget_quantile="p95",
    )
