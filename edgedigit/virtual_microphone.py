"""A microphone without hardware: sound that a program plays is what the default device of PortAudio hears.

    with VirtualMicrophone() as microphone:
        listener = subprocess.Popen(["python", "infer.py", "--mic"], env=microphone.environment)
        started = microphone.play(samples, sample_rate)

A PulseAudio server of its own, in a folder of its own, holds a null sink; what is recorded is the sink's monitor. No
sound card, service or setting of the machine is touched, and any user can run it, root as well.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edgedigit.audio import check_sample_rate, check_waveform, resample
from edgedigit.errors import DeviceError

PACKAGES = "pulseaudio libasound2-plugins libportaudio2"
SINK = "virtual_microphone"
BLOCK_MS = (
    5  # the sink hands sound over in such pieces, each when its first sample is due; a device when it has the last
)
BUFFER_MS = 4000  # of sound that the server may hold, half of it before the sink: a busy machine leaves no holes in it
HEAD_MS = 100  # of sound that is written before the server is asked when it will be played: enough to start
LEAD_MS = 20  # of silence before what is played: the sink has handed over the first blocks when a stream begins
START_S = 10.0  # the server usually needs 0.03 s
# Nothing but the server: cards of the machine are out of PortAudio's sight.
ALSA_CONFIG = "pcm.!default { type pulse }\nctl.!default { type pulse }\n"
FLOAT32_LE, PLAYBACK = 5, 1  # PA_SAMPLE_FLOAT32LE and PA_STREAM_PLAYBACK of pulse/def.h


class VirtualMicrophone:
    """A sound source for PortAudio, use it with `with`.

    Within it PULSE_SERVER and ALSA_CONFIG_PATH are set for this process too; a PortAudio that was initialised before
    has to be so again.

    Args:
        sample_rate: Hz, of the sink. PortAudio sees ALSA's plugin, which offers 44100 Hz; the server converts.

    Attributes:
        environment: variables with which another process hears this microphone.

    Raises:
        DeviceError: if PulseAudio is not installed or does not start.
    """

    def __init__(self, sample_rate: int = 48000):
        check_sample_rate(sample_rate)
        self.sample_rate = sample_rate
        self.environment: dict[str, str] = {}
        self._players: list[threading.Thread] = []

    def __enter__(self) -> VirtualMicrophone:
        self._simple = _pulse_simple()
        self._folder = tempfile.TemporaryDirectory(prefix="virtual_microphone")
        path = Path(self._folder.name, "socket")
        alsa = Path(self._folder.name, "alsa.conf")
        alsa.write_text(ALSA_CONFIG, encoding="utf-8")
        variables = {"PULSE_SERVER": f"unix:{path}", "ALSA_CONFIG_PATH": str(alsa)}
        self.environment = {**os.environ, **variables}
        self._before = {name: os.environ.get(name) for name in variables}
        homes = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "PULSE_STATE_PATH"), self._folder.name)
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        # Neither shared memory that would outlive a kill, nor a scheduler's favours that real programs do not get.
        command += ["--disable-shm=yes", "--realtime=no", "--high-priority=no"]
        command += ["-L", f"module-native-protocol-unix auth-anonymous=1 socket={path}"]
        self._log = Path(self._folder.name, "log")
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(command, env={**os.environ, **homes}, stdout=log, stderr=log)
        with ExitStack() as undo:
            undo.callback(self.__exit__)
            self._wait_for_server(path)
            self.replug()
            undo.pop_all()  # it works, and stays
        os.environ.update(variables)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.terminate()
        self._server.wait()
        for player in self._players:  # their server is gone, which ends them
            player.join()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._folder.cleanup()

    def play(self, samples: np.ndarray, sample_rate: int) -> float:
        """Let sound into the microphone, at the pace of the clock, while the program goes on.

        Args:
            samples: (T,) float in [-1, 1] or int16.
            sample_rate: Hz, of `samples`.

        Returns:
            When sample 0 is spoken, as `time.perf_counter()` counts, and sample i i / sample_rate later: `BLOCK_MS`
            before the sink plays it. The sink hands a piece over when it begins to play it, a device once all of it has
            been spoken; so nothing comes sooner than from a device.

        Raises:
            AudioError: if the samples are not one channel of finite numbers.
            DeviceError: if the microphone is unplugged.
        """
        waveform = resample(check_waveform(samples), sample_rate, self.sample_rate)
        lead = np.zeros(self.sample_rate * LEAD_MS // 1000)
        waveform = np.concatenate((lead, waveform)).astype("<f4")
        stream = self._open_stream(BUFFER_MS)
        head = waveform[: self.sample_rate * HEAD_MS // 1000]
        self._write(stream, head)
        end = time.perf_counter() + self._simple.pa_simple_get_latency(stream, None) / 1e6
        end += (waveform.size - head.size) / self.sample_rate
        player = threading.Thread(target=self._finish, args=(stream, waveform[head.size :]), daemon=True)
        player.start()
        self._players.append(player)
        return end - (waveform.size - lead.size) / self.sample_rate - BLOCK_MS / 1000

    @property
    def is_playing(self) -> bool:
        """Whether some of what was played has not entered yet."""
        return any(player.is_alive() for player in self._players)

    def wait(self) -> None:
        """Return when all that was played has entered."""
        for player in self._players:
            player.join()
        self._players.clear()

    def unplug(self) -> None:
        """Take the source away; programs that record from it lose it."""
        if self._holder is not None:
            self._simple.pa_simple_free(self._holder)
            self._holder = None
            self._control("unload-module", self._module)

    def replug(self) -> None:
        """Bring the source back, as a new device of the same name."""
        settings = f"sink_name={SINK}", f"rate={self.sample_rate}", "channels=1", "format=float32le"
        self._module = self._control("load-module", "module-null-sink", *settings).strip()
        # A null sink works ahead by up to two seconds, until someone wants less and it has begun anew.
        self._control("suspend-sink", SINK, "1")
        self._holder = self._open_stream(2 * BLOCK_MS)
        self._control("suspend-sink", SINK, "0")

    def _wait_for_server(self, path: Path) -> None:
        deadline = time.monotonic() + START_S
        while not _answers(path):
            if self._server.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise DeviceError(f"PulseAudio does not start ({said[-1] if said else 'it said nothing'})")
            time.sleep(0.005)

    def _control(self, *words: str) -> str:
        result = subprocess.run(["pactl", *words], env=self.environment, capture_output=True, text=True)
        if result.returncode:
            raise DeviceError(f"PulseAudio refuses {words[0]} ({result.stderr.strip()})")
        return result.stdout

    def _open_stream(self, buffer_ms: float) -> int:
        """A stream into the sink, which works half of the shortest buffer ahead; it begins with what it gets first."""
        specification = _SampleSpecification(FLOAT32_LE, self.sample_rate, 1)
        unset = 0xFFFFFFFF
        attributes = _BufferAttributes(
            unset, int(self.sample_rate * buffer_ms / 1000) * 4, 4 * self.sample_rate * BLOCK_MS // 1000, unset, unset
        )
        error = ctypes.c_int()
        stream = self._simple.pa_simple_new(
            self.environment["PULSE_SERVER"].encode(),
            b"edgedigit",
            PLAYBACK,
            SINK.encode(),
            b"speech",
            ctypes.byref(specification),
            None,
            ctypes.byref(attributes),
            ctypes.byref(error),
        )
        if not stream:
            raise DeviceError(f"nothing can be played, the virtual microphone is unplugged (PulseAudio: {error.value})")
        return stream

    def _write(self, stream: int, samples: np.ndarray) -> bool:
        return self._simple.pa_simple_write(stream, samples.ctypes.data, samples.nbytes, None) == 0

    def _finish(self, stream: int, samples: np.ndarray) -> None:
        if not samples.size or self._write(stream, samples):  # refused where the microphone was unplugged meanwhile
            self._simple.pa_simple_drain(stream, None)  # a busy server lags behind the clock, and would drop the rest
        self._simple.pa_simple_free(stream)


def _answers(path: Path) -> bool:
    """Whether somebody listens at a socket; its file is there a little earlier."""
    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.connect(str(path))
        except OSError:
            return False
    return True


class _SampleSpecification(ctypes.Structure):
    """pa_sample_spec of pulse/sample.h."""

    _fields_ = (("format", ctypes.c_int), ("rate", ctypes.c_uint32), ("channels", ctypes.c_uint8))


class _BufferAttributes(ctypes.Structure):
    """pa_buffer_attr of pulse/def.h, all in bytes."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize"))


def _pulse_simple() -> ctypes.CDLL:
    """PulseAudio's simple interface, which is part of it.

    Source: https://freedesktop.org/software/pulseaudio/doxygen/simple_8h.html
    """
    try:
        library = ctypes.CDLL("libpulse-simple.so.0")
    except OSError:
        library = None
    if library is None or not all(map(shutil.which, ("pulseaudio", "pactl"))):
        raise DeviceError(f"PulseAudio is missing; install the system packages (sudo apt-get install {PACKAGES})")
    pointer = ctypes.c_void_p
    library.pa_simple_new.restype = pointer
    library.pa_simple_new.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p]
    library.pa_simple_new.argtypes += [pointer] * 4
    library.pa_simple_write.argtypes = [pointer, pointer, ctypes.c_size_t, pointer]
    library.pa_simple_get_latency.restype = ctypes.c_uint64
    library.pa_simple_get_latency.argtypes = [pointer, pointer]
    library.pa_simple_drain.argtypes = [pointer, pointer]
    library.pa_simple_free.restype = None
    library.pa_simple_free.argtypes = [pointer]
    return library
