"""Training with the roundings of the INT8 export: they are its roundings, and what is trained is an ordinary net."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from tiny_training import LABELS, N_SAMPLES, SMALL, make_trainer, small_model, tones, trained_model
from torch import nn

from edgedigit.compress.prune import fold
from edgedigit.compress.quantize import quantize
from edgedigit.config import from_dict
from edgedigit.data.dataset import as_arrays
from edgedigit.errors import ConfigError
from edgedigit.export.exportable import Exportable
from edgedigit.export.onnx_file import export_onnx
from edgedigit.models import create_model
from edgedigit.runtime.predictor import open_session
from edgedigit.train import pipeline
from edgedigit.train.checkpoints import build_model, load_checkpoint
from edgedigit.train.fake_quantize import Activation, FakeQuantized, rounded_weight
from edgedigit.train.scoring import predict_logits
from edgedigit.train.trainer import Ensemble

DEEPER = {"widths": [8, 12], "depths": [2, 1], "kernels": [5, 5]}  # with a block that has a skip, and one that has none


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


def clips(n=32, seed=3):
    return as_arrays(tones(n, seed=seed), LABELS, N_SAMPLES)[0]


def test_weights_are_rounded_to_255_steps_of_their_channel():
    weight = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 2, 6)[:, None, None]
    rounded = rounded_weight(weight)
    step = weight.abs().amax(dim=(1, 2), keepdim=True) / 127
    torch.testing.assert_close(rounded, (weight / step).round() * step)
    assert not torch.equal(rounded, weight)
    assert rounded_weight(torch.zeros(2, 3)).tolist() == [[0.0] * 3] * 2


def test_the_grid_of_weights_is_that_of_weights_with_the_norm_folded_in():
    weight = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0))
    factor = torch.tensor([0.01, -3.0, 1.0, 7.0, -0.2, 100.0])[:, None, None]
    torch.testing.assert_close(rounded_weight(weight * factor), rounded_weight(weight) * factor)


def test_activations_are_rounded_to_256_steps_between_their_extremes():
    x = torch.tensor([-1.0, -0.4, 0.0, 0.7, 3.0])
    step = 4 / 255
    rounded = Activation()(x)
    assert (rounded - x).abs().max() <= step / 2 + 1e-6
    torch.testing.assert_close(rounded / step, (rounded / step).round(), atol=1e-3, rtol=0)
    assert rounded[2] == 0  # silence stays silence


def test_the_range_of_an_activation_follows_the_batches():
    activation = Activation()
    activation(torch.tensor([0.5, 2.0]))
    assert activation.extremes.tolist() == [0.0, 2.0]  # 0 is always in it
    for _ in range(200):
        activation(torch.tensor([-1.0, 4.0]))
    assert activation.extremes.tolist() == pytest.approx([1.0, 4.0], rel=1e-3)


def test_gradients_pass_the_rounding():
    x = torch.tensor([0.3, 0.9], requires_grad=True)
    rounded_weight(x[None]).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("options", [SMALL, DEEPER])
def test_the_roundings_are_those_of_the_export(tmp_path, options):
    """The same places in the same order, with the steps that the export takes from the same clips, the same answers."""
    model = trained_model(**options)
    waveforms = clips(64)
    export_onnx(Exportable(model, 1.0), tmp_path / "model.onnx")
    quantize(tmp_path / "model.onnx", tmp_path / "int8.onnx", waveforms)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    stored = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    steps = [float(stored[node.input[1]]) for node in graph.node if node.op_type == "QuantizeLinear"]

    folded = fold(model)
    features = folded.frontend(torch.from_numpy(waveforms))
    rounding = FakeQuantized(folded.network).eval()
    with torch.no_grad():
        rounding(features)  # ranges of all these clips
        found = rounding(features).numpy()
    assert [one.extremes.sum().item() / 255 for one in rounding.ranges.values()] == pytest.approx(steps, rel=0.02)
    as_written = onnxruntime.SessionOptions()  # no kernels of INT8, which round ties otherwise on other processors
    as_written.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(tmp_path / "int8.onnx", as_written, providers=["CPUExecutionProvider"])
    (int8,) = session.run(None, {"waveform": waveforms})
    odds = np.log(int8[:, 0] / int8[:, 1])
    weight = folded.network.classifier.weight.detach()
    tie = steps[-2] * float((weight[0] - weight[1]).abs().max())  # one pooled channel rounded the other way
    assert np.abs(odds - (found[:, 0] - found[:, 1])).mean() < 2 * steps[-1] + tie  # a step for each of the two scores


def test_rounding_moves_answers_the_way_the_export_does(tmp_path):
    """Where eight bits do harm: a feature row three hundred times as large leaves the others few steps."""
    model = trained_model(**SMALL)
    with torch.no_grad():
        model.network.norm.weight[0] *= 300
        model.network.stem.weight[:, 0] /= 300
    waveforms = clips(64)
    export_onnx(Exportable(model, 1.0), tmp_path / "model.onnx")
    quantize(tmp_path / "model.onnx", tmp_path / "int8.onnx", waveforms)
    folded = fold(model)
    features = folded.frontend(torch.from_numpy(waveforms))
    rounding = FakeQuantized(folded.network).eval()
    with torch.no_grad():
        rounding(features)
        exact, found = (network(features).softmax(dim=1).numpy() for network in (folded.network, rounding))
    session = open_session(tmp_path / "int8.onnx", threads=1)
    (int8,) = session.run(None, {"waveform": waveforms})
    assert np.abs(int8 - exact).mean() > 0.02
    assert np.abs(int8 - found).mean() < 0.2 * np.abs(int8 - exact).mean()


def test_rounding_leaves_the_network_its_weights_and_trains_them():
    model = fold(small_model()).requires_grad_(True)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rounding = FakeQuantized(model.network)
    rounding(model.frontend(torch.from_numpy(clips(8)))).square().sum().backward()
    assert same_weights(model.state_dict(), before)
    assert all(parameter.grad is not None for parameter in model.network.parameters())
    assert model.network.classifier.weight is rounding.network.classifier.weight


class Deciding(nn.Module):
    def forward(self, features):
        return features if features.sum() > 0 else -features


def test_a_network_that_cannot_be_traced_is_one_line():
    with pytest.raises(
        ConfigError, match=r"Deciding cannot be trained for eight bits .*; set compress.qat_epochs to 0"
    ):
        FakeQuantized(Deciding())


@pytest.mark.parametrize("name", ["student_dscnn", "ds_cnn", "bc_resnet", "tc_resnet", "matchboxnet"])
def test_networks_for_small_devices_can_be_rounded(name):
    model = fold(create_model(name, 10)).eval()
    features = torch.randn(4, *model.spec.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact, rounded = model.network(features), FakeQuantized(model.network).eval()(features)
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).abs().mean() < 0.2 * exact.std()


def test_training_with_roundings_learns_and_gives_an_ordinary_model(tmp_path):
    trainer = make_trainer(tmp_path, epochs=5, model=fold(small_model()).requires_grad_(True), quantized=True)
    model = trainer.run()
    waveforms, targets = as_arrays(tones(16, seed=1), LABELS, N_SAMPLES)
    assert (predict_logits(model, waveforms).argmax(axis=1) == targets).mean() >= 0.9
    again = build_model(load_checkpoint(tmp_path / "tiny.best.pt"))
    assert again.network.folded
    np.testing.assert_array_equal(predict_logits(again, waveforms), predict_logits(model, waveforms))


def test_an_interrupted_training_with_roundings_resumes_to_the_same_bits(tmp_path):
    def trainer(folder, **kwargs):
        teacher = Ensemble([small_model(seed=9)], "fp32")
        model = fold(small_model()).requires_grad_(True)
        return make_trainer(tmp_path / folder, epochs=3, model=model, teacher=teacher, quantized=True, **kwargs)

    def stop(step, n_steps, text):
        if step == 6:
            raise KeyboardInterrupt

    for folder in ("whole", "broken"):
        (tmp_path / folder).mkdir()
    expected = trainer("whole").run().state_dict()
    with pytest.raises(KeyboardInterrupt):
        trainer("broken", progress=stop).run()
    resumed = trainer("broken")
    assert resumed.resume()
    assert same_weights(resumed.run().state_dict(), expected)
    last = [load_checkpoint(tmp_path / run / "tiny.last.pt")["helpers"]["ranges"] for run in ("whole", "broken")]
    assert same_weights(*last)
    assert all(value.all() for key, value in last[0].items() if key.endswith("seen"))


def test_a_pruned_net_is_trained_for_eight_bits_without_pruning_it_again(tmp_path):
    from edgedigit.compress.pipeline import load_pruned, prune_track

    settings = {
        "data": {"labels": LABELS, "split": "all"},
        "augment": {"enabled": False},
        "teachers": [],
        "student": {"name": "student_dscnn", "kwargs": {"widths": [16], "depths": [1], "kernels": [5]}},
        "fit_student": {"epochs": 1, "lr": 0.01, "batch_size": 8},
        "threads": 1,
    }
    compress = {"pruning_steps": 1, "target_sparsity": 0.3, "final_epochs": 1}
    config = from_dict({**settings, "compress": compress})
    track = pipeline.Track(pipeline.FINAL, tones(16), [])
    material = pipeline.Material((track,), [], [])
    pipeline.prepare_run(config, tmp_path, False, material.tracks)
    pipeline.train_all(config, material, tmp_path, say=str, bars=False)
    pruned = prune_track(config, material, track, tmp_path, say=str, bars=False)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*prune*.pt")}
    assert len(stamps) == 4

    rounding = from_dict({**settings, "compress": {**compress, "qat_epochs": 2}})
    trained = prune_track(rounding, material, track, tmp_path, resume=True, say=str, bars=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*prune*.pt")} == stamps
    assert trained.network.folded and trained.network.channels == pruned.network.channels
    waveforms = clips(8)
    for compressed, expected in ((config.compress, pruned), (rounding.compress, trained)):
        found = predict_logits(load_pruned(compressed, tmp_path, "final"), waveforms)
        np.testing.assert_array_equal(found, predict_logits(expected, waveforms))
    assert np.abs(predict_logits(trained, waveforms) - predict_logits(pruned, waveforms)).max() > 0

    exported = from_dict({**settings, "compress": {**compress, "qat_epochs": 2, "unknown_odds": 3.0}})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    again = prune_track(exported, material, track, tmp_path, resume=True, say=str, bars=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")} == before  # of what is exported alone
    np.testing.assert_array_equal(predict_logits(again, waveforms), predict_logits(trained, waveforms))
