"""Faster than what people use today, on the same clips in the same run, one after the other on each clip."""

import numpy as np
import pytest

from edgedigit import features, peers
from edgedigit.bench.beside_peers import clip_recognizer, time_recognizers
from edgedigit.bench.inference import CHECKPOINT, one_torch_thread
from edgedigit.errors import MissingDependencyError
from edgedigit.runtime import Recognizer

AGREEMENT = 0.99  # of the peer's decisions, which are the same network's in another precision


@pytest.fixture
def measure(default_model, clips, show):
    """Times a peer beside the shipped model; returns its ratio and both sides' figures."""

    def run(name, make):
        try:
            peer = make()
        except MissingDependencyError as error:
            pytest.skip(str(error))
        ours = clip_recognizer(default_model)
        with one_torch_thread():
            figures = time_recognizers({"ours": ours, "theirs": peer}, clips)
        ratio = figures["theirs"]["latency_ms_p50"] / figures["ours"]["latency_ms_p50"]
        row = {key: value for key, value in figures["theirs"].items() if key != "answers"}
        show({"name": f"{name}: clip to answer", **row, "ratio": ratio, "ratio_to": default_model.name})
        return ratio, figures["ours"], figures["theirs"]

    return run


def test_features_of_python_speech_features_are_those_of_the_model(clips):
    pytest.importorskip("python_speech_features")
    from edgedigit.audio import fix_length
    from edgedigit.spec import FrontendSpec

    spec = FrontendSpec()
    for clip in clips[:20]:
        waveform = fix_length(clip.waveform, spec.n_samples)
        np.testing.assert_allclose(peers.psf_log_mel(waveform, spec), features.compute(waveform[None], spec), atol=1e-2)


def test_faster_than_python_speech_features_with_torch(measure, artifacts, clips):
    labels = Recognizer(artifacts / "model.onnx").info.labels
    ratio, _, theirs = measure(peers.PSF_TORCH, lambda: peers.psf_torch(artifacts / CHECKPOINT, labels))
    ours = clip_recognizer(artifacts / "model.onnx")
    same = sum(ours(clip.waveform) == label for clip, label in zip(clips, theirs["answers"], strict=True))
    assert same >= AGREEMENT * len(clips)
    assert ratio > 1


@pytest.mark.parametrize("name", peers.POCKETSPHINX)
def test_faster_and_more_often_right_than_pocketsphinx(name, measure):
    ratio, ours, theirs = measure(name, peers.POCKETSPHINX[name])
    assert ratio > 1
    assert ours["n_correct"] >= theirs["n_correct"]
