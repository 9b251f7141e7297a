"""The recogniser keeps its contract with model files, and its answers do not depend on how audio comes in."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("onnx")
from tiny_model import LABELS, build_tiny_model, silence, tone_word

from edgedigit.audio import write_wav
from edgedigit.errors import AudioError, DeviceError, InputError, ModelError
from edgedigit.labels import NON_DIGIT
from edgedigit.manifest import manifest_path, write_manifest
from edgedigit.runtime import Recognizer, StreamingRecognizer, _paths, microphone, resampler
from edgedigit.runtime.resampler import StreamResampler


@pytest.fixture(scope="module")
def recognizer(tiny_model):
    return Recognizer(tiny_model)


def test_file_array_and_binary_file_agree(recognizer, tmp_path):
    path = tmp_path / "7.wav"
    write_wav(path, tone_word(7))
    with path.open("rb") as handle:
        predictions = [recognizer.predict(str(path)), recognizer.predict(path), recognizer.predict(handle)]
    assert predictions[0] == predictions[1] == predictions[2]
    assert predictions[0].label == recognizer.predict(tone_word(7)).label == "7"


@pytest.mark.parametrize("sample_rate", [8000, 11025, 44100, 48000])
def test_arrays_of_any_rate(recognizer, sample_rate):
    for digit in range(10):
        assert recognizer.predict(tone_word(digit, sample_rate=sample_rate), sample_rate).label == str(digit)


@pytest.mark.parametrize("sample_rate", [0, -1, float("nan"), "16000", True])
def test_rate_of_an_array_that_none_has_is_refused(recognizer, sample_rate):
    with pytest.raises(AudioError, match="sample rate"):
        recognizer.predict(tone_word(3), sample_rate)


def test_int16_is_the_same_as_float(recognizer):
    word = tone_word(3)
    integers = np.round(word * 32768).astype(np.int16)
    assert recognizer.predict(integers).probability == pytest.approx(recognizer.predict(word).probability, abs=1e-3)


def test_a_list_gives_a_list_that_agrees_with_single_clips(recognizer):
    clips = [tone_word(digit, duration_s) for digit, duration_s in ((1, 0.3), (9, 1.4), (4, 1.0))]
    together = recognizer.predict(clips)
    assert [prediction.label for prediction in together] == ["1", "9", "4"]
    for prediction, clip in zip(together, clips, strict=True):
        assert prediction.probability == pytest.approx(recognizer.predict(clip).probability, abs=1e-6)
    assert recognizer.predict([]) == []


def test_a_prediction_describes_itself(recognizer):
    prediction = recognizer.predict(tone_word(2) + tone_word(5) * 0.9)
    assert list(prediction.probabilities) == LABELS
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    (first, p_first), (second, p_second) = prediction.top(2)
    assert (first, second) == ("2", "5") and p_first == prediction.probability > p_second
    assert prediction.latency_ms > 0


def test_what_the_model_is_unsure_of_is_rejected(recognizer, tmp_path):
    assert recognizer.predict(silence(1)).rejected
    assert not recognizer.predict(tone_word(2)).rejected
    strict = build_tiny_model(tmp_path / "strict.onnx", thresholds='{"reject_below": 1.1}')
    assert Recognizer(strict).predict(tone_word(2)).rejected


def test_a_label_for_other_sounds_is_rejected(tmp_path):
    labels = ["0", "1", NON_DIGIT, "3", "4", "5", "6", "7", "8", "9"]
    model = build_tiny_model(tmp_path / "m.onnx", labels=str(labels).replace("'", '"'))
    assert Recognizer(model).predict(tone_word(2)).rejected
    assert not Recognizer(model).predict(tone_word(3)).rejected
    assert Recognizer(model).info.reject_label == NON_DIGIT


def test_models_of_digits_alone_have_no_such_label(recognizer):
    assert recognizer.info.reject_label is None


def test_the_threshold_may_be_chosen_anew(tiny_model):
    mixed = tone_word(2) + 0.9 * tone_word(5)
    sure = Recognizer(tiny_model).predict(mixed).probability
    assert Recognizer(tiny_model, reject_below=sure + 1e-3).predict(mixed).rejected
    assert not Recognizer(tiny_model, reject_below=sure - 1e-3).predict(mixed).rejected
    assert not Recognizer(tiny_model, reject_below=sure).predict(mixed).rejected
    answers = np.array([[0.25, 0.75], [0.5, 0.5], [0.125, 0.875]], np.float32)[:, [0, 1] + [0] * 8]
    assert Recognizer(tiny_model, reject_below=0.75 + 1e-9).rejects(answers).tolist() == [True, True, False]
    assert Recognizer(tiny_model).reject_below == 0.5 and Recognizer(tiny_model, reject_below=0).reject_below == 0
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match="expected a probability"):
            Recognizer(tiny_model, reject_below=wrong)


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        (np.zeros((8000, 2), np.float32), "one channel"),
        (np.zeros(0, np.float32), "no samples"),
        (np.array([0.0, np.nan]), "NaN"),
        (np.array([0.0, 1.0, -np.inf]), "NaN or infinite samples, the first at sample 2"),
        (np.full(24000, -3e38, np.float32), r"up to 3e\+38, expected \[-1, 1\]"),
        (np.array([1e300, 0.0]), r"up to 1e\+300, expected \[-1, 1\]"),
        (np.array([1, 2], np.uint8), "uint8"),
        (np.array([1j, 2j]), "complex"),
        (7, "expected a path"),
        (["missing.wav"], "no such file"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_unusable_audio(recognizer, audio, expected):
    with pytest.raises(AudioError, match=expected):
        recognizer.predict(audio)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("dtype", "scale"), [(np.float16, 6e4), (np.float32, 9e11), (np.float64, 9e11)])
@pytest.mark.parametrize("rate", [8000, 48000])
@pytest.mark.parametrize("n_seconds", [1, 3])
def test_loud_samples_are_heard_at_their_scale(recognizer, dtype, scale, rate, n_seconds):
    word = np.resize(tone_word(7, 0.5) / np.abs(tone_word(7, 0.5)).max(), 8000 * n_seconds)
    loud = (scale * np.repeat(word, rate // 8000)).astype(dtype)
    assert recognizer.predict(loud, rate).label == "7"
    stream = StreamingRecognizer(recognizer, sample_rate=rate)
    stream.accept(loud)
    stream.flush()


def test_probabilities_wants_whole_windows(recognizer):
    assert recognizer.probabilities(np.zeros((3, 8000))).shape == (3, 10)
    with pytest.raises(AudioError, match=r"expected \(B, 8000\)"):
        recognizer.probabilities(np.zeros((3, 7999)))


def test_threads_below_one_are_refused(tiny_model):
    with pytest.raises(InputError, match="threads"):
        Recognizer(tiny_model, threads=0)


# Model files


def test_missing_model(tmp_path):
    with pytest.raises(ModelError, match="not a file"):
        Recognizer(tmp_path / "missing.onnx")


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_truncated_model(tiny_model, tmp_path, kept):
    content = tiny_model.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: kept if kept >= 1 else int(kept * len(content))])
    with pytest.raises(ModelError) as error:
        Recognizer(tmp_path / "cut.onnx")
    assert "cut.onnx" in str(error.value) and "\n" not in str(error.value)


def test_model_that_differs_from_its_manifest(tmp_path):
    model = build_tiny_model(tmp_path / "m.onnx")
    write_manifest(model, {})
    assert Recognizer(model).info.version == "0.0.test"
    build_tiny_model(model, version="replaced")
    with pytest.raises(ModelError, match="sha256"):
        Recognizer(model)


@pytest.mark.parametrize("manifest", ["[]", "null", '"text"', "5"])
def test_a_manifest_that_is_no_object_is_one_line(tmp_path, manifest):
    model = build_tiny_model(tmp_path / "m.onnx")
    manifest_path(model).write_text(manifest)
    with pytest.raises(ModelError, match=r"m\.manifest\.json holds .*, expected a JSON object"):
        Recognizer(model)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"input_name": "audio"}, "expected one input 'waveform'"),
        ({"labels": None}, "labels"),
        ({"labels": "0,1"}, "malformed"),
        ({"labels": "3"}, "malformed"),
        ({"labels": "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"}, "expected text"),
        ({"labels": '["1", "1", "2", "3", "4", "5", "6", "7", "8", "9"]'}, "label '1' is named 2 times"),
        ({"batch": 1}, "takes 1 clips at a time, expected any number"),
        ({"batch": 2}, "takes 2 clips at a time"),
        ({"thresholds": "[]"}, "malformed"),
        ({"thresholds": '{"reject_below": "x"}'}, "malformed"),
        ({"thresholds": '{"reject_below": "0.5"}'}, "reject_below is '0.5', expected a finite number"),
        ({"thresholds": '{"reject_below": NaN}'}, "reject_below is nan"),
        ({"thresholds": '{"reject_below": null}'}, "reject_below is None"),
        ({"thresholds": '{"reject_below": true}'}, "reject_below is True"),
        ({"labels": '["0", "1"]'}, "metadata says"),
        ({"n_samples": "16000"}, "metadata says"),
        ({"sample_rate": "fast"}, "fast"),
        ({"thresholds": None}, "thresholds"),
    ],
)
def test_model_that_breaks_the_contract(tmp_path, change, expected):
    model = build_tiny_model(tmp_path / "m.onnx", **change)
    with pytest.raises(ModelError, match=expected):
        Recognizer(model)


def test_the_results_name_the_default_model(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(_paths, "PACKAGE", tmp_path / "edgedigit")
    with pytest.raises(ModelError, match="no shipped model"):
        Recognizer()
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    (artifacts / "chosen.onnx").write_bytes(tiny_model.read_bytes())
    (artifacts / "export_results.json").write_text('{"default": "chosen.onnx"}')
    assert Recognizer().path == artifacts / "chosen.onnx"
    (artifacts / "export_results.json").write_text("{}")
    with pytest.raises(ModelError, match="default"):
        Recognizer()


# Isolation

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "sounddevice") or name.startswith(
            ("edgedigit.data", "edgedigit.models", "edgedigit.train", "edgedigit.compress", "edgedigit.export")
        ):
            raise ImportError("blocked " + name)
sys.meta_path.insert(0, Blocked())
"""


def run_python(code, *args):
    root = Path(__file__).resolve().parents[1]
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code, *map(str, args)], cwd=root, capture_output=True, text=True
    )


def test_block_blocks():
    assert "blocked torch" in run_python("import torch").stderr


def test_deployed_half_needs_no_torch(tiny_model, tmp_path):
    write_wav(tmp_path / "4.wav", tone_word(4))
    code = "import infer; sys.exit(infer.main(sys.argv[1:]))"
    result = run_python(code, tmp_path / "4.wav", "--model", tiny_model)
    assert result.returncode == 0, result.stderr
    assert '"label": "4"' in result.stdout


def test_import_prints_nothing_and_loads_no_network_library():
    result = run_python("import edgedigit.runtime; print('onnxruntime' in sys.modules, 'webrtcvad' in sys.modules)")
    assert (result.stdout, result.stderr) == ("False False\n", "")


# Stream resampling


@pytest.mark.parametrize("sample_rate", [6000, 11025, 16000, 44100, 48000])
def test_stream_resampler_is_exact_and_does_not_depend_on_blocks(sample_rate):
    time_s = np.arange(sample_rate // 2) / sample_rate
    waveform = np.sin(2 * np.pi * 1000 * time_s).astype(np.float32)
    outputs = []
    for block in (waveform.size, 1, 37, 160, 8000):
        resampler = StreamResampler(sample_rate, 8000)
        parts = [resampler.push(waveform[i : i + block]) for i in range(0, waveform.size, block)]
        outputs.append(np.concatenate([*parts, resampler.flush()]))
    assert outputs[0].size == 4000
    np.testing.assert_allclose(outputs[0][100:-100], np.sin(np.pi / 4 * np.arange(4000))[100:-100], atol=1e-3)
    for output in outputs[1:]:
        np.testing.assert_array_equal(output, outputs[0])


def test_stream_resampler_filters_and_is_prompt():
    resampler = StreamResampler(48000, 8000)
    assert resampler.delay_s <= 0.006
    high = np.sin(2 * np.pi * 5000 / 48000 * np.arange(48000)).astype(np.float32)
    output = resampler.push(high)
    assert output.size >= 8000 - 0.006 * 8000
    assert np.abs(output[100:]).max() < 0.002


@pytest.mark.parametrize("sample_rate", [44101, 96001, 383993])
def test_rates_without_a_common_divisor_cost_no_more_memory_and_do_not_drift(sample_rate):
    tracemalloc.start()
    stream = StreamResampler(sample_rate, 8000)
    waveform = np.sin(2 * np.pi * 1000 / sample_rate * np.arange(2 * sample_rate)).astype(np.float32)
    parts = [stream.push(waveform[i : i + 8000]) for i in range(0, waveform.size, 8000)]
    output = np.concatenate([*parts, stream.flush()])
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 32e6 + waveform.nbytes * 4
    assert output.size == 16000
    np.testing.assert_allclose(output[100:-100], np.sin(np.pi / 4 * np.arange(16000))[100:-100], atol=1e-3)
    stream.reset()
    np.testing.assert_array_equal(np.concatenate([stream.push(waveform), stream.flush()]), output)


def test_filters_that_are_interpolated_equal_those_that_are_not(monkeypatch):
    waveform = np.random.default_rng(0).normal(0, 0.2, 11127).astype(np.float32)
    interpolated = StreamResampler(11127, 8000).push(waveform)
    monkeypatch.setattr(resampler, "MAX_TAPS", 1 << 20)
    exact = StreamResampler(11127, 8000).push(waveform)
    assert exact.size > 0.99 * interpolated.size and 0 < np.abs(interpolated[: exact.size] - exact).max() < 1e-6


@pytest.mark.parametrize("sample_rate", [11025, 12000, 44100, 88200])
def test_outputs_computed_by_the_group_are_those_of_each_filter_and_no_frame_waits_for_its_group(sample_rate):
    waveform = np.random.default_rng(0).normal(0, 0.2, sample_rate).astype(np.float32)
    grouped, single = StreamResampler(sample_rate, 8000), StreamResampler(sample_rate, 8000)
    assert grouped._matrices
    single._matrices = []
    came, expected = np.zeros(0), np.zeros(0)
    for first in range(0, waveform.size, 37):
        came = np.concatenate([came, grouped.push(waveform[first : first + 37])])
        expected = np.concatenate([expected, single.push(waveform[first : first + 37])])
        assert came.size // 80 == expected.size // 80
    came, expected = (np.concatenate([one, of.flush()]) for one, of in ((came, grouped), (expected, single)))
    assert came.size == expected.size and np.abs(came - expected).max() < 1e-6


def test_rates_of_audio_devices_are_resampled_with_a_filter_for_every_phase():
    rates = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
    assert all(StreamResampler(one, other)._is_exact for one in rates for other in rates)


# Microphone, without hardware


class FakePortAudio:
    """What sounddevice offers, as far as it is used."""

    class PortAudioError(Exception):
        pass

    class default:
        device = (1, 0)

    devices = (
        {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 48000.0},
        {"name": "USB Microphone", "max_input_channels": 1, "default_samplerate": 44100.0},
        {"name": "Built-in Microphone", "max_input_channels": 2, "default_samplerate": 48000.0},
    )

    def query_devices(self):
        return list(self.devices)

    def InputStream(self, **_settings):
        raise self.PortAudioError("Device unavailable")


@pytest.fixture
def port_audio(monkeypatch):
    fake = FakePortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


def test_devices_by_default_number_and_name(port_audio):
    assert [device.number for device in microphone.list_devices()] == [1, 2]
    assert microphone.find_device().number == 1
    assert microphone.find_device("2").name == microphone.find_device("built-in").name == "Built-in Microphone"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("Speaker", "no microphone"), ("Microphone", "several"), (7, "no mic"), ("", "is empty; leave it out")],
)
def test_device_that_is_not_one(port_audio, wanted, expected):
    with pytest.raises(DeviceError, match=expected):
        microphone.find_device(wanted)


@pytest.mark.parametrize(
    ("trouble", "advice"),
    [
        (("Error opening InputStream: Device unavailable", microphone.DEVICE_UNAVAILABLE), "close other programs"),
        (("Error opening InputStream: Unanticipated host error", -9999, (8, -13, "Permission denied")), "adduser"),
        (("Error opening InputStream: Invalid sample rate", -9997), "choose another"),
    ],
)
def test_a_device_that_cannot_be_opened_is_one_line_with_what_to_do(port_audio, monkeypatch, trouble, advice):
    def refuse(self, **_settings):
        raise self.PortAudioError(*trouble)

    monkeypatch.setattr(FakePortAudio, "InputStream", refuse)
    with pytest.raises(DeviceError, match=r"microphone 1 \(USB Microphone\) cannot be opened") as caught:
        microphone.Microphone().__enter__()
    assert advice in str(caught.value) and "\n" not in str(caught.value)


def test_no_device_or_none_that_may_be_used(port_audio, monkeypatch, tmp_path):
    port_audio.devices = ()
    monkeypatch.setattr(microphone, "CARDS", tmp_path)
    with pytest.raises(DeviceError, match="no microphone found"):
        microphone.Microphone()
    (tmp_path / "pcmC0D0c").touch()
    monkeypatch.setattr(microphone.os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(DeviceError, match="pcmC0D0c is refused; allow it"):
        microphone.Microphone()


class Status:
    input_overflow = False


def deliver(mic, *values, size=441):
    """Blocks of 10 ms as PortAudio hands them over, each of one value."""
    for value in values:
        mic._callback(np.full((size, 1), value, np.float32), size, None, Status())


def test_slow_reader_loses_blocks_and_they_are_counted(port_audio, monkeypatch):
    mic = microphone.Microphone()
    capacity = mic._blocks.maxsize
    deliver(mic, *range(capacity + 3))
    assert mic.overruns == 3
    monkeypatch.setattr(microphone, "SILENT_S", 0.01)
    blocks = iter(mic)
    assert [next(blocks)[0] for _ in range(capacity)] == list(range(capacity))
    with pytest.raises(DeviceError, match="delivered nothing"):
        next(blocks)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -2e12])
def test_samples_that_no_sound_has_are_silence_and_counted_as_lost(port_audio, value):
    mic = microphone.Microphone()
    samples = np.full((441, 1), 0.5, np.float32)
    samples[7] = value
    mic._callback(samples, 441, None, Status())
    deliver(mic, 0.25)
    blocks = iter(mic)
    np.testing.assert_array_equal(next(blocks), np.where(np.arange(441) == 7, 0, 0.5))
    np.testing.assert_array_equal(next(blocks), np.full(441, 0.25))
    assert mic.overruns == 1 and (samples == 0.5).sum() == 440, "the device's own buffer is not written to"


def test_silence_as_long_as_what_was_lost_stands_in_its_place(port_audio, monkeypatch):
    monkeypatch.setattr(microphone, "QUEUE_S", 0.02)  # two blocks
    mic = microphone.Microphone()
    deliver(mic, 1, 2)
    deliver(mic, *[3] * 120)  # 1.2 s that find no room
    blocks = iter(mic)
    heard = [next(blocks), next(blocks)]
    deliver(mic, 4, 5)
    deliver(mic, 6, size=100)  # lost; the next block has its own gap
    heard += [next(blocks) for _ in range(5)]  # three of silence, none of which is long, and two of sound
    deliver(mic, 7)
    heard += [next(blocks), next(blocks)]
    assert max(block.size for block in heard) <= microphone.GAP_S * 44100
    heard = np.concatenate(heard)
    values = np.repeat([1, 2, 0, 4, 5, 0, 7], [441, 441, 120 * 441, 441, 441, 100, 441])
    np.testing.assert_array_equal(heard, values)


def test_each_block_says_when_it_was_captured_and_so_does_the_silence_for_what_was_lost(port_audio, monkeypatch):
    clock = iter([10.0, 10.01, 11.0])  # of the blocks that find room
    monkeypatch.setattr(microphone, "QUEUE_S", 0.02)
    mic = microphone.Microphone()
    monkeypatch.setattr(microphone.time, "monotonic", lambda: next(clock))
    deliver(mic, 1, 2)
    clock, accepted = iter([0.0] * 98), clock
    deliver(mic, *[3] * 98)
    clock = accepted
    captured_s, blocks = [], iter(mic)
    for i in range(5):
        if i == 2:
            deliver(mic, 4)
        next(blocks)
        captured_s.append(mic.captured_s)
    assert captured_s == pytest.approx([10.0, 10.01, 10.51, 10.99, 11.0])


def test_missing_port_audio_names_the_package(tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    code = f"""
sys.meta_path.pop(0)
sys.path.insert(0, {str(tmp_path)!r})
import infer
from edgedigit.cli import run_main
sys.exit(run_main(infer.main, ["--list-devices"]))
"""
    result = run_python(code)
    assert result.returncode == 2
    assert "libportaudio2" in result.stderr and result.stderr.count("\n") == 1


def test_soundfile_and_runtime_read_the_same_samples(recognizer, tmp_path):
    soundfile.write(tmp_path / "6.flac", np.stack([tone_word(6, sample_rate=48000)] * 2, 1), 48000, subtype="PCM_24")
    assert recognizer.predict(tmp_path / "6.flac").label == "6"
