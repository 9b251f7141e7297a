"""What the single architectures promise: their sizes, their inputs, and what is particular to each."""

import math
import re
import shutil
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from tiny_training import LABELS, make_trainer, tones
from torch.nn import functional as F

from edgedigit.compress.prune import count_macs, fold, folded_parameters
from edgedigit.data.dataset import as_arrays
from edgedigit.errors import ConfigError
from edgedigit.models import bc_resnet, count_parameters, create_model, list_models
from edgedigit.models.mlp_mfcc import statistics
from edgedigit.models.transformer import SelfAttention
from edgedigit.spec import LOG_MEL_64X32, MFCC_13X32, SPECTROGRAM_513X32, FrontendSpec
from edgedigit.train.trainer import Ensemble

REFERENCES = ("bc_resnet", "ds_cnn", "kwt", "matchboxnet", "tc_resnet")  # tables of sizes, see test_models_reference.py
every_model = pytest.mark.parametrize("name", list_models())
VIEWS = {"log_mel": LOG_MEL_64X32, "mfcc": MFCC_13X32, "spectrogram": SPECTROGRAM_513X32}
SEEN_BY_SEVERAL = ("resnet_se", "effnet", "transformer")
MINI = {"name": "cnn_mini", "kwargs": {"width": 8}}
LITE = {"name": "cnn_lite", "kwargs": {"widths": [4, 8], "frontend": {"kind": "spectrogram"}}}
SMALLER = {
    "ds_cnn": {"size": "s"},
    "effnet": {"depths": [1, 2, 1, 1, 1]},
    "ensemble": {"members": [MINI, LITE]},
    "kwt": {"depth": 1},
    "st_transformer_emg": {"depth": 1},
    "transformer": {"depth": 1},
}


def seeded(name, n_labels=10, **kwargs):
    torch.manual_seed(0)
    return create_model(name, n_labels, **kwargs)


def clips(n=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, (n, 8000)).astype(np.float32))


def two_of_a_kind(model, n):
    """Windows (n, ...) that differ by label, and labels: tones, or EMG in one half of the band or the other."""
    if model.spec.signal.kind == "audio":
        return as_arrays(tones(n), LABELS, 8000)
    spec = model.spec
    labels = np.arange(n) % 2
    frequency_hz = np.where(labels, 300, 80) * np.random.default_rng(0).uniform(0.9, 1.1, (spec.n_channels, n))
    time_s = np.arange(spec.n_samples) / spec.sample_rate
    waves = 50 * np.sin(2 * np.pi * frequency_hz.T[:, :, None] * time_s)
    return waves.astype(np.float32), labels


def input_in_words(spec):
    size = " x ".join(str(length) for length in spec.shape if length > 1)
    kinds = {
        "log_mel": "log-mel {}",
        "mfcc": "MFCC {}",
        "spectrogram": "spectrogram {}",
        "raw": "waveform of {} samples",
        "emg": "EMG {}",
    }
    return kinds[spec.kind].format(size)


def docstring_of(name):
    builder = getattr(sys.modules[f"edgedigit.models.{name}"], name)
    return " ".join(builder.__doc__.split())


@pytest.mark.parametrize("name", [name for name in list_models() if name not in REFERENCES])
def test_stated_inputs_and_sizes_are_measured_ones(name):
    views = VIEWS.values() if name in SEEN_BY_SEVERAL else ()
    expected = set()
    for frontend in (None, *(view.to_dict() for view in views)):
        model = seeded(name, frontend=frontend)
        figures = f"{folded_parameters(model):,} parameters, {count_macs(model) / 1e6:.2f} M MACs"
        expected.add(f"{input_in_words(model.spec)}: {figures}")
    stated = docstring_of(name)
    assert [text for text in expected if text not in stated] == []
    assert len(re.findall("MACs", stated)) == len(expected)


@every_model
def test_every_file_names_its_source(name):
    assert "\nSource: " in sys.modules[f"edgedigit.models.{name}"].__doc__


@pytest.mark.parametrize(
    "name, shape",
    [
        ("mlp_mfcc", (3, 13, 99)),
        ("cnn2d_mel", (1, 64, 51)),
        ("cnn1d_raw", (1, 1, 8000)),
        ("cnn2d_mfcc_compact", (3, 20, 80)),
        ("cnn4_mel_audiomnist", (1, 64, 49)),
        ("cnn_lite", (1, 40, 50)),
        ("cnn_mini", (1, 32, 40)),
        ("effnet", (1, 64, 32)),
        ("transformer", (1, 64, 32)),
        ("ensemble", (1, 1, 8000)),
        ("st_transformer_emg", (8, 16, 7)),
    ],
)
def test_inputs(name, shape):
    model = seeded(name)
    assert model.spec.shape == shape == model.frontend(torch.zeros(1, *model.spec.signal.shape)).shape[1:]


@pytest.mark.parametrize(
    "name, least, most",
    [
        ("cnn_lite", 180_000, 220_000),
        ("cnn_mini", 2_000, 7_000),
        ("effnet", 1_700_000, 1_900_000),
        ("transformer", 1_150_000, 1_350_000),
        ("ensemble", 5_200_000, 5_800_000),
    ],
)
def test_sizes_are_as_designed(name, least, most):
    assert least <= count_parameters(seeded(name)) <= most


def test_no_model_is_another_under_a_second_name():
    kinds = {name: type(seeded(name).network) for name in list_models()}
    assert len(set(kinds.values())) == len(kinds)
    shells = {
        name for name in kinds for module in list(seeded(name).network.modules())[1:] if type(module) in kinds.values()
    }
    assert shells == {"ensemble"}


@every_model
def test_a_few_steps_lower_the_loss(name):
    """In the sizes of `SMALLER`: more layers of a kind take longer and show nothing else."""
    model = seeded(name, len(LABELS), **SMALLER.get(name, {})).train()
    waveforms, targets = map(torch.from_numpy, two_of_a_kind(model, 16))
    with torch.no_grad():
        features = model.frontend(waveforms)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(model.network(features), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-2:]) < 0.8 * losses[0]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", SEEN_BY_SEVERAL)
def test_large_models_take_any_of_three_views(name, view):
    model = seeded(name, frontend=VIEWS[view].to_dict()).eval()
    assert model.spec == VIEWS[view]
    assert model(clips(2)).shape == (2, 10)


@pytest.fixture(scope="module")
def exported(request, tmp_path_factory):
    """(exportable, windows, ONNX file) of a model in a small size, its norms other than at first.

    Those of `SMALLER` and one block a stage of BC-ResNet: members of the ensemble and repeated layers are all exported
    alike.
    """
    from edgedigit.export.exportable import Exportable
    from edgedigit.export.onnx_file import export_onnx, finish_onnx

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bc_resnet, "DEPTHS", (1, 1, 2, 1))
        model = seeded(request.param, **SMALLER.get(request.param, {})).train()
    waveforms, _ = two_of_a_kind(model, 12)
    waveforms[0, ..., waveforms.shape[-1] // 2 :] = 0
    with torch.no_grad():
        for _ in range(3):
            model(torch.from_numpy(waveforms))
    exportable = Exportable(model, 0.1)  # sharp, so that small differences would show
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(exportable, path)
    shutil.copyfile(path, path.with_name("unfinished.onnx"))
    finish_onnx(path, model.spec, {"version": "0"})
    return exportable, waveforms, path


@pytest.mark.slow
@pytest.mark.parametrize("exported", list_models(), indirect=True)
def test_every_model_exports_and_answers_as_torch(exported, request):
    import onnxruntime

    exportable, waveforms, path = exported
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 12):
        expected = exportable(torch.from_numpy(waveforms[:n])).numpy()
        (got,) = session.run(None, {exportable.model.spec.signal.input_name: waveforms[:n]})
        # 1e-4 at this temperature is 1e-5 at 1, which the reference models keep.
        is_reference = request.node.callspec.params["exported"] in REFERENCES
        assert np.abs(got - expected).max() <= (1e-4 if is_reference else 1e-3)


def test_statistics_are_those_of_numpy():
    features = torch.from_numpy(np.random.default_rng(0).normal(2, 3, (2, 3, 13, 50)).astype(np.float32))
    rows = features.numpy().reshape(2, 39, 50)
    expected = np.concatenate([rows.mean(2), rows.std(2), rows.min(2), rows.max(2)], axis=1)
    assert expected.shape == (2, 156)
    np.testing.assert_allclose(statistics(features).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_the_perceptron_knows_nothing_of_order_in_time():
    model = seeded("mlp_mfcc").eval()
    features = model.frontend(clips(2))
    torch.testing.assert_close(model.network(features.flip(3)), model.network(features), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["log_mel", "mfcc", "spectrogram"])
def test_padding_is_masked(kind):
    model = seeded("cnn4_mel_audiomnist", frontend={"kind": kind}).eval()
    waveforms = clips(2)
    waveforms[:, 4000:] = 0.0
    mask = model.network.mask(model.frontend(waveforms))
    spec = model.spec
    first_silent = 4000 // spec.hop_length + 1  # one sample of pre-emphasis reaches past the end
    assert mask.shape == (2, 1, 1, spec.n_frames)
    assert (mask[..., : first_silent - 1] == 1).all()
    assert (mask[..., first_silent:] == 0).all()


def test_the_amount_of_padding_does_not_matter():
    model = seeded("cnn4_mel_audiomnist").eval()
    model.network.norm.running_mean.fill_(-2.0)  # so that masked frames are not zero by chance
    features = model.frontend(clips(2))[..., :27]
    silence = torch.full((2, 1, 64, 30), math.log(model.spec.power_floor))
    padded = torch.cat([features, silence], dim=3)
    torch.testing.assert_close(model.network(padded), model.network(features), rtol=1e-4, atol=1e-4)
    louder = torch.cat([features, silence + 1.0], dim=3)
    assert not torch.allclose(model.network(louder), model.network(features), rtol=1e-2)


def test_silence_has_a_finite_answer():
    assert torch.isfinite(seeded("cnn4_mel_audiomnist").eval()(torch.zeros(1, 8000))).all()


def test_layers_of_the_masked_net_start_with_the_variance_that_rectifiers_need():
    for conv in seeded("cnn4_mel_audiomnist").network.convs:
        n_inputs = conv.weight[0].numel()
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / n_inputs), rel=0.2)
        assert not conv.bias.any()


def test_the_spatiotemporal_transformer_tells_electrodes_apart_by_what_it_learnt_of_each():
    model = seeded("st_transformer_emg", width=32, n_features=16, depth=1).eval()
    features = torch.randn(2, *model.spec.shape)
    turned = features.flip(1)
    assert not torch.allclose(model.network(turned), model.network(features), rtol=1e-3)
    with torch.no_grad():
        model.network.electrode.zero_()
    torch.testing.assert_close(model.network(turned), model.network(features), rtol=1e-4, atol=1e-4)


def test_the_spatiotemporal_transformer_is_of_the_size_that_it_was_asked_for():
    network = seeded("st_transformer_emg").network
    assert network.embed_window.in_features == 128
    assert [layer.attention.n_heads for layer in network.time] == [8] * 6
    assert {layer.attention.output.out_features for layer in network.time} == {256}
    assert {layer.dropout.p for layer in network.time} == {0.1}


def test_the_spatiotemporal_transformer_refuses_sound():
    with pytest.raises(ConfigError, match=r"takes EMG.*data.signal.kind"):
        create_model("st_transformer_emg", frontend=FrontendSpec().to_dict())
    with pytest.raises(ConfigError, match="width is 36, expected an even multiple of n_heads"):
        create_model("st_transformer_emg", width=36)


@pytest.mark.parametrize("name", ["cnn4_mel_audiomnist", "transformer"])
def test_models_of_frames_refuse_the_waveform(name):
    with pytest.raises(ConfigError, match=f"{name}.*raw"):
        create_model(name, frontend={"kind": "raw"})


def test_attention_equals_the_fused_operator():
    torch.manual_seed(0)
    attention = SelfAttention(24, 4, dropout=0.5).eval()
    x = torch.randn(2, 7, 24)
    query, key, value = (part.view(2, 7, 4, 6).transpose(1, 2) for part in attention.query_key_value(x).chunk(3, dim=2))
    expected = attention.output(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(2, 7, 24))
    torch.testing.assert_close(attention(x), expected)


def test_the_transformer_knows_the_order_of_frames_by_their_positions_alone():
    model = seeded("transformer").eval()
    features = model.frontend(clips(2))
    backward = features.flip(3)
    assert not torch.allclose(model.network(backward), model.network(features), rtol=1e-3)
    model.network.position.zero_()
    torch.testing.assert_close(model.network(backward), model.network(features), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kwargs", [{"width": 30}, {"width": 15, "n_heads": 5}])
def test_heads_must_divide_the_width(kwargs):
    with pytest.raises(ConfigError, match=f"width is {kwargs['width']}"):
        create_model("transformer", **kwargs)


def test_products_of_attention_are_counted():
    model = seeded("transformer", width=8, depth=1, n_heads=2)
    n, dense = 32, 8 * 3 * 8 + 8 * 8 + 2 * 8 * 32
    assert count_macs(model) == n * 64 * 8 + n * dense + 2 * n * n * 8 + 8 * 10


def test_the_ensemble_mixes_log_probabilities_of_its_members():
    model = seeded("ensemble", members=[MINI, LITE]).eval()
    with torch.no_grad():
        model.network.log_weights.copy_(torch.tensor([0.0, math.log(3.0)]))
    mini, lite = (member(clips(3)).log_softmax(dim=1) for member in model.network.members)
    torch.testing.assert_close(model(clips(3)), 0.25 * mini + 0.75 * lite)


def test_members_of_the_ensemble_have_a_front_end_each():
    members = seeded("ensemble").network.members
    assert [member.name for member in members] == list(SEEN_BY_SEVERAL)
    assert [member.spec for member in members] == [LOG_MEL_64X32, SPECTROGRAM_513X32, MFCC_13X32]


def test_the_ensemble_learns_and_teaches_through_the_trainer():
    members = [MINI, {"name": "mlp_mfcc", "kwargs": {"widths": [16]}}]
    model = make_trainer(epochs=6, model=seeded("ensemble", len(LABELS), members=members)).run()
    assert model.network.log_weights.any()
    waveforms, targets = as_arrays(tones(32, seed=5), LABELS, 8000)
    soft = Ensemble([model], "bf16")(torch.from_numpy(waveforms))
    assert (soft.argmax(dim=1).numpy() == targets).mean() >= 0.9


def test_features_of_members_keep_their_precision():
    model = seeded("ensemble", members=[MINI]).eval()
    seen = {}
    model.network.members[0].network.register_forward_pre_hook(lambda module, given: seen.update(features=given[0]))
    with torch.autocast("cpu", torch.bfloat16):
        model.network(model.frontend(clips(2)))
    assert torch.equal(seen["features"], model.network.members[0].frontend(clips(2)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_features_of_members_keep_their_precision_on_cuda():
    model = seeded("ensemble", members=[MINI]).eval().cuda()
    seen = {}
    model.network.members[0].network.register_forward_pre_hook(lambda module, given: seen.update(features=given[0]))
    with torch.autocast("cuda", torch.float16):
        model.network(model.frontend(clips(2).cuda()))
    assert torch.equal(seen["features"], model.network.members[0].frontend(clips(2).cuda()))


def test_autocast_is_left_on_the_device_of_the_waveform(monkeypatch):
    model, left = seeded("ensemble", members=[MINI]).eval(), []
    monkeypatch.setattr(torch, "autocast", lambda device, **given: left.append(device) or nullcontext())
    model.network.to("meta")(torch.empty(2, 1, 1, 8000, device="meta"))
    assert left == ["meta"]


def test_folding_reaches_members():
    student = {"name": "student_dscnn", "kwargs": {"widths": [8, 12], "depths": [1, 1], "kernels": [5, 5]}}
    model = seeded("ensemble", members=[student, MINI]).eval()
    folded = fold(model)
    assert count_parameters(folded) < count_parameters(model)
    torch.testing.assert_close(folded(clips()), model(clips()), rtol=1e-4, atol=1e-4)


def test_operations_of_an_ensemble_are_those_of_its_networks():
    members = [MINI, LITE]
    alone = sum(count_macs(seeded(member["name"], **member["kwargs"])) for member in members)
    mixing = count_macs(seeded("ensemble", members=members)) - alone
    assert 0 <= mixing <= 10 * len(members)


@pytest.mark.parametrize(
    "kwargs, words",
    [
        ({"frontend": {"kind": "mfcc"}}, "set frontend in the kwargs of its members"),
        ({"members": []}, "no members"),
        ({"members": [{"kwargs": {}}]}, "expected its name"),
        ({"members": [{"name": "cnn_mini", "width": 3}]}, "expected its name"),
        ({"members": [{"name": "cnn_mni"}]}, "did you mean 'cnn_mini'"),
        ({"members": [{"name": "cnn_mini", "kwargs": {"frontend": {"n_samples": 4000}}}]}, "8000 samples at 8000 Hz"),
    ],
)
def test_ensembles_that_cannot_be_are_refused(kwargs, words):
    with pytest.raises(ConfigError, match=words):
        create_model("ensemble", **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("exported", ["ensemble"], indirect=True)
def test_features_of_members_stay_in_floating_point_when_quantised(exported):
    import onnx

    from edgedigit.compress.quantize import feature_nodes

    unfinished = exported[2].with_name("unfinished.onnx")
    graph = onnx.load(unfinished).graph
    kept = set(feature_nodes(onnx.load(unfinished)))
    for node in graph.node:
        if any("frontend." in name for name in node.input):
            assert node.name in kept
    assert 0 < len(kept) < len(graph.node)
