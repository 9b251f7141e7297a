"""Silero as the detector of voices: from its file alone, and with the same contract as webrtcvad."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("webrtcvad")
from tiny_model import silence, speak

from edgedigit.audio import load_waveform
from edgedigit.errors import ConfigError, ModelError
from edgedigit.runtime import Recognizer, StreamingRecognizer, VadOptions, silero

SILERO = VadOptions(detector="silero")


@pytest.fixture(scope="module")
def model():
    """Silero's file, which is not ours to ship."""
    try:
        return silero._packaged()
    except ModelError:
        pytest.skip("silero-vad is not installed (pip install --no-deps silero-vad)")


def test_without_the_package_or_a_file_one_line_says_what_to_do(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(silero.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match="pip install --no-deps silero-vad"):
        StreamingRecognizer(Recognizer(tiny_model), SILERO)
    with pytest.raises(ModelError, match="is not a file"):
        StreamingRecognizer(Recognizer(tiny_model), SILERO, silero_model=tmp_path / "no.onnx")


def test_another_model_is_not_taken_for_silero(tiny_model):
    with pytest.raises(ModelError, match="expected input, sr and state"):
        silero.SileroActivity(SILERO, 8000, tiny_model)
    with pytest.raises(ConfigError, match="8000 or 16000"):
        silero.SileroActivity(SILERO, 44100, tiny_model)


@pytest.mark.parametrize(("release", "n_speech"), [(0.0, 1), (0.15, 2)])
def test_speech_once_found_goes_on_until_it_is_released(monkeypatch, release, n_speech):
    """Probabilities as Silero might give them: found at 0.6, then 0.45, then 0.3."""

    class Fading:
        chunk_length = 80

        def reset(self):
            self._left = iter((0.6, 0.45, 0.3))

        def probability(self, _chunk):
            return next(self._left)

    monkeypatch.setattr(silero, "SileroNet", lambda *_: Fading())
    activity = silero.SileroActivity(VadOptions(detector="silero", silero_release=release), 8000)
    loud = 0.3 * np.sin(np.arange(240)).astype(np.float32).reshape(3, 80)
    assert sum(activity.is_speech(frame) for frame in loud) == n_speech


def test_answers_do_not_depend_on_block_size_and_reset_begins_anew(tiny_model, model, data_dir):
    clips = [load_waveform(data_dir / f"fsdd/recordings/{digit}_theo_7.wav") for digit in (1, 4, 7)]
    waveform = np.concatenate([silence(0.7), *(part for clip in clips for part in (clip, silence(0.5)))])
    stream = StreamingRecognizer(Recognizer(tiny_model), SILERO, silero_model=model)
    whole = stream.accept(waveform) + stream.flush()
    assert sum(event.prediction is not None for event in whole) >= len(clips)
    for block in (37, 8000):
        events = [e for i in range(0, waveform.size, block) for e in stream.accept(waveform[i : i + block])]
        assert events + stream.flush() == whole


def test_tones_are_speech_to_webrtcvad_and_not_to_silero(tiny_model, model):
    tones = speak("7301")
    heard = {}
    for options in (VadOptions(), SILERO):
        events = StreamingRecognizer(Recognizer(tiny_model), options, silero_model=model).accept(tones)
        heard[options.detector] = sum(event.kind == "digit" for event in events)
    assert heard == {"webrtc": 4, "silero": 0}


def test_silero_brings_no_torch(tiny_model, model):
    code = f"""
import sys
from edgedigit.runtime import Recognizer, StreamingRecognizer, VadOptions
StreamingRecognizer(Recognizer({str(tiny_model)!r}), VadOptions(detector="silero"))
print("torch" in sys.modules, "silero_vad" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["False", "False"], result.stderr
