"""The contract of exported files, and that each answers as the trained model does."""

import json
import re
from copy import deepcopy
from dataclasses import fields, replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_training import KINDS, LABELS, N_SAMPLES, SMALL, tones, trained_model

from edgedigit.config import Config, DataConfig, GateConfig
from edgedigit.data.dataset import as_arrays
from edgedigit.data.recording import Recording
from edgedigit.errors import ModelError
from edgedigit.export import parity
from edgedigit.export.exportable import Exportable
from edgedigit.export.facts import model_facts
from edgedigit.export.onnx_file import export_onnx, finish_onnx
from edgedigit.export.parity import run_torch
from edgedigit.export.torchscript_file import export_torchscript
from edgedigit.runtime import Recognizer, VadOptions
from edgedigit.train.scoring import predict_logits

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")

TEMPERATURE = 1.7
CALIBRATION = {"temperature": TEMPERATURE, "reject_below": 0.4, "n": 100}
CONFIG = Config(data=DataConfig(labels=LABELS, sources=("tones",), split="all"))
RECORDINGS = [
    Recording(np.zeros(8), 8000, "0", "a", source, name) for source, name in (("x", "1"), ("x", "2"), ("y", "3"))
]
RAW = {"widths": [4], "depths": [1], "kernels": [9], "stem_stride": 8}


@pytest.fixture(scope="module", params=["mfcc", "spectrogram", "raw", "deviations", "maps"])
def exported(request, tmp_path_factory):
    """(exportable model, ONNX file, TorchScript file) of each kind of features."""
    folder = tmp_path_factory.mktemp(request.param)
    kind = KINDS.get(request.param, {"frontend": {"kind": request.param}})
    model = trained_model(**kind, **(RAW if request.param == "raw" else SMALL))
    exportable = Exportable(model, TEMPERATURE)
    facts = model_facts(CONFIG, model, CALIBRATION, RECORDINGS)
    export_onnx(exportable, folder / "model.onnx")
    finish_onnx(folder / "model.onnx", model.spec, facts)
    export_torchscript(exportable, folder / "model_ts.pt", facts)
    return exportable, folder / "model.onnx", folder / "model_ts.pt"


@pytest.fixture(params=[True, False], ids=["in the last layer", "after it"])
def without_and_with_bias(request, exported):
    """The model for export, plain and with a bias of -1.25 on its second label."""
    model = deepcopy(exported[0].model)
    if not request.param:  # as in nets whose last layer has none
        model.network.classifier.bias = None
    return Exportable(model, TEMPERATURE), Exportable(model, TEMPERATURE, [0.0, -1.25])


def test_a_bias_on_labels_moves_their_odds(without_and_with_bias, clips):
    before, given = (run_torch(model, clips) for model in without_and_with_bias)
    odds_before, odds = (np.log(p[:, 1] / p[:, 0]) for p in (before, given))
    between = np.abs(odds_before) < 8  # further out, probabilities in float32 have too few digits
    assert between.any()
    np.testing.assert_allclose(odds[between], odds_before[between] - 1.25, atol=5e-3)


@pytest.mark.parametrize("exported", ["deviations"], indirect=True)
def test_every_format_holds_the_bias_on_labels(tmp_path, without_and_with_bias, clips):
    _, biased = without_and_with_bias
    export_onnx(biased, tmp_path / "biased.onnx")
    export_torchscript(biased, tmp_path / "biased.pt", model_facts(CONFIG, biased.model, CALIBRATION, RECORDINGS))
    for given in (run(tmp_path / "biased.onnx", clips), parity.run_torchscript(tmp_path / "biased.pt", clips)):
        np.testing.assert_allclose(given, run_torch(biased, clips), atol=1e-4)


@pytest.fixture(scope="module")
def clips():
    """Tones, noise, silence and full scale."""
    waveforms, _ = as_arrays(tones(20, seed=8), LABELS, N_SAMPLES)
    noise = np.random.default_rng(0).normal(0, 0.1, (4, N_SAMPLES)).astype(np.float32)
    return np.concatenate([waveforms, noise, np.zeros((1, N_SAMPLES), np.float32), np.sign(noise[:1])])


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run(path, waveforms):
    return session(path).run(["probabilities"], {"waveform": waveforms})[0]


def test_names_types_and_shapes_keep_the_contract(exported):
    (given,), (made,) = session(exported[1]).get_inputs(), session(exported[1]).get_outputs()
    assert (given.name, given.type, given.shape) == ("waveform", "tensor(float)", ["batch", N_SAMPLES])
    assert (made.name, made.type, made.shape) == ("probabilities", "tensor(float)", ["batch", len(LABELS)])


@pytest.mark.parametrize("n", [1, 7])
def test_any_batch(exported, clips, n):
    together = run(exported[1], clips[:n])
    assert together.shape == (n, len(LABELS))
    np.testing.assert_allclose(together.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(together[-1:], run(exported[1], clips[n - 1 : n]), atol=1e-6)
    scripted = parity.run_torchscript(exported[2], clips[:n])
    np.testing.assert_allclose(scripted, together, atol=1e-4)


def test_the_file_stands_alone(exported, tmp_path, clips):
    model = onnx.load(exported[1], load_external_data=False)
    assert all(value.data_location != onnx.TensorProto.EXTERNAL for value in model.graph.initializer)
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(exported[1].read_bytes())
    assert np.array_equal(run(alone, clips), run(exported[1], clips))


def test_features_are_computed_by_ordinary_operators(exported):
    model = onnx.load(exported[1])
    assert not {node.op_type for node in model.graph.node} & {"STFT", "DFT", "MelWeightMatrix", "Loop", "If", "Scan"}
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}


def test_the_graph_holds_no_training_branches_and_no_traces(exported):
    model = onnx.load(exported[1])
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert sum(node.op_type == "BatchNormalization" for node in model.graph.node) <= 1  # of the features


def test_the_file_says_what_it_is(exported):
    exportable, path, _ = exported
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(metadata["labels"]) == list(LABELS)
    assert metadata["sample_rate"] == "8000"
    assert metadata["n_samples"] == str(N_SAMPLES)
    thresholds = json.loads(metadata["thresholds"])
    assert thresholds["reject_below"] == 0.4
    assert set(thresholds["vad"]) == {option.name for option in fields(VadOptions)}  # later defaults change no model
    assert json.loads(metadata["training_data"]) == {"split": "all", "recordings": {"x": 2, "y": 1}}
    assert metadata["licence"] == "Apache-2.0"
    assert json.loads(metadata["frontend"]) == exportable.model.spec.to_dict()


def test_torchscript_carries_the_same_facts(exported):
    extra = {"facts.json": ""}
    torch.jit.load(str(exported[2]), _extra_files=extra)
    assert json.loads(extra["facts.json"])["labels"] == list(LABELS)


def test_every_format_answers_as_the_trained_model(exported, clips):
    exportable, path, scripted = exported
    reference = parity.run_torch(exportable, clips)
    for answers in (run(path, clips), parity.run_torchscript(scripted, clips)):
        found = parity.compare(reference, answers)
        assert found["n"] == len(clips)
        assert found["max_difference"] <= 1e-4
        assert found["same_decision"] == 1.0


def test_probabilities_are_the_tempered_softmax_of_the_logits(exported, clips):
    exportable, path, _ = exported
    logits = predict_logits(exportable.model, clips) / TEMPERATURE
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(run(path, clips), expected, atol=1e-4)


def test_the_runtime_reads_the_file(exported, clips):
    recognizer = Recognizer(exported[1])
    assert tuple(recognizer.info.labels) == LABELS
    np.testing.assert_allclose(recognizer.probabilities(clips), run(exported[1], clips), atol=1e-6)


def test_exporting_leaves_the_model_trainable():
    model = trained_model().requires_grad_(True)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    Exportable(model, 2.0, [0.0, -1.25])
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())
    assert len(before) == len(model.state_dict())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("exported", ["raw"], indirect=True)
def test_a_graph_without_its_features_is_refused(exported, tmp_path):
    exportable, path, _ = exported
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(path.read_bytes())
    other = replace(exportable.model.spec, kind="log_mel", n_fft=512, win_length=400)
    with pytest.raises(ModelError, match="no DFT filters"):
        finish_onnx(copy, other, model_facts(CONFIG, exportable.model, CALIBRATION, RECORDINGS))


def test_a_finished_file_gets_new_facts_and_answers_as_before(exported, clips, tmp_path):
    exportable, path, _ = exported
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(path.read_bytes())
    finish_onnx(copy, exportable.model.spec, {**model_facts(CONFIG, exportable.model, CALIBRATION, []), "version": "9"})
    assert Recognizer(copy).info.version == "9"
    np.testing.assert_array_equal(run(copy, clips), run(path, clips))


def test_comparison_counts_what_differs():
    reference = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    answers = np.array([[0.9, 0.1], [0.2, 0.8], [0.35, 0.65], [0.5, 0.5]])
    assert parity.compare(reference, answers) == {"n": 4, "max_difference": pytest.approx(0.25), "same_decision": 0.75}


def entry(kind="fp32", **changes):
    good = {"file": f"{kind}.onnx", "kind": kind, "size_bytes": 100_000, "n_params": 30_000}
    good["parity"] = {"n": 1500, "max_difference": 1e-6 if kind != "int8" else 0.2, "same_decision": 0.999}
    return {**good, "latency": {"latency_ms_p99": 0.5}, **changes}


@pytest.mark.parametrize("kind", ["fp32", "int8", "torchscript"])
def test_a_good_file_breaks_nothing(kind):
    assert parity.broken_limits([entry(kind)], GateConfig()) == []


@pytest.mark.parametrize(
    "kind, changes, words",
    [
        ("fp32", {"size_bytes": 1_000_001}, "1000001 bytes, 1000000"),
        ("fp32", {"n_params": 90_001}, "90001 parameters, 90000"),
        ("fp32", {"parity": {"n": 9, "max_difference": 2e-4, "same_decision": 1.0}}, "differs .* by 2.0e-04, 1.0e-04"),
        ("torchscript", {"parity": {"n": 9, "max_difference": 2e-4, "same_decision": 1.0}}, "differs"),
        ("int8", {"parity": {"n": 1000, "max_difference": 0.1, "same_decision": 0.994}}, "99.40 % of 1000 .* 99.50 %"),
        ("int8", {"latency": {"latency_ms_p99": 15.1}}, "15.10 ms"),
    ],
)
def test_what_breaks_a_limit_is_named_with_both_figures(kind, changes, words):
    broken = parity.broken_limits([entry("fp32"), entry(kind, **changes)], GateConfig())
    assert len(broken) == 1
    assert broken[0].startswith(f"{kind}.onnx")
    assert re.search(words, broken[0]), broken[0]


@pytest.mark.parametrize(
    "share, n, allowed",
    [
        (0.005, 1000, 5),
        (1 - 0.995, 1000, 5),
        (0.005, 1199, 5),
        (0.005, 160, 1),
        (0.003, 667, 2),
        (0.003, 0, 1),
        (0.0, 1000, 0),
        (1.0, 40, 40),
    ],
)
def test_a_limit_is_no_finer_than_one_clip(share, n, allowed):
    assert parity.allowed_clips(share, n) == allowed


@pytest.mark.parametrize("n, n_differ, breaks", [(160, 1, False), (160, 2, True), (1500, 7, False), (1500, 8, True)])
def test_one_clip_of_few_does_not_decide_over_int8(n, n_differ, breaks):
    measured = entry("int8", parity={"n": n, "max_difference": 0.1, "same_decision": 1 - n_differ / n})
    assert bool(parity.broken_limits([measured], GateConfig())) == breaks


def test_limits_hold_without_a_benchmark_too():
    measured = entry(size_bytes=2_000_000)
    del measured["latency"]
    assert len(parity.broken_limits([measured], GateConfig())) == 1
