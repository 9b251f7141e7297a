"""Listening for long: what it costs, whether it grows, and what is heard where nothing was said."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edgedigit.bench.child import start
from edgedigit.bench.listener import READING_S, Heard, Reading, Task
from edgedigit.config import BenchConfig
from edgedigit.errors import DataError, DeviceError, ModelError
from edgedigit.runtime import Recognizer

SPEECH = "folder:nondigits/librispeech_tc100"
SHARE = 10  # the first and the last such part of the readings say how memory has grown
MEGABYTE = 1e6
LATE_S = 3.0  # that a microphone is open beyond a sound, which begins only once it has been sent


@dataclass(frozen=True, eq=False)
class Sound:
    """Recordings to hear, none of which the model was trained or selected on.

    Attributes:
        name: of its row.
        waveform: (T,), recordings with pauses between them.
        sample_rate: Hz.
        n_recordings: in it.
        hours: of the recordings; pauses do not count.
    """

    name: str
    waveform: np.ndarray
    sample_rate: int
    n_recordings: int
    hours: float


def load_sounds(args: argparse.Namespace, model: Path) -> tuple[list[Sound], list[str]]:
    """Speech without digits and noise, and what a reader must know of them.

    Args:
        args: `speech noises data_dir seed`.
        model: what it was trained or selected on is left out.

    Raises:
        DataError: if there is nothing to hear.
    """
    from edgedigit.detection.listening import stream_of
    from edgedigit.detection.material import load_unheard
    from edgedigit.train.heard import heard_by

    recognizer = Recognizer(model)
    heard = heard_by(model, args.data_dir)
    sounds, notes = [], []
    for name, sources in (("speech without digits", args.speech), ("noise", args.noises)):
        recordings, _ = load_unheard(sources, recognizer, heard, args.data_dir, digits=False)
        recordings = [r for r in recordings if r.name not in heard.validation and r.name not in heard.noises]
        if not recordings:
            raise DataError(f"the model was trained or selected on all of {', '.join(sources)}; name others")
        stream = stream_of(recordings, args.seed)
        sounds.append(Sound(name, stream.sound.waveform, stream.sound.sample_rate, len(recordings), stream.hours))
        notes.append(f"{name}: {len(recordings)} recordings of {', '.join(sources)}, {60 * stream.hours:.1f} minutes")
    new = "on none of them was the model trained or selected" if heard.known else "nothing says what the model knows"
    said = f"Listened to {'; '.join(notes)}; {new}."
    return sounds, [said, "Sentences come without transcripts: a digit word in one counts as a false accept."]


def run_listening(model: Path, sounds: Sequence[Sound], task: Task, progress: bool = False) -> dict:
    """Hear sounds in a process of its own.

    Args:
        model: ONNX file.
        sounds: what to hear, again and again once all has been heard; false accepts count the first time only.
        task: how long and how; its model and sounds are filled in.
        progress: show a bar.

    Raises:
        ModelError: if the process ends early.
    """
    from edgedigit.audio import write_wav

    with TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{i}.wav") for i in range(len(sounds))]
        for path, sound in zip(paths, sounds, strict=True):
            write_wav(path, sound.waveform, sound.sample_rate)
        readings, heard = _hear(replace(task, model=str(model), sounds=paths), progress)
    if len(heard) != len(sounds):
        raise ModelError(f"listening with {model.name} ended after {readings[-1].audio_s:.0f} s; run it again")
    rows = [_row(sound, one) for sound, one in zip(sounds, heard, strict=True) if one.audio_s]
    return {**figures(readings, task), "sounds": rows}


def run_listening_live(model: Path, sounds: Sequence[Sound], most_minutes: float, progress: bool = False) -> dict:
    """Hear each sound once, so many minutes at most, in real time, through a virtual microphone, in its own process.

    Cost and memory are of that whole process, capture and its threads included; growth is the larger of the sounds'.

    Raises:
        DeviceError: if PulseAudio or PortAudio is missing, or blocks were lost.
        MissingDependencyError: if sounddevice is not installed.
        ModelError: if the process ends early.
    """
    from edgedigit.audio import resample
    from edgedigit.bench.live import SINK_RATE
    from edgedigit.runtime.microphone import BLOCK_MS, find_device, refresh_devices
    from edgedigit.virtual_microphone import VirtualMicrophone

    found, rows = [], []
    with VirtualMicrophone(SINK_RATE) as source:
        try:
            refresh_devices()
            device = find_device()
            for sound in sounds:
                heard_part = sound.waveform[: round(60 * most_minutes * sound.sample_rate)]
                minutes = (heard_part.size / sound.sample_rate + LATE_S) / 60
                task = Task(str(model), [sound.name], minutes, device.sample_rate, BLOCK_MS, True, microphone=True)
                play = partial(source.play, resample(heard_part, sound.sample_rate, SINK_RATE), SINK_RATE)
                readings, heard = _hear(task, progress, play)
                source.wait()
                if not heard:
                    raise DeviceError(f"{sound.name} was not heard to its end; close other programs and measure again")
                found.append(figures(readings, task))
                rows.append(_row(sound, replace(heard[0], audio_s=heard_part.size / sound.sample_rate)))
        finally:
            refresh_devices()
    minutes = sum(one["minutes"] for one in found)
    cpu_share = sum(one["minutes"] * one["cpu_share"] for one in found) / minutes
    most = max(found, key=lambda one: one["growth_mb"] or 0.0)
    peak_mb = max((one["peak_mb"] for one in found if one["peak_mb"] is not None), default=None)
    return {**most, "minutes": minutes, "cpu_share": cpu_share, "peak_mb": peak_mb, "sounds": rows}


def _hear(task: Task, progress: bool, begin: Callable[[], object] | None = None) -> tuple[list[Reading], list[Heard]]:
    """What a listener says; where something is begun at its first reading, that one does not count."""
    readings, heard = [], []
    with start("edgedigit.bench.listener", json.dumps(asdict(task))) as process:
        lines = process.stdout
        if progress:
            from tqdm import tqdm

            lines = tqdm(lines, desc="listening", leave=False, disable=None)
        for line in lines:
            ((kind, values),) = json.loads(line).items()
            if kind == "Reading" and begin is not None:
                begin()
                begin = None
            elif kind == "Reading":
                readings.append(Reading(**values))
            else:
                heard.append(Heard(**values))
        said = process.stderr.read().strip().splitlines()
    if not readings:
        raise ModelError(f"listening did not begin: {said[-1] if said else 'the process ended'}")
    return readings, heard


def figures(readings: Sequence[Reading], task: Task) -> dict:
    """Cost and memory: share of one core, greatest resident set, and its growth from the first tenth to the last."""
    last, n = readings[-1], max(1, len(readings) // SHARE)
    first_part, last_part = readings[:n], readings[-n:]
    known = last.resident_bytes is not None
    each_minute = [reading for reading in readings if reading.audio_s % 60 < READING_S / 2] if known else []
    growth = _median(last_part, "resident_bytes") - _median(first_part, "resident_bytes") if known else None
    return {
        "minutes": last.audio_s / 60,
        "block_ms": task.block_ms,
        "sample_rate": task.sample_rate,
        "realtime": task.realtime,
        "microphone": task.microphone,
        "cpu_share": last.cpu_s / last.audio_s,
        "peak_mb": last.peak_bytes / MEGABYTE if known else None,
        "growth_mb": growth / MEGABYTE if known else None,
        "growth_over_minutes": (_median(last_part, "audio_s") - _median(first_part, "audio_s")) / 60,
        "resident_mb": [round(reading.resident_bytes / MEGABYTE, 2) for reading in each_minute],
    }


def _median(readings: Sequence[Reading], name: str) -> float:
    return float(np.median([getattr(reading, name) for reading in readings]))


def _row(sound: Sound, heard: Heard) -> dict:
    """False accepts of one sound, in the time of its recordings that was heard."""
    from edgedigit.detection.counting import rate_row

    share = heard.audio_s * sound.sample_rate / sound.waveform.size
    return {
        "name": sound.name,
        "n_recordings": sound.n_recordings,
        **rate_row(heard.n_digits, sound.hours * min(1.0, share)),
        "n_rejected": heard.n_rejected,
    }


def broken_limits(listened: dict, config: BenchConfig) -> list[str]:
    """One sentence for each limit that listening has crossed; memory that is not known crosses none."""
    broken, what = [], "listening" + through(listened)
    if listened["cpu_share"] > config.max_cpu_share:
        share = f"{100 * listened['cpu_share']:.2f} % of one core"
        broken.append(f"{what}: {share}, at most {100 * config.max_cpu_share:g} % is expected")
    if listened["growth_mb"] is not None and listened["growth_mb"] > config.max_growth_mb:
        broken.append(
            f"{what}: memory has grown by {listened['growth_mb']:.2f} MB in {listened['growth_over_minutes']:.0f} "
            f"minutes, at most {config.max_growth_mb:g} MB is expected"
        )
    return broken


def listening_text(listened: dict) -> str:
    """For reading: cost, memory, and a line for each sound."""
    how = through(listened) + (" in real time" if listened["realtime"] else " accelerated")
    lines = [
        f"listened {listened['minutes']:.4g} minutes{how}, {listened['sample_rate']} Hz in blocks of "
        f"{listened['block_ms']:g} ms: {cost_text(listened)}"
    ]
    for sound in listened["sounds"]:
        rate = "{far_per_hour:.1f} an hour [{far_per_hour_low:.1f}, {far_per_hour_high:.1f}]".format(**sound)
        lines.append(
            f"  {sound['name']}: {sound['n_false_accepts']} false accepts in {60 * sound['hours']:.1f} minutes of "
            f"recordings: {rate}; {sound['n_rejected']} rejected"
        )
    return "\n".join(lines)


def through(listened: dict) -> str:
    """What a name says of a microphone."""
    return " through a microphone" if listened.get("microphone") else ""


def cost_text(listened: dict) -> str:
    """Share of a core, greatest resident set and its growth."""
    share = f"{100 * listened['cpu_share']:.2f} % of one core"
    if listened["peak_mb"] is None:
        return f"{share}; memory is not known on this system"
    return (
        f"{share}, {listened['peak_mb']:.1f} MB resident at most, {listened['growth_mb']:+.2f} MB in "
        f"{listened['growth_over_minutes']:.0f} minutes"
    )
