"""What is played into the virtual microphone is what PortAudio records from its default device."""

import os
import shutil
import time

import numpy as np
import pytest

from edgedigit import virtual_microphone
from edgedigit.errors import DeviceError
from edgedigit.virtual_microphone import VirtualMicrophone

needs_pulseaudio = pytest.mark.skipif(not shutil.which("pulseaudio"), reason="PulseAudio is not installed")
N_QUIET = 30  # blocks before and after what is played


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def record(act):
    """Blocks of 10 ms and when each came, until what `act` plays is over: (T,) samples, (T,) times, what it returns."""
    sounddevice = pytest.importorskip("sounddevice", exc_type=OSError)
    sounddevice._terminate()
    sounddevice._initialize()
    blocks, times = [], []

    def callback(indata, frames, _time, _status):
        blocks.append(indata[:, 0].copy())
        times.append(np.full(frames, time.perf_counter()))

    with sounddevice.InputStream(44100, 441, channels=1, latency="low", callback=callback):
        wait_for(lambda: len(blocks) > N_QUIET)
        result = act()
        wait_for(lambda: max(map(np.max, blocks)) > 0.05 > max(map(np.max, blocks[-N_QUIET:])))
    return np.concatenate(blocks), np.concatenate(times), result


@pytest.mark.mic
@needs_pulseaudio
def test_every_sample_comes_out_and_its_moment_is_known():
    ramp = np.linspace(0.1, 0.9, 17640, dtype=np.float32)  # 0.4 s, in which no two samples are alike
    with VirtualMicrophone(44100) as microphone:
        heard, times, started = record(lambda: microphone.play(ramp, 44100))
    spoken = np.flatnonzero(heard > 0.05)
    np.testing.assert_allclose(heard[spoken], ramp, atol=1e-6)
    assert np.all(np.diff(spoken) == 1)
    # Nothing comes before it was spoken, and what a busy machine delays least soon after.
    delay_s = times[spoken] - (started + np.arange(ramp.size) / 44100)
    assert -0.001 < delay_s.min() < 0.05


@pytest.mark.mic
@needs_pulseaudio
def test_a_sink_of_another_rate_keeps_level_and_pitch():
    tone = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)).astype(np.float32)
    with VirtualMicrophone(48000) as microphone:
        heard, _, _ = record(lambda: microphone.play(tone, 8000))
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.argmax(spectrum) * 44100 / heard.size == pytest.approx(1000, abs=4)
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.mic
@needs_pulseaudio
def test_unplugged_it_takes_no_sound_and_replugged_it_does():
    before = os.environ.get("PULSE_SERVER")
    with VirtualMicrophone() as microphone:
        microphone.unplug()
        with pytest.raises(DeviceError, match="unplugged"):
            microphone.play(np.ones(100), 8000)
        microphone.replug()
        microphone.play(np.ones(100), 8000)
        microphone.wait()
        assert os.environ["PULSE_SERVER"] == microphone.environment["PULSE_SERVER"] != before
    assert os.environ.get("PULSE_SERVER") == before


def test_without_pulseaudio_one_line_names_the_packages(monkeypatch):
    monkeypatch.setattr(virtual_microphone.shutil, "which", lambda _name: None)
    with pytest.raises(DeviceError, match="apt-get install pulseaudio libasound2-plugins"), VirtualMicrophone():
        pass
