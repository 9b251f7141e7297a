"""Listens for long in a process of its own, as a device would: no torch, and no memory but what listening takes.

Run as `-m` with one argument, a JSON object of the fields of `Task`; says one JSON object a line: `Reading`s, then the
`Heard` of each sound.
"""

from __future__ import annotations

import json
import sys
import time
import wave
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgedigit.runtime import Recognizer, StreamingRecognizer
from edgedigit.runtime.resampler import StreamResampler

READING_S = 10.0  # of audio, between readings of memory
PART_S = 0.05  # of a file at once: what reading and resampling it takes would count as memory that listening needs


@dataclass(frozen=True)
class Task:
    """What to listen to.

    Attributes:
        model: ONNX file.
        sounds: WAV files, 16 bits, mono; heard one after the other, then from the first again.
        minutes: of audio in all.
        sample_rate: Hz, of the device.
        block_ms: that the device hands over at once.
        realtime: at a device's pace; else as fast as can be.
        microphone: hear the default microphone, at its rate and in its blocks, into which somebody plays the only
            sound once the first reading has come.
    """

    model: str
    sounds: Sequence[str]
    minutes: float
    sample_rate: int
    block_ms: float
    realtime: bool = False
    microphone: bool = False


@dataclass(frozen=True)
class Reading:
    """The process after some audio; memory is None where the system does not say."""

    audio_s: float
    cpu_s: float  # spent in the recogniser; through a microphone in all of the process, its threads too
    resident_bytes: int | None
    peak_bytes: int | None


@dataclass(frozen=True)
class Heard:
    """What was answered when a sound was heard for the first time: later times say nothing new."""

    sound: str
    audio_s: float
    n_digits: int
    n_rejected: int


def listen(task: Task) -> Iterator[Reading | Heard]:
    """Hear all minutes; the readings come as they are taken, what was heard at the end."""
    engine = StreamingRecognizer(Recognizer(task.model), sample_rate=task.sample_rate)
    played = {sound: 0 for sound in task.sounds}  # samples, the first time
    events = {sound: [] for sound in task.sounds}
    n_samples = round(60 * task.minutes * task.sample_rate)
    position, cpu_s, next_reading_s, began = 0, 0.0, READING_S, time.perf_counter()
    for sound, first_time, samples in _blocks(task, n_samples):
        position += samples.size
        if task.realtime:
            time.sleep(max(0.0, position / task.sample_rate - (time.perf_counter() - began)))
        before_s = time.process_time()
        answered = engine.accept(samples)
        cpu_s += time.process_time() - before_s
        if first_time:
            played[sound] += samples.size
            events[sound] += [event.kind for event in answered]
        if position >= min(next_reading_s * task.sample_rate, n_samples):
            yield Reading(position / task.sample_rate, cpu_s, *memory_bytes())
            next_reading_s += READING_S
    for sound, kinds in events.items():
        yield Heard(sound, played[sound] / task.sample_rate, kinds.count("digit"), kinds.count("rejected"))


def listen_live(task: Task) -> Iterator[Reading | Heard]:
    """Hear the default microphone for all minutes, as `infer.py --mic` does; the first reading says that it is open.

    Raises:
        DeviceError: if there is no microphone, or blocks were lost.
        MissingDependencyError: if sounddevice is not installed.
    """
    from edgedigit.errors import DeviceError
    from edgedigit.runtime.microphone import Microphone

    (sound,) = task.sounds
    recognizer, kinds, n_samples, next_reading_s = Recognizer(task.model), [], 0, READING_S
    with Microphone() as microphone:
        rate = microphone.sample_rate
        engine = StreamingRecognizer(recognizer, sample_rate=rate)
        yield Reading(0.0, 0.0, *memory_bytes())
        before_s = time.process_time()
        for block in microphone:
            n_samples += block.size
            kinds += [event.kind for event in engine.accept(block)]
            if n_samples >= min(next_reading_s, 60 * task.minutes) * rate:
                yield Reading(n_samples / rate, time.process_time() - before_s, *memory_bytes())
                next_reading_s += READING_S
            if n_samples >= 60 * task.minutes * rate:
                break
        if microphone.overruns:
            raise DeviceError(f"{microphone.overruns} blocks lost; close other programs and measure again")
    yield Heard(sound, n_samples / rate, kinds.count("digit"), kinds.count("rejected"))


def _blocks(task: Task, n_samples: int) -> Iterator[tuple[str, bool, np.ndarray]]:
    """So many samples in blocks, with the sound they are of and whether it is heard for the first time."""
    block, first_time = max(1, round(task.sample_rate * task.block_ms / 1000)), True
    while n_samples > 0:
        for sound in task.sounds:
            for samples in cut(read_in_parts(sound, task.sample_rate), block):
                if n_samples > 0:
                    yield sound, first_time, samples[:n_samples]
                    n_samples -= samples.size
        first_time = False


def read_in_parts(path: str | Path, sample_rate: int) -> Iterator[np.ndarray]:
    """A WAV file of 16 bits at another rate, in parts (T,) float32 that together are the whole."""
    with wave.open(str(path)) as file:
        resampler = StreamResampler(file.getframerate(), sample_rate)
        while frames := file.readframes(round(PART_S * file.getframerate())):
            yield resampler.push(np.frombuffer(frames, "<i2").astype(np.float32) / 32768)
    yield resampler.flush()


def cut(parts: Iterator[np.ndarray], block: int) -> Iterator[np.ndarray]:
    """Parts of any length as blocks of one length; the last may be shorter."""
    rest = np.zeros(0, np.float32)
    for part in parts:
        rest = np.concatenate((rest, part))
        for start in range(0, rest.size - block + 1, block):
            yield rest[start : start + block]
        rest = rest[rest.size // block * block :]
    if rest.size:
        yield rest


def memory_bytes() -> tuple[int | None, int | None]:
    """Resident set now and at its greatest; None where there is no /proc.

    `resource.getrusage` would not do: what the process that started this one held counts there.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None, None
    values = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return 1024 * int(values["VmRSS"]), 1024 * int(values["VmHWM"])


def main(task: str) -> int:
    """Listen and say everything as JSON."""
    wanted = Task(**json.loads(task))
    for said in listen_live(wanted) if wanted.microphone else listen(wanted):
        print(json.dumps({type(said).__name__: asdict(said)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
