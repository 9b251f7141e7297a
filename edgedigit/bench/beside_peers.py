"""One clip to its answer, beside what people use today, on the same clips in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgedigit import peers
from edgedigit.bench.inference import CHECKPOINT, one_torch_thread
from edgedigit.errors import MissingDependencyError, ModelError
from edgedigit.metrics import latency_summary
from edgedigit.runtime import Recognizer
from edgedigit.word_stream import Clip


def time_recognizers(
    recognizers: dict[str, Callable[[np.ndarray], str | None]], clips: Sequence[Clip], n_rounds: int = 1
) -> dict[str, dict]:
    """Let several recognisers answer each clip in turn, A B A B …, and time each answer.

    Args:
        recognizers: by name; each maps a waveform (T,) to a label, or None for no answer.
        clips: what they hear.
        n_rounds: how often they hear all of it; answers are those of the last round.

    Returns:
        By name: `metrics.latency_summary` (ms) with `n_clips`, `n_correct` and `answers`.
    """
    times_ms = {name: [] for name in recognizers}
    for clip in clips[:5]:
        for recognize in recognizers.values():
            recognize(clip.waveform)
    for _ in range(n_rounds):
        answers = {name: [] for name in recognizers}
        for clip in clips:
            for name, recognize in recognizers.items():
                started = time.perf_counter()
                label = recognize(clip.waveform)
                times_ms[name].append(1000 * (time.perf_counter() - started))
                answers[name].append(label)
    return {
        name: {
            **latency_summary(np.array(times_ms[name])),
            "n_clips": len(clips),
            "n_correct": sum(label == clip.label for label, clip in zip(answers[name], clips, strict=True)),
            "answers": answers[name],
        }
        for name in recognizers
    }


def clip_recognizer(model: str | Path, sample_rate: int = 8000) -> Callable[[np.ndarray], str]:
    """What a program does with one clip: window, features, network, label."""
    recognizer = Recognizer(model)
    return lambda waveform: recognizer.predict(waveform, sample_rate).label


def run_peers(model: Path, clips: Sequence[Clip], say: Callable[[str], None]) -> list[dict]:
    """Rows of what people use today on the same clips, as ratios; what cannot run here is named and left out."""
    recognizers = {model.name: clip_recognizer(model)}
    checkpoint, labels = model.parent / CHECKPOINT, Recognizer(model).info.labels
    for name, make in {peers.PSF_TORCH: lambda: peers.psf_torch(checkpoint, labels), **peers.POCKETSPHINX}.items():
        try:
            recognizers[name] = make()
        except (MissingDependencyError, ModelError) as error:
            say(f"left out: {name}: {error}")
    with one_torch_thread():
        measured = time_recognizers(recognizers, clips)
    base = measured[model.name]["latency_ms_p50"]
    rows = []
    for name, figures in measured.items():
        del figures["answers"]
        rows.append({"name": f"{name}: clip to answer", **figures})
        if name != model.name:
            rows[-1] |= {"ratio": figures["latency_ms_p50"] / base, "ratio_to": model.name}
    return rows
