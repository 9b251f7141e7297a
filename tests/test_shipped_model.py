"""What is shipped in artifacts/ keeps its contract, knows our own clips and does not care how loud they are."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgedigit.audio import load_waveform
from edgedigit.labels import DIGIT_OF_WORD, DIGITS
from edgedigit.manifest import verify_manifest
from edgedigit.runtime import Recognizer, StreamingRecognizer, VadOptions

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
MODELS = ("model.onnx", "model_int8.onnx")
METADATA = {"labels", "sample_rate", "n_samples", "version", "thresholds", "training_data", "licence", "frontend"}


@pytest.fixture(scope="module", params=MODELS)
def recognizer(request):
    return Recognizer(ARTIFACTS / request.param)


@pytest.fixture(scope="module")
def samples():
    """Our ten clips: {digit: waveform (T,)}. Files are named `7_...` or `seven...`."""
    paths = sorted(path for path in (ARTIFACTS / "samples").iterdir() if path.suffix in (".wav", ".flac"))
    names = [path.stem.split("_")[0] for path in paths]
    clips = {DIGIT_OF_WORD.get(name, name): load_waveform(path) for name, path in zip(names, paths, strict=True)}
    assert sorted(clips) == list(DIGITS)
    return clips


def test_the_default_is_one_of_the_two():
    assert Recognizer().path.name in MODELS


@pytest.mark.parametrize("name", MODELS)
def test_file(name):
    path = ARTIFACTS / name
    assert path.stat().st_size < 1_000_000
    verify_manifest(path)
    graph = onnx.load(path, load_external_data=False).graph
    assert not any(tensor.external_data for tensor in graph.initializer)
    assert not {node.op_type for node in graph.node} & {"STFT", "DFT"}


def test_metadata(recognizer):
    info = recognizer.info
    assert set(info.metadata) >= METADATA
    assert info.labels[:10] == DIGITS
    assert (info.sample_rate, info.n_samples) == (8000, 8000)
    assert 0 <= info.thresholds["reject_below"] < 1
    thresholds = info.thresholds["vad"]
    assert dataclasses.asdict(VadOptions.from_dict(thresholds)) == thresholds  # all named: a later default changes none
    json.loads(info.metadata["frontend"])


def test_batches_of_any_size_agree_with_single_clips(recognizer):
    waveforms = np.random.default_rng(0).normal(0, 0.1, (5, 8000)).astype(np.float32)
    together = recognizer.probabilities(waveforms)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-4)
    for waveform, row in zip(waveforms, together, strict=True):
        np.testing.assert_allclose(recognizer.probabilities(waveform[None])[0], row, atol=1e-4)


def test_our_clips_are_recognised(recognizer, samples):
    predictions = {digit: recognizer.predict(waveform) for digit, waveform in samples.items()}
    assert {digit: prediction.label for digit, prediction in predictions.items()} == {digit: digit for digit in samples}
    assert not any(prediction.rejected for prediction in predictions.values())


@pytest.mark.parametrize("gain_db", [-20, 20])
def test_gain_does_not_matter(recognizer, samples, gain_db):
    for waveform in samples.values():
        plain, scaled = recognizer.predict(waveform), recognizer.predict(waveform * np.float32(10 ** (gain_db / 20)))
        assert scaled.label == plain.label
        assert scaled.probability == pytest.approx(plain.probability, abs=0.02)


@pytest.mark.parametrize("block", [160, 8000])
def test_our_clips_are_recognised_in_a_stream(recognizer, samples, block):
    pause = np.zeros(4000, np.float32)
    waveform = np.concatenate([part for clip in samples.values() for part in (pause, clip)] + [pause])
    waveform += np.random.default_rng(0).normal(0, 1e-4, waveform.size).astype(np.float32)
    stream = StreamingRecognizer(recognizer)
    events = [event for i in range(0, waveform.size, block) for event in stream.accept(waveform[i : i + block])]
    heard = [event.label for event in events + stream.flush() if event.kind == "digit"]
    assert heard == list(samples)


def test_silence_is_rejected(recognizer):
    assert recognizer.predict(np.zeros(8000, np.float32)).rejected
