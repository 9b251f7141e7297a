"""What holds for every registered model, and what each promises about itself."""

import numpy as np
import pytest
import torch
from torch import nn

from edgedigit.compress.prune import count_macs, fold, folded_parameters
from edgedigit.errors import ConfigError
from edgedigit.models import count_parameters, create_model, list_models
from edgedigit.train.checkpoints import build_model, describe, load_checkpoint, save_checkpoint

every_model = pytest.mark.parametrize("name", list_models())
every_model_with_features = pytest.mark.parametrize(
    "name", sorted({*list_models()} - {"ensemble", "st_transformer_emg"})
)


def clips(n=4, seed=0, model=None):
    """Noise as loud as speech in the window of audio, or as EMG in that of a model that takes it."""
    is_emg = model is not None and model.spec.signal.kind == "emg"
    shape, level = (model.spec.signal.shape, 30.0) if is_emg else ((8000,), 0.1)
    return torch.from_numpy(np.random.default_rng(seed).normal(0, level, (n, *shape)).astype(np.float32))


def settle(model):
    """Give norms other than their first statistics and weights, as training does."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
        model.train()
        for seed in range(3):
            model(clips(8, seed, model))
    return model.eval()


def seeded(name, n_labels=10, **kwargs):
    torch.manual_seed(0)
    return create_model(name, n_labels, **kwargs)


@every_model
@pytest.mark.parametrize("n, n_labels", [(1, 10), (3, 2)])
def test_waveforms_become_logits(name, n, n_labels):
    model = seeded(name, n_labels).eval()
    logits = model(clips(n, model=model))
    assert logits.shape == (n, n_labels)
    assert torch.isfinite(logits).all()


@every_model
def test_the_answer_to_a_clip_does_not_depend_on_its_batch(name):
    model = settle(seeded(name))
    waveforms = clips(3, model=model)
    torch.testing.assert_close(model(waveforms)[1:2], model(waveforms[1:2]), rtol=1e-4, atol=1e-4)


@every_model
def test_gradients_reach_every_parameter(name):
    model = seeded(name).train()
    nn.functional.cross_entropy(model(clips(6, model=model)), torch.arange(6)).backward()
    unreached = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert unreached == []


@every_model
def test_a_description_builds_the_same_model(name):
    model = settle(seeded(name))
    described = model.description()
    again = create_model(
        described["name"], described["n_labels"], channels=described["channels"], **described["kwargs"]
    )
    again.load_state_dict(model.state_dict())
    assert again.description() == described
    assert torch.equal(again.eval()(clips(model=model)), model(clips(model=model)))


@every_model_with_features
@pytest.mark.parametrize("frontend", [{"kind": "mfcc"}, {"kind": "log_mel", "n_mels": 32, "hop_length": 160}])
def test_other_features_are_a_setting(name, frontend):
    model = seeded(name, frontend=frontend)
    assert {key: model.description()["kwargs"]["frontend"][key] for key in frontend} == frontend
    assert model.eval()(clips(2)).shape == (2, 10)


@every_model
def test_checkpoints_bring_the_model_back_without_running_code(name, tmp_path):
    model = settle(seeded(name))
    save_checkpoint(tmp_path / "model.pt", {"model": describe(model), "state": model.state_dict()})
    torch.load(tmp_path / "model.pt", weights_only=True)
    again = build_model(load_checkpoint(tmp_path / "model.pt"))
    assert torch.equal(again(clips(model=model)), model(clips(model=model)))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@every_model
def test_only_the_network_is_trained_and_stored(name):
    model = seeded(name)
    assert list(model.frontend.parameters()) == []
    assert all(key.startswith("network.") for key in model.state_dict())


@every_model
def test_a_wrong_option_is_named(name):
    with pytest.raises(ConfigError, match=f"{name}.*wdth"):
        create_model(name, wdth=3)


@pytest.mark.parametrize(
    "name, kwargs",
    [
        ("bc_resnet", {"tau": "wide"}),
        ("transformer", {"n_heads": 0}),
        ("transformer", {"depth": -1}),
        ("cnn_lite", {"widths": []}),
        ("cnn_lite", {"dropout": 2}),
        ("effnet", {"widths": [16, 24]}),
        ("cnn_mini", {"frontend": {"n_mels": "many"}}),
    ],
)
def test_a_value_that_a_model_cannot_have_costs_one_line(name, kwargs):
    with pytest.raises(ConfigError, match=name) as caught:
        create_model(name, **kwargs)
    assert "\n" not in str(caught.value)


def test_an_unknown_model_gets_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'resnet_se'"):
        create_model("resnet_es")
    with pytest.raises(ConfigError, match=r"choose one of .*student_dscnn"):
        create_model("zzz")


def test_the_student_is_small():
    assert folded_parameters(seeded("student_dscnn")) <= 90_000
    assert count_parameters(seeded("student_dscnn")) <= 90_000


def test_the_teacher_is_of_the_size_it_states():
    assert 2_200_000 <= count_parameters(seeded("resnet_se")) <= 2_800_000


def test_student_widths_come_from_channels():
    channels = [8, 8, 8, 20, 20, 12, 12]  # a stage that is skipped over keeps its width
    model = settle(seeded("student_dscnn", channels=channels))
    assert model.network.channels == channels == model.description()["channels"]
    assert model(clips(2)).shape == (2, 10)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"branches": False},
        {"kernels": [3, 5, 9], "stem_stride": 1},
        {"deviations": True},
        {"maps": [4, 6], "deviations": True, "stem_kernel": 1},
    ],
)
def test_folding_keeps_the_function(kwargs):
    model = settle(seeded("student_dscnn", **kwargs))
    folded = fold(model)
    assert (folded(clips()) - model(clips())).abs().max() <= 1e-5
    assert sum(isinstance(module, nn.BatchNorm1d) for module in folded.network.blocks.modules()) == 6  # pointwise
    assert folded_parameters(model) == count_parameters(folded) <= count_parameters(model)


def test_deviations_do_not_hear_what_is_steady():
    network = settle(seeded("student_dscnn", deviations=True)).network
    plain = settle(seeded("student_dscnn")).network
    features = torch.randn(2, 1, 40, 99, generator=torch.Generator().manual_seed(1))
    steady = 3 * torch.randn(1, 1, 40, 1, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert (network(features + steady) - network(features)).abs().max() > 1e-2
        network.stem.weight[:, :40] = 0.0  # what is left are the deviations
        assert (network(features + steady) - network(features)).abs().max() < 1e-4
        assert (plain(features + steady) - plain(features)).abs().max() > 1e-2


def test_maps_halve_the_bands_and_hear_patterns_wherever_they_lie():
    network = settle(seeded("student_dscnn", maps=[3, 5])).network
    assert network.stem.in_channels == network.maps.n_outputs == 5 * 10
    rows = torch.randn(1, 1, 40, 99, generator=torch.Generator().manual_seed(0))
    rows[:, :, 28:] = 0.0
    with torch.no_grad():
        low, high = (network.maps(x).unflatten(1, (5, 10)) for x in (rows, rows.roll(4, dims=2)))
    torch.testing.assert_close(low[:, :, 3:6], high[:, :, 4:7], rtol=1e-4, atol=1e-5)  # four rows are one band


@pytest.mark.parametrize(
    "options, words",
    [
        ({"maps": [0]}, "maps are (0,), expected"),
        ({"stem_kernel": 2}, "stem_kernel is 2, expected an odd number"),
        ({"maps": [4], "frontend": {"kind": "raw"}}, "needs one plane of at least 2 bands, got features of 1 x 1;"),
    ],
)
def test_impossible_maps_and_stems_are_refused(options, words):
    with pytest.raises(ConfigError) as raised:
        create_model("student_dscnn", **options)
    assert words in str(raised.value)


def test_folding_leaves_the_original_and_can_be_stored(tmp_path):
    model = settle(seeded("student_dscnn"))
    before = count_parameters(model)
    folded = fold(model)
    assert count_parameters(model) == before
    save_checkpoint(tmp_path / "f.pt", {"model": describe(folded), "state": folded.state_dict()})
    assert torch.equal(build_model(load_checkpoint(tmp_path / "f.pt"))(clips()), folded(clips()))


def test_operations_are_counted_as_by_hand():
    model = seeded("student_dscnn", widths=[8, 16], depths=[1, 1], kernels=[3, 5])
    # 99 frames become 50 in the stem and 25 in the second stage.
    stem = 8 * 40 * 5 * 50
    first = 8 * 3 * 50 + 8 * 8 * 50
    second = 8 * 5 * 25 + 8 * 16 * 25
    assert count_macs(model) == stem + first + second + 16 * 10
