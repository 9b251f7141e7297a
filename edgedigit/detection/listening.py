"""Streams of recordings with pauses between them, and the digits that are heard in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from edgedigit.data.recording import Recording
from edgedigit.detection.counting import Accept
from edgedigit.runtime import Recognizer, StreamingRecognizer
from edgedigit.word_stream import Clip, WordStream, build_stream

PAUSE_S = (0.5, 1.5)  # between recordings, over the faint noise of `build_stream`


@dataclass(frozen=True, eq=False)
class Stream:
    """Recordings one after the other.

    Attributes:
        recordings: in their order.
        hours: of the recordings themselves; the pauses between them do not count.
        sound: the stream.
    """

    recordings: Sequence[Recording]
    hours: float
    sound: WordStream


def stream_of(recordings: Sequence[Recording], seed: int = 0) -> Stream:
    """Recordings in an order drawn from the seed, with pauses between them."""
    order = np.random.default_rng(seed).permutation(len(recordings))
    ordered = [recordings[row] for row in order]
    rate = ordered[0].sample_rate
    clips = [Clip(r.waveform, rate, r.label) for r in ordered]
    hours = sum(r.waveform.size for r in ordered) / rate / 3600
    return Stream(ordered, hours, build_stream(clips, rate, PAUSE_S, seed=seed))


def listen(recognizer: Recognizer, stream: Stream, name: str) -> list[Accept]:
    """Every digit that is answered in a stream, as from a microphone.

    Args:
        recognizer: at the threshold that is looked at.
        stream: what is played.
        name: on the progress bar.
    """
    sound, words = stream.sound, stream.sound.words
    engine = StreamingRecognizer(recognizer, sample_rate=sound.sample_rate)
    starts, ends = (np.array([getattr(word, key) for word in words]) for key in ("start_s", "clip_end_s"))
    accepts = []
    blocks = range(0, sound.waveform.size, sound.sample_rate)
    for start in tqdm(blocks, desc=name, unit="s", leave=False, mininterval=1, disable=None):
        samples = sound.waveform[start : start + sound.sample_rate]
        events = engine.accept(samples)
        if start == blocks[-1]:
            events += engine.flush()
        for event in events:
            if event.kind != "digit":
                continue
            overlaps = np.minimum(event.end_s, ends) - np.maximum(event.start_s, starts)
            best = int(overlaps.argmax())
            clip = best if overlaps[best] > 0 else None
            accepts.append(Accept(event.label, event.probability, event.start_s, clip))
    return accepts
