"""End of the word to the digit through a sound device: played into a virtual microphone, captured by PortAudio."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from edgedigit.bench.answers import CLEAN, Answered, answer_row, answered_offline, within
from edgedigit.bench.printed import PrintingEngine
from edgedigit.errors import DeviceError
from edgedigit.metrics import latency_summary
from edgedigit.runtime import Event, Recognizer, StreamingRecognizer
from edgedigit.runtime.microphone import BLOCK_MS, Microphone, find_device, refresh_devices
from edgedigit.virtual_microphone import BLOCK_MS as SINK_BLOCK_MS
from edgedigit.virtual_microphone import VirtualMicrophone
from edgedigit.word_stream import Answer, Clip, StreamScore, WordStream, build_stream, score

MICROPHONE = "through a microphone"
CLICK = "virtual microphone: a click to the program"
NOTE = (
    "Through a microphone: played into a virtual one (PulseAudio's null sink) and captured by PortAudio in blocks of "
    f"{BLOCK_MS} ms, in real time; what the device itself takes is in the figure and also measured by clicks. The sink "
    f"hands over {SINK_BLOCK_MS} ms when the first of it is due, a device when it has the last: the difference is in "
    "every time."
)
SINK_RATE = 48000  # Hz; its pieces of 5 ms are whole samples: at 44100 Hz the sink runs 0.03 % fast
STRETCH_WORDS = 20  # played at a time, half a minute, so that what is left of that does not add up
MAX_DRIFT_MS = 10.0  # of the device's clock in a stretch; more, and its figures would be of clocks
N_CLICKS = 50
CLICK_MS = 1.0
CLICK_EVERY_S = (0.15, 0.25)  # apart, drawn evenly, so that clicks fall anywhere in a block
CLICK_LEVEL = 0.5  # of full scale, half of the click itself
SETTLE_S = 0.5  # of quiet before and after what is played


def check_microphone() -> None:
    """Raise what would keep `run_microphone` from beginning: DeviceError or MissingDependencyError."""
    with VirtualMicrophone(SINK_RATE):
        refresh_devices()
        find_device()


def run_clicks(seed: int) -> dict:
    """The row of the device's own delay.

    Raises:
        DeviceError: if PulseAudio or PortAudio is missing, or a click was lost.
        MissingDependencyError: if sounddevice is not installed.
    """
    with VirtualMicrophone(SINK_RATE) as source:
        try:
            return {"name": CLICK, **latency_summary(click_delays_ms(source, seed))}
        finally:
            refresh_devices()


def run_microphone(
    model: Path,
    clips: Sequence[Clip],
    budget_ms: float,
    seed: int,
    say: Callable[[str], None],
    condition: str = CLEAN,
    bed: np.ndarray | None = None,
) -> Answered:
    """End of word -> answer through the device.

    Args:
        model: ONNX file.
        clips: the words.
        budget_ms: how many of all words were answered or rejected within it is counted.
        seed: of gaps and of the quiet noise under all of it.
        say: told how long it will take.
        condition: in which the words are spoken.
        bed: noise under them, as for `build_stream`; each stretch hears what follows.

    Raises:
        DeviceError: if PulseAudio or PortAudio is missing, or blocks were lost.
        MissingDependencyError: if sounddevice is not installed.
    """
    return answered_live(model, [hear_stretches(model, clips, seed, say, condition, bed)], budget_ms, condition)


def hear_stretches(
    model: Path,
    clips: Sequence[Clip],
    seed: int,
    say: Callable[[str], None],
    condition: str = CLEAN,
    bed: np.ndarray | None = None,
    part: int = 0,
    n_parts: int = 1,
) -> list[tuple[StreamScore, dict[str, list[bool]]]]:
    """What is heard of each stretch, and what is answered to its clips one by one; `run_microphone` has the rest.

    Args:
        part: which of the stretches: this one and each `n_parts` after it, so that several processes may share them.
        n_parts: into how many parts they are dealt.
    """
    recognizer, found = Recognizer(model), []
    streams = stretches(clips, seed, bed)[part::n_parts]
    if not streams:
        return []
    with VirtualMicrophone(SINK_RATE) as source:
        try:
            minutes = sum(stream.duration_s for stream in streams) / 60
            say(f"playing {minutes:.1f} minutes into a virtual microphone{within(condition)}")
            for stream in streams:
                refresh_devices()
                with Microphone() as microphone:
                    engine = StreamingRecognizer(recognizer, sample_rate=microphone.sample_rate)
                    with PrintingEngine(engine, recognizer.info.labels) as printing:
                        measured = score(stream.words, play_through(source, microphone, printing, stream))
                    if microphone.overruns:
                        raise DeviceError(f"{microphone.overruns} blocks lost; close other programs and measure again")
                found.append((measured, answered_offline(recognizer, stream)))
        finally:
            refresh_devices()
    return found


def answered_live(
    model: Path, parts: Sequence[list[tuple[StreamScore, dict[str, list[bool]]]]], budget_ms: float, condition: str
) -> Answered:
    """The row of what all parts of `hear_stretches` have heard, in the order of the stretches."""
    dealt = [one for turn in zip_longest(*parts) for one in turn if one is not None]
    whole = together([measured for measured, _ in dealt])
    right = {key: [one for _, offline in dealt for one in offline[key]] for key in dealt[0][1]}
    row = answer_row(microphone_name(model, len(whole.words), condition), whole, right, budget_ms)
    return Answered(row, MICROPHONE + within(condition), whole.decided_ms)


def stretches(clips: Sequence[Clip], seed: int, bed: np.ndarray | None) -> list[WordStream]:
    """Streams of STRETCH_WORDS each; a noise under them goes on from one to the next."""
    streams, heard_s = [], 0.0
    for i, first in enumerate(range(0, len(clips), STRETCH_WORDS)):
        part = clips[first : first + STRETCH_WORDS]
        onward = None if bed is None else np.roll(bed, -round(heard_s * part[0].sample_rate))
        streams.append(build_stream(part, SINK_RATE, seed=seed + i, bed=onward))
        heard_s += streams[-1].duration_s
    return streams


def microphone_name(model: Path, n_words: int, condition: str = CLEAN) -> str:
    """Name of the row of end of word -> answer."""
    return f"{model.name}: end of word to answer, {n_words} words {MICROPHONE}{within(condition)}"


def together(scores: Sequence[StreamScore]) -> StreamScore:
    """Several streams as one."""
    return StreamScore(
        tuple(word for one in scores for word in one.words),
        tuple(label for one in scores for label in one.labels),
        np.concatenate([one.latency_ms for one in scores]),
        np.concatenate([one.rejected_ms for one in scores]),
        sum(one.n_extra for one in scores),
    )


def play_through(
    source: VirtualMicrophone, microphone: Microphone, engine: StreamingRecognizer | PrintingEngine, stream: WordStream
) -> list[Answer]:
    """Play a stream into a source, recognise what the microphone hears, and note when the program has each answer.

    Returns:
        Answers in the time of the stream.

    Raises:
        DeviceError: if the device is faster or slower than the clock that it is measured by.
    """
    answers, began_s, n_samples = [], [], 0
    playing = Playing(source, microphone, stream.waveform, stream.sample_rate)
    for came_s, block in playing:
        n_samples += block.size
        began_s.append(came_s - n_samples / microphone.sample_rate)  # the recogniser's time zero, and the block's delay
        events = engine.accept(block)
        now_s = time.perf_counter()
        answers += [Answer(event, now_s) for event in events]
    answers += [Answer(event, time.perf_counter()) for event in engine.flush()]
    third = len(began_s) // 3
    drift_ms = 1000 * (min(began_s[-third:]) - min(began_s[:third]))
    if abs(drift_ms) > MAX_DRIFT_MS:
        raise DeviceError(f"the device's clock has moved {drift_ms:+.0f} ms in {stream.duration_s:.0f} s; run it again")
    offset_s = min(began_s) - playing.started_s
    return [Answer(_moved(answer.event, offset_s), answer.answered_s - playing.started_s) for answer in answers]


def _moved(event: Event, offset_s: float) -> Event:
    end_s = None if event.end_s is None else event.end_s + offset_s
    return replace(event, time_s=event.time_s + offset_s, start_s=event.start_s + offset_s, end_s=end_s)


class Playing:
    """What a microphone hears while a waveform is played into it: an iterator of blocks and when each came.

    The waveform begins once some quiet has been heard, and some is heard after it.

    Attributes:
        started_s: when its first sample entered, by `time.perf_counter()`; infinite before that.
    """

    def __init__(self, source: VirtualMicrophone, microphone: Microphone, waveform: np.ndarray, sample_rate: int):
        self._source, self._microphone = source, microphone
        self._waveform, self._rate = waveform, sample_rate
        self.started_s = np.inf

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        quiet = SETTLE_S * self._microphone.sample_rate
        duration_s = self._waveform.size / self._rate + SETTLE_S
        for block in self._microphone:
            came_s = time.perf_counter()
            yield came_s, block
            quiet -= block.size
            if quiet <= 0 and self.started_s == np.inf:
                self.started_s = self._source.play(self._waveform, self._rate)
            if came_s > self.started_s + duration_s and not self._source.is_playing:
                return


def click_delays_ms(source: VirtualMicrophone, seed: int = 0) -> np.ndarray:
    """From the moment that a click begins to the block that brings it: (N_CLICKS,) ms.

    Raises:
        DeviceError: if not every click is heard.
    """
    rng, rate = np.random.default_rng(seed), source.sample_rate
    at_s = SETTLE_S + np.cumsum(rng.uniform(*CLICK_EVERY_S, N_CLICKS))
    waveform = np.zeros(round((at_s[-1] + SETTLE_S) * rate), np.float32)
    for start in np.round(at_s * rate).astype(int):
        waveform[start : start + round(CLICK_MS * rate / 1000)] = 2 * CLICK_LEVEL
    refresh_devices()
    came_s, ringing = [], False
    with Microphone() as microphone:
        playing = Playing(source, microphone, waveform, rate)
        for heard_s, block in playing:
            loud = bool(np.abs(block).max() > CLICK_LEVEL)
            if loud and not ringing:  # a click may lie across two blocks
                came_s.append(heard_s)
            ringing = loud
    if len(came_s) != N_CLICKS:
        raise DeviceError(f"heard {len(came_s)} of {N_CLICKS} clicks; close other programs and measure again")
    return 1000 * (np.array(came_s) - playing.started_s - at_s)
