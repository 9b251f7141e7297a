"""Channels leave until the target is met, and eight bits change few answers."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tiny_training import KINDS, LABELS, N_SAMPLES, SMALL, small_model, tones, trained_model
from torch.nn import functional

from edgedigit.compress.pipeline import calibration_note
from edgedigit.compress.prune import folded_parameters, parameter_targets, prune_to
from edgedigit.compress.quantize import calibration_indices, feature_nodes, quantize
from edgedigit.data.dataset import as_arrays
from edgedigit.data.recording import Recording
from edgedigit.errors import ConfigError
from edgedigit.export.exportable import Exportable
from edgedigit.export.onnx_file import export_onnx, finish_onnx
from edgedigit.export.parity import run_torch
from edgedigit.models import create_model
from edgedigit.train.pipeline import Track
from edgedigit.train.scoring import predict_logits, predict_onnx

WIDE = {"widths": [32, 48], "depths": [2, 2], "kernels": [5, 5]}


def test_targets_fall_in_equal_steps_to_the_sparsity():
    assert parameter_targets(1000, 0.4, 4) == [900, 800, 700, 600]
    assert parameter_targets(1000, 0.0, 1) == [1000]


@pytest.mark.parametrize("sparsity, steps", [(1.0, 2), (-0.1, 2), (1.5, 2), (0.4, 0)])
def test_impossible_targets_are_refused(sparsity, steps):
    with pytest.raises(ConfigError, match="expected"):
        parameter_targets(1000, sparsity, steps)


@pytest.fixture(scope="module", params=[{}, {"deviations": True}, {"maps": [4]}], ids=["plain", "deviations", "maps"])
def wide_model(request):
    return small_model(**WIDE, **request.param).eval()


@pytest.mark.parametrize("share, round_to", [(0.8, 4), (0.4, 4), (0.5, 8), (0.6, 1)])
def test_pruning_reaches_its_target_with_whole_vectors(wide_model, share, round_to):
    target = round(share * folded_parameters(wide_model))
    pruned = prune_to(wide_model, target, round_to)
    assert 0.7 * target < folded_parameters(pruned) <= target
    assert all(width % round_to == 0 and width > 0 for width in pruned.network.channels)
    assert all(new <= old for new, old in zip(pruned.network.channels, wide_model.network.channels, strict=True))
    assert not pruned.training


def test_a_pruned_model_is_rebuilt_from_its_channels(wide_model):
    pruned = prune_to(wide_model, folded_parameters(wide_model) // 2, 4)
    described = pruned.description()
    rebuilt = create_model(
        described["name"], described["n_labels"], channels=described["channels"], **described["kwargs"]
    )
    rebuilt.load_state_dict(pruned.state_dict())
    waveforms, _ = as_arrays(tones(6), LABELS, N_SAMPLES)
    np.testing.assert_array_equal(predict_logits(rebuilt, waveforms), predict_logits(pruned, waveforms))


def test_pruning_leaves_the_original_as_it_is(wide_model):
    before = {key: value.clone() for key, value in wide_model.state_dict().items()}
    prune_to(wide_model, folded_parameters(wide_model) // 2, 4)
    assert all(torch.equal(value, wide_model.state_dict()[key]) for key, value in before.items())


def test_channels_that_do_least_leave_first():
    model = small_model(**WIDE)
    with torch.no_grad():  # every other channel of the last pointwise convolution is all but silent
        model.network.blocks[2].pointwise.weight[::2] *= 1e-4
        model.network.blocks[3].pointwise.weight[::2] *= 1e-4
        model.network.blocks[2].norm.weight[::2] = 1e-4
        model.network.blocks[3].norm.weight[::2] = 1e-4
        model.network.blocks[3].depthwise.main[0].weight[::2] *= 1e-4
        model.network.classifier.weight[:, ::2] *= 1e-4
    pruned = prune_to(model, round(0.97 * folded_parameters(model)), 1)
    kept = pruned.network.classifier.weight.abs().amax(dim=0)
    assert (kept > 1e-2).sum() == 24  # all that speak
    assert len(kept) < 48


def test_pruned_models_still_learn(wide_model):
    pruned = prune_to(wide_model, folded_parameters(wide_model) // 2, 4)
    waveforms, targets = map(torch.from_numpy, as_arrays(tones(16), LABELS, N_SAMPLES))
    optimizer, losses = torch.optim.SGD(pruned.train().parameters(), lr=0.1), []
    for _ in range(3):
        optimizer.zero_grad()
        losses.append(functional.cross_entropy(pruned(waveforms), targets))
        losses[-1].backward()
        optimizer.step()
    assert all(parameter.grad.any() for parameter in pruned.parameters())
    assert losses[-1] < losses[0]


def test_a_target_that_is_met_changes_nothing(wide_model):
    same = prune_to(wide_model, folded_parameters(wide_model), 4)
    assert same.network.channels == wide_model.network.channels


def test_a_target_out_of_reach_is_an_error(wide_model):
    with pytest.raises(ConfigError, match="above the 50 asked for"):
        prune_to(wide_model, 50, 4)


def test_a_model_that_cannot_be_rebuilt_is_not_pruned():
    model = create_model("ds_cnn", 2, width=16, depth=1)
    with pytest.raises(ConfigError, match="ds_cnn cannot be pruned"):
        prune_to(model, folded_parameters(model) // 2, 4)
    assert folded_parameters(prune_to(model, folded_parameters(model), 4)) == folded_parameters(model)


def named(label, i):
    return Recording(np.zeros(1, np.float32), 8000, label, "s", "s", f"{label}/{i}")


@pytest.mark.parametrize(
    "sources, words",
    [
        (("synth", "synth"), "fitted to synthetic voices alone"),
        (("emg_simulated",), "fitted to simulated EMG alone"),
        (("synth", "fsdd"), None),
        ((), None),
    ],
)
def test_probabilities_that_no_person_has_calibrated_say_so(sources, words):
    validation = [Recording(np.zeros(8), 8000, "0", "a", source, f"{i}") for i, source in enumerate(sources)]
    note = calibration_note(Track("selection", [], validation))
    assert words in note if words else note == ""


def test_calibration_is_seeded_and_balanced():
    recordings = [named("0", i) for i in range(500)] + [named("1", i) for i in range(40)] + [named("2", 0)]
    rows = calibration_indices(recordings, 60, 0)
    assert Counter(recordings[row].label for row in rows) == {"0": 20, "1": 20, "2": 1}
    assert rows == sorted(set(rows)) == calibration_indices(recordings, 60, 0)
    assert rows != calibration_indices(recordings, 60, 1)


@pytest.fixture(scope="module", params=["mfcc", "deviations", "maps"])
def exported(request, tmp_path_factory):
    """A trained small model, as torch, as ONNX and as INT8."""
    folder = tmp_path_factory.mktemp(request.param)
    kind = KINDS.get(request.param, {"frontend": {"kind": request.param}})
    model = trained_model(**kind, **SMALL)
    clips, _ = as_arrays(tones(64, seed=3), LABELS, N_SAMPLES)
    export_onnx(Exportable(model, 1.0), folder / "model.onnx")
    quantize(folder / "model.onnx", folder / "int8.onnx", clips)
    return model, folder


def weights_of(model):
    return {value.name: value for value in model.graph.initializer}


def test_weights_are_eight_bits_each_channel_with_its_own_scale(exported):
    _, folder = exported
    int8 = onnx.load(folder / "int8.onnx")
    stored = weights_of(int8)
    dequantized = {node.output[0]: node for node in int8.graph.node if node.op_type == "DequantizeLinear"}
    features = set(feature_nodes(int8))
    convolutions = [node for node in int8.graph.node if node.op_type == "Conv" and node.name not in features]
    assert len(convolutions) >= 5  # stem, two depthwise, two pointwise
    in_int8 = [node for node in convolutions if node.input[1] in dequantized]
    assert len(in_int8) >= 5
    for node in in_int8:
        weight, scale, zero = (stored[name] for name in dequantized[node.input[1]].input[:3])
        assert weight.data_type == onnx.TensorProto.INT8
        assert list(scale.dims) == [weight.dims[0]]
        assert not numpy_helper.to_array(zero).any()


def test_features_stay_in_floating_point(exported):
    model, folder = exported
    int8 = onnx.load(folder / "int8.onnx")
    nodes = [node for node in int8.graph.node if node.name in feature_nodes(int8)]
    assert {"Conv", "Log"} <= {node.op_type for node in nodes}
    assert not {node.op_type for node in nodes} & {"QuantizeLinear", "DequantizeLinear"}
    spec = model.spec
    filters = [list(value.dims) for value in int8.graph.initializer if value.data_type == onnx.TensorProto.FLOAT]
    assert [2 * spec.n_bins, 1, spec.win_length] in filters


def test_eight_bits_answer_as_thirty_two(exported):
    model, folder = exported
    facts = {"labels": list(LABELS), "sample_rate": 8000, "n_samples": N_SAMPLES, "version": "0"}
    facts |= {"thresholds": {"reject_below": 0.0, "vad": {}}, "training_data": "tones", "licence": "none"}
    finish_onnx(folder / "int8.onnx", model.spec, {**facts, "frontend": model.spec.to_dict()})
    clips, _ = as_arrays(tones(64, seed=4), LABELS, N_SAMPLES)
    fp32 = run_torch(Exportable(model, 1.0), clips)
    int8 = predict_onnx(folder / "int8.onnx", clips)
    second, first = np.sort(fp32, axis=1)[:, -2:].T
    sure = first - second > 0.05  # what is nearly a tie may fall either way
    assert sure.mean() > 0.5
    same = fp32.argmax(axis=1) == int8.argmax(axis=1)
    assert same[sure].all() and same.mean() >= 0.9
    assert np.abs(fp32 - int8).mean() < 0.05
    assert np.abs(fp32 - int8).max() > 1e-4  # it is another model
