"""The microphone as an iterator of blocks. sounddevice is imported only when a microphone is wanted."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedigit.errors import DeviceError, MissingDependencyError
from edgedigit.spec import MAX_SAMPLE

BLOCK_MS = 10  # asked of the device; what it hands over at once is part of the budget of 150 ms
QUEUE_S = 5.0  # audio that may wait for the program before blocks are dropped and counted
GAP_S = 0.5  # of silence at most is handed over at once in place of blocks that were lost
SILENT_S = 2.0  # no block for this long: the device is gone
DEVICE_UNAVAILABLE = -9985  # PortAudio's paDeviceUnavailable: another program has it
CARDS = Path("/dev/snd")  # where Linux keeps sound cards, each recording device as pcm*c


@dataclass(frozen=True)
class InputDevice:
    """A device that can record."""

    number: int
    name: str
    sample_rate: int  # Hz, native
    channels: int
    default: bool


def list_devices() -> list[InputDevice]:
    """Every device that can record; empty where there is none.

    Raises:
        DeviceError: if PortAudio is missing or fails.
        MissingDependencyError: if sounddevice is not installed.
    """
    sounddevice = _sounddevice()
    try:
        devices, default = sounddevice.query_devices(), sounddevice.default.device[0]
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"the audio system cannot be asked for its devices ({error}); check its service") from None
    return [
        InputDevice(
            number=number,
            name=device["name"],
            sample_rate=int(device["default_samplerate"]),
            channels=device["max_input_channels"],
            default=number == default,
        )
        for number, device in enumerate(devices)
        if device["max_input_channels"] > 0
    ]


def find_device(wanted: int | str | None = None) -> InputDevice:
    """Choose a device by number, by name or part of one (any case), or the default one.

    Raises:
        DeviceError: if there is no such device, or a part of a name fits several.
    """
    devices = list_devices()
    if not devices:
        refused = sorted(path.name for path in CARDS.glob("pcm*c") if not os.access(path, os.R_OK | os.W_OK))
        if refused:
            raise DeviceError(
                f"no microphone may be used: permission to {CARDS / refused[0]} is refused; allow it (Debian, Ubuntu: "
                "sudo adduser $USER audio, then log in again)"
            )
        raise DeviceError("no microphone found; connect one, or pass audio files instead")
    if wanted is None:
        return next((device for device in devices if device.default), devices[0])
    if wanted == "":  # a part of every name, and what an unset variable of a shell gives
        raise DeviceError("the name of the microphone is empty; leave it out to take the default one")
    listing = "; ".join(f"{device.number}: {device.name}" for device in devices)
    if isinstance(wanted, int) or wanted.isdecimal():
        found = [device for device in devices if device.number == int(wanted)]
    else:
        found = matching(devices, wanted)
    if len(found) != 1:
        problem = "no microphone is called" if not found else "several microphones are called"
        raise DeviceError(f"{problem} {wanted!r}; choose one of {listing}")
    return found[0]


def matching(devices: Sequence[InputDevice], name: str) -> list[InputDevice]:
    """Devices of that name (any case), or if there is none those of whose names it is a part."""
    found = [device for device in devices if device.name.lower() == name.lower()]
    return found or [device for device in devices if name.lower() in device.name.lower()]


def refresh_devices() -> None:
    """Let PortAudio look for devices again, which it does only when it starts; ends every stream that is open.

    Raises:
        DeviceError: if PortAudio is missing or fails.
        MissingDependencyError: if sounddevice is not installed.
    """
    sounddevice = _sounddevice()
    try:
        if sounddevice._initialized:
            sounddevice._terminate()
        sounddevice._initialize()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"the audio system does not start ({error}); check its service") from None


@dataclass(frozen=True, eq=False)
class _Block:
    samples: np.ndarray  # (T,)
    n_lost: int  # samples that were dropped before it
    captured_s: float  # when its last sample had come


class Microphone:
    """Records from a device at its native rate; use it with `with`, then iterate over blocks (T,) float32 mono.

    The callback only copies a block into a bounded queue and never waits. Blocks that find the queue full are dropped
    and counted, and as many zeros are handed over in their place, so that what comes after is where it was in time.
    Samples that are not finite, as of a faulty driver, are zeros too, and their block counts. What the device itself
    loses is counted as well, but nobody says how long that was.

    Args:
        device: number or name, as for `find_device`.

    Attributes:
        device: the `InputDevice`.
        sample_rate: Hz.
        overruns: blocks lost, in the device or because the program was too slow, or in part not finite.
        captured_s: of the block that was handed over last, when its last sample had come; of `time.monotonic`.

    Raises:
        DeviceError: if PortAudio or the device is missing, busy or refused.
        MissingDependencyError: if sounddevice is not installed.
    """

    def __init__(self, device: int | str | None = None):
        self._sounddevice = _sounddevice()
        self.device = find_device(device)
        self.sample_rate = self.device.sample_rate
        self.overruns = 0
        self.captured_s = time.monotonic()
        self._blocks: queue.Queue[_Block | None] = queue.Queue(maxsize=int(QUEUE_S * 1000 / BLOCK_MS))
        self._n_lost = 0  # samples dropped since the last block that found room; of the audio thread alone
        self._stream = None

    def __enter__(self) -> Microphone:
        try:
            self._stream = self._sounddevice.InputStream(
                device=self.device.number,
                samplerate=self.sample_rate,
                blocksize=self.sample_rate * BLOCK_MS // 1000,
                channels=1,
                dtype="float32",
                latency="low",
                callback=self._callback,
                finished_callback=self._finished,
            )
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            self.__exit__()
            raise DeviceError(f"{self} cannot be opened ({error}); {_advice(error)}") from None
        return self

    def __str__(self) -> str:
        return f"microphone {self.device.number} ({self.device.name})"

    def __exit__(self, *_exception: object) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks as they come, until the device goes.

        Raises:
            DeviceError: if the device stops delivering.
        """
        while True:
            try:
                block = self._blocks.get(timeout=SILENT_S)
            except queue.Empty:
                raise DeviceError(f"{self} has delivered nothing for {SILENT_S:.0f} s; connect it again") from None
            if block is None:
                raise DeviceError(f"{self} has gone; connect it again")
            for first in range(0, block.n_lost, gap := round(GAP_S * self.sample_rate)):
                n_zeros = min(gap, block.n_lost - first)
                n_after = block.n_lost - first - n_zeros + block.samples.size
                self.captured_s = block.captured_s - n_after / self.sample_rate
                yield np.zeros(n_zeros, np.float32)
            self.captured_s = block.captured_s
            yield block.samples

    def _callback(self, indata: np.ndarray, _frames: int, _time: object, status: object) -> None:
        """Runs in the audio thread; `indata` (T, 1) is only valid during the call."""
        if status.input_overflow:
            self.overruns += 1
        samples = indata[:, 0].copy()
        is_sound = np.abs(samples) <= MAX_SAMPLE  # which NaN is not
        if not is_sound.all():
            samples[~is_sound] = 0.0
            self.overruns += 1
        try:
            self._blocks.put_nowait(_Block(samples, self._n_lost, time.monotonic()))
            self._n_lost = 0
        except queue.Full:
            self.overruns += 1
            self._n_lost += len(indata)

    def _finished(self) -> None:
        """The stream has ended, which without our doing it does when the device goes."""
        with contextlib.suppress(queue.Full):  # then the silence tells
            self._blocks.put_nowait(None)


def _advice(error: Exception) -> str:
    """What to do about a device that PortAudio cannot open: its errors are a message, a code and the host's words."""
    if DEVICE_UNAVAILABLE in error.args:
        return "close other programs that use it, or choose another with --device"
    if "denied" in str(error) or "permitted" in str(error):
        return "allow access to it (Debian, Ubuntu: sudo adduser $USER audio, then log in again)"
    return "close other programs that use it, allow access to it, or choose another with --device"


def _sounddevice():
    """Import sounddevice, which loads PortAudio."""
    try:
        import sounddevice
    except ImportError:
        raise MissingDependencyError.of("sounddevice", "mic") from None
    except OSError:
        raise DeviceError(
            "the PortAudio library is missing; install the system package libportaudio2 "
            "(Debian, Ubuntu: sudo apt-get install libportaudio2)"
        ) from None
    return sounddevice
