"""The page's JavaScript decides as Python does: resampling, endpointing, windows and the order of events."""

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("webrtcvad")
import webrtcvad
from wrong_thresholds import NO_MAPPINGS, WRONG_THRESHOLDS

from edgedigit.audio import fix_length
from edgedigit.labels import NON_DIGIT
from edgedigit.runtime import Prediction, StreamingRecognizer, VadOptions
from edgedigit.runtime.resampler import StreamResampler
from edgedigit.runtime.vad import WebRtcActivity, is_voiced
from edgedigit.spec import Signal

ROOT = Path(__file__).resolve().parents[1]
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


# What a manifest may say: every threshold that a stream without Silero reads, each another than the default.
OTHERS = {
    "frame_ms": 20,
    "gate_db": 9.0,
    "gate_share": 0.8,
    "gate_max_db": 25.0,
    "peak_drop_db": 12.0,
    "floor_window_ms": 2000,
    "floor_min_db": -70.0,
    "onset_ms": 80,
    "pre_roll_ms": 300,
    "mirrored_ms": 60,
    "faded_db": 6.0,
    "stable_silence_ms": 50,
    "stable_ms": 60,
    "early_ms": 60,
    "early_probability": 0.4,
    "hangover_ms": 120,
    "lasting_ms": 160,
    "lasting_drop_db": 1.0,
    "lasting_above_db": 60.0,
    "rest_ms": 100,
    "partial_ms": 60,
    "min_speech_ms": 200,
    "tail_ms": 900,
    "max_speech_ms": 1200,
    "running_pause_ms": 1500,
    "running_speech_ms": 100,
    "running_probability": 0.9,
    "running_above_db": 2.0,
}


def node(*words, **options):
    return subprocess.run([NODE, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, **options)


def ask(task, **request):
    """What the page's code answers."""
    done = node("tests/web/answer.js", input=json.dumps({"task": task, **request}))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class LoudFrames:
    """Stands in for webrtcvad, on both sides alike: a frame is speech if any sample is beyond 300."""

    def __init__(self, aggressiveness):
        pass

    def is_speech(self, pcm, sample_rate):
        return bool((np.abs(np.frombuffer(pcm, "<i2").astype(int)) > 300).any())


@pytest.fixture
def loud_frames(monkeypatch):
    monkeypatch.setattr(webrtcvad, "Vad", LoudFrames)


@pytest.fixture
def no_time_passes(monkeypatch):
    monkeypatch.setattr("edgedigit.runtime.stream.time", SimpleNamespace(perf_counter=lambda: 0.0))


class SignChanges:
    """Stands in for the network: the label counts sign changes, every other answer is unsure; a steady one is sure."""

    def __init__(self, reject_label, steady=False):
        self.steady = steady
        self.info = SimpleNamespace(
            signal=Signal(), thresholds={}, sample_rate=8000, n_samples=8000, reject_label=reject_label
        )
        self.windows = []

    def predict(self, waveform, sample_rate):
        window = fix_length(waveform, 8000)
        self.windows.append(window)
        changes = int(((window[1:] > 0) != (window[:-1] > 0)).sum())
        if self.steady:
            return Prediction(str(changes // 2000 % 10), 0.95, {}, False, 0.0)
        probability = 0.95 if len(self.windows) % 2 else 0.5
        return Prediction(str(changes % 10), probability, {}, changes % 7 == 0, 0.0)


def words_in_noise(sample_rate=8000, seed=0, hiss_level=1.0):
    """Words of 0.1 to 2 s, tones and hiss, with gaps of 50 to 400 ms, in noise whose level changes."""
    rng = np.random.default_rng(seed)
    parts = [np.zeros(sample_rate // 2)]
    for level in 10 ** rng.uniform(-2, -0.3, 12):
        n_samples = int(sample_rate * rng.choice([0.1, 0.25, 0.5, 0.9, 2.0]))
        tone = np.sin(2 * np.pi * rng.uniform(150, 900) * np.arange(n_samples) / sample_rate)
        tone[n_samples * 2 // 3 :] += rng.normal(0, 0.5, n_samples - n_samples * 2 // 3)
        tone[n_samples * 2 // 3 :] *= hiss_level
        parts += [level * tone, np.zeros(int(sample_rate * rng.uniform(0.05, 0.4)))]
    waveform = np.concatenate(parts)
    waveform += rng.normal(0, 1, waveform.size) * np.linspace(3e-4, 3e-3, waveform.size)
    return waveform.astype(np.float32)


@pytest.mark.parametrize(("name", "n_at_least"), [("pure", 20), ("sw", 10)])
def test_the_pure_parts_and_the_service_worker_pass_their_own_tests(name, n_at_least):
    done = node("--test", f"tests/web/{name}.test.js")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"pass (\d+)", done.stdout)[1]) >= n_at_least


def test_defaults_are_pythons():
    assert ask("defaults") == dataclasses.asdict(VadOptions())


def test_what_older_models_leave_out_is_what_python_takes():
    older = [{"lasting_ms": 120}, {"partial_ms": 200}, {"floor_window_ms": 2000}, {"hangover_ms": 90}, OTHERS]
    assert ask("thresholds", thresholds=older) == [dataclasses.asdict(VadOptions.from_dict(one)) for one in older]
    assert all(value != getattr(VadOptions(), name) for name, value in OTHERS.items())


def test_in_quiet_neither_answers_while_sound_goes_on(loud_frames, no_time_passes):
    waveform = words_in_noise(hiss_level=0.3)
    heard = []
    for limit_db in (20.0, 200.0):
        thresholds = {**OTHERS, "lasting_above_db": limit_db}
        stream = StreamingRecognizer(SignChanges(None, steady=True), VadOptions.from_dict(thresholds), sample_rate=8000)
        expected = stream.accept(waveform) + stream.flush()
        asked = {"sampleRate": 8000, "block": 8000, "thresholds": thresholds, "labels": ["0"], "steady": True}
        events = ask("stream", samples=waveform.tolist(), **asked)["events"]
        assert [event["kind"] for event in events] == [event.kind for event in expected]
        heard.append([(event.kind, event.time_s) for event in expected])
    assert heard[0] != heard[1]


def test_what_python_refuses_as_thresholds_the_page_refuses():
    cases = [*WRONG_THRESHOLDS, *NO_MAPPINGS]
    for values, line in zip(cases, ask("refusals", thresholds=cases), strict=True):
        assert line, f"the page takes {values}"
        assert all(name in line for name in (values if isinstance(values, dict) else ["vad"])) and "\n" not in line
    assert ask("refusals", thresholds=[{}, OTHERS, dataclasses.asdict(VadOptions())]) == [None] * 3


@pytest.mark.parametrize(
    "rates", [(48000, 8000), (44100, 8000), (11025, 8000), (44101, 8000), (8000, 16000), (8000, 8000)]
)
def test_resampling_equals_pythons_for_every_block_size(rates):
    waveform = np.random.default_rng(0).normal(0, 0.2, rates[0] // 4).astype(np.float32)
    resampler = StreamResampler(*rates)
    expected = np.concatenate([resampler.push(waveform), resampler.flush()])
    for block in (137, waveform.size):
        got = ask("resample", samples=waveform.tolist(), **dict(zip(("from", "to"), rates, strict=True)), block=block)
        assert np.allclose(got, expected, atol=1e-6)


def lose_sound(waveform):
    """Digital silence at 8 kHz: at the beginning, in the middle and, as dither of one step of 16 bits, further on."""
    rng = np.random.default_rng(2)
    waveform[:4000] = 0
    waveform[12000:20000] = 0
    waveform[30000:40000] = rng.choice([-1, 1], 10000) / 32768
    return waveform


def judged(frames, options):
    """(is speech, is voiced) of each frame."""
    activity = WebRtcActivity(options, 8000)
    return [[activity.is_speech(frame), is_voiced(frame, options.voiced_correlation)] for frame in frames]


@pytest.mark.parametrize("change", [lambda waveform: waveform, lose_sound], ids=["sound", "with digital silence"])
def test_frames_are_speech_and_voiced_where_python_says_so(loud_frames, change):
    waveform = change(words_in_noise())
    frames = waveform[: waveform.size // 80 * 80].reshape(-1, 80)
    expected = judged(frames, VadOptions())
    assert 0.2 < np.mean([speech for speech, _ in expected]) < 0.8
    assert ask("frames", samples=frames.ravel().tolist(), thresholds={}) == expected


@pytest.mark.parametrize(
    "threshold",
    [
        {"detector_floor_db": -25.0},
        {"detector_gain_db": 2.0},
        {"voiced_correlation": 0.9},
        {"peak_ms": 100},
        {"floor_quantile": 0.6},
        {"floor_assumed_ms": 1000},
        {"no_sound_db": -62.0},
    ],
    ids=lambda threshold: next(iter(threshold)),
)
def test_what_the_detector_is_built_on_is_read_from_the_thresholds(loud_frames, threshold):
    waveform = lose_sound(words_in_noise())
    frames = waveform[: waveform.size // 80 * 80].reshape(-1, 80)
    expected = judged(frames, VadOptions(**threshold))
    assert expected != judged(frames, VadOptions())
    assert ask("frames", samples=frames.ravel().tolist(), thresholds=threshold) == expected


def test_clips_are_fitted_into_the_window_as_by_python():
    speech = words_in_noise(seed=1)
    clips = [speech[:n_samples] for n_samples in (1, 399, 7999, 8000, 8001, 12345, 30000)] + [speech[:9000] * 0]
    for got, clip in zip(ask("windows", clips=[clip.tolist() for clip in clips]), clips, strict=True):
        assert np.array_equal(np.float32(got), fix_length(clip, 8000))


@pytest.mark.parametrize("reject_label", [None, NON_DIGIT])
@pytest.mark.parametrize("thresholds", [{}, OTHERS], ids=["defaults", "others"])
@pytest.mark.parametrize(("sample_rate", "block"), [(8000, 8000), (8000, 93), (44100, 512)])
@pytest.mark.parametrize("steady", [False, True], ids=["wavering", "steady"])
@pytest.mark.usefixtures("loud_frames", "no_time_passes")
def test_streams_give_pythons_events_and_windows(steady, sample_rate, block, thresholds, reject_label):
    waveform = words_in_noise(sample_rate, hiss_level=0.3 if steady else 1.0)
    recognizer = SignChanges(reject_label, steady)
    stream = StreamingRecognizer(recognizer, VadOptions.from_dict(thresholds), sample_rate=sample_rate)
    expected = stream.accept(waveform) + stream.flush()
    assert {event.kind for event in expected} >= {"speech_start", "digit", "speech_end"}
    ends_s = {event.time_s for event in expected if event.kind == "speech_end"}
    assert steady == any(event.kind == "digit" and event.time_s not in ends_s for event in expected)  # while it lasts
    asked = {"sampleRate": sample_rate, "block": block, "thresholds": thresholds, "labels": [reject_label or "0"]}
    got = ask("stream", samples=waveform.tolist(), steady=steady, **asked)
    assert [event["kind"] for event in got["events"]] == [event.kind for event in expected]
    for mine, theirs in zip(got["events"], expected, strict=True):
        assert (mine["timeS"], mine["startS"]) == pytest.approx((theirs.time_s, theirs.start_s), abs=1e-9)
        if theirs.prediction:
            assert mine["endS"] == pytest.approx(theirs.end_s, abs=1e-9)
            assert mine["prediction"]["label"] == theirs.label
            assert mine["latencyMs"] == pytest.approx(theirs.latency_ms, abs=1e-6)
            waited_ms = 1000 * (theirs.time_s - theirs.end_s + StreamResampler(sample_rate, 8000).delay_s)
            assert theirs.latency_ms >= waited_ms - 1e-9
    assert np.allclose(got["windows"], recognizer.windows, atol=1e-6)
