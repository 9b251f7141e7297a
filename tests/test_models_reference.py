"""The field's reference architectures: as large as their papers say, and able to learn."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgedigit.compress.prune import count_macs
from edgedigit.errors import ConfigError
from edgedigit.models import count_parameters, create_model

# name, options, labels in the paper, parameters and multiply-accumulates here, parameters in the paper
PUBLISHED = [
    ("bc_resnet", {"tau": 1}, 12, 9_232, 2_408_440, 9_200),
    ("bc_resnet", {"tau": 1.5}, 12, 17_154, 4_471_140, 17_200),
    ("bc_resnet", {"tau": 2}, 12, 27_284, 7_106_160, 27_300),
    ("bc_resnet", {"tau": 3}, 12, 54_168, 14_093_160, 54_200),
    ("bc_resnet", {"tau": 6}, 12, 187_812, 48_789_840, 188_000),
    ("bc_resnet", {"tau": 8}, 12, 321_068, 83_367_360, 321_000),
    ("tc_resnet", {"depth": 8}, 12, 65_168, 1_522_560, 66_000),
    ("tc_resnet", {"depth": 8, "width": 1.5}, 12, 144_264, 3_284_208, 145_000),
    ("tc_resnet", {"depth": 14}, 12, 135_856, 3_030_528, 137_000),
    ("tc_resnet", {"depth": 14, "width": 1.5}, 12, 303_000, 6_677_136, 305_000),
    ("matchboxnet", {"repeats": 1}, 30, 77_214, 7_112_832, 77_000),
    ("matchboxnet", {"repeats": 2}, 30, 92_766, 8_614_464, 93_000),
    ("kwt", {"size": 1}, 12, 607_308, 73_698_560, 607_000),
    ("kwt", {"size": 2}, 12, 2_394_252, 264_182_272, 2_394_000),
    ("kwt", {"size": 3}, 12, 5_360_844, 571_451_136, 5_361_000),
]
# Of DS-CNN the paper gives the bytes of an INT8 model with its activations, and operations, two to a
# multiply-accumulate: size, parameters and multiply-accumulates here, kilobytes and million operations in the paper.
HELLO_EDGE = [
    ("s", 23_180, 2_656_768, 38.6, 5.4),
    ("m", 136_580, 9_816_384, 189.2, 19.8),
    ("l", 413_736, 28_327_812, 497.6, 56.9),
]
FEATURES = {
    "bc_resnet": (1, 40, 98),
    "tc_resnet": (1, 40, 98),
    "matchboxnet": (1, 64, 99),
    "kwt": (1, 40, 98),
}
SMALLEST = [
    ("bc_resnet", {}),
    ("tc_resnet", {}),
    ("matchboxnet", {}),
    ("ds_cnn", {"size": "s"}),
    ("kwt", {"depth": 2}),
]
each_family = pytest.mark.parametrize("name, options", SMALLEST, ids=[name for name, _ in SMALLEST])


def seeded(name, n_labels=10, **options):
    torch.manual_seed(0)
    return create_model(name, n_labels, **options)


def clips(n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, (n, 8000)).astype(np.float32))


def int8_bytes(network, shape):
    """Weights and biases of one byte each, norms folded, and the largest input and output of one layer."""
    largest = 0

    def watch(module, inputs, output):
        nonlocal largest
        largest = max(largest, inputs[0].numel() + output.numel())

    hooks = [module.register_forward_hook(watch) for module in network.modules() if isinstance(module, nn.Conv2d)]
    network.eval()(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    held = sum(conv.weight.numel() + conv.out_channels for conv in convs) + count_parameters(network.classifier)
    return held + largest


@pytest.mark.parametrize("name, options, n_labels, n_params, macs, published", PUBLISHED)
def test_each_size_is_that_of_its_paper(name, options, n_labels, n_params, macs, published):
    model = seeded(name, n_labels, **options)
    assert model.spec.shape == FEATURES[name]
    assert (count_parameters(model), count_macs(model)) == (n_params, macs)
    assert n_params == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize("size, n_params, macs, published_kb, published_mops", HELLO_EDGE)
def test_ds_cnn_takes_the_memory_and_operations_of_its_paper(size, n_params, macs, published_kb, published_mops):
    model = seeded("ds_cnn", 12, size=size)
    assert model.spec.shape == (1, 10, 49)
    assert (count_parameters(model), count_macs(model)) == (n_params, macs)
    assert int8_bytes(model.network, model.spec.shape) / 1e3 == pytest.approx(published_kb, abs=0.05)
    assert 2 * macs / 1e6 == pytest.approx(published_mops, rel=0.02)


@pytest.mark.parametrize(
    "name, n_params, macs",
    [row[:1] + row[3:5] for row in PUBLISHED] + [("ds_cnn", n_params, macs) for _, n_params, macs, *_ in HELLO_EDGE],
)
def test_each_file_states_what_is_measured(name, n_params, macs):
    stated = sys.modules[f"edgedigit.models.{name}"].__doc__
    assert f" {n_params:,} " in stated
    assert f" {macs:,} " in stated


def test_the_table_of_published_sizes_is_the_measured_one():
    stated = (Path(__file__).resolve().parents[1] / "docs" / "architectures.md").read_text(encoding="utf-8")
    for name, options, n_labels, n_params, _, published in PUBLISHED:
        text = ",".join(f"{key}={value}" for key, value in options.items())
        assert f"| `{name}:{text}` | {published:,} | {n_params:,} | {n_labels} |" in stated
    for size, n_params, _, kilobytes, _ in HELLO_EDGE:
        assert f"| `ds_cnn:size={size}` | {kilobytes} | {kilobytes} | {n_params:,} |" in stated


def test_tc_resnet_with_the_statistics_of_its_norms_is_what_the_paper_counts():
    stated = sys.modules["edgedigit.models.tc_resnet"].__doc__
    for options, published in [(row[1], row[5]) for row in PUBLISHED if row[0] == "tc_resnet"]:
        model = seeded("tc_resnet", 12, **options)
        statistics = sum(2 * m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm1d))
        counted = count_parameters(model) + statistics
        assert round(counted, -3) == published
        assert f"{counted:,}" in stated


def test_bc_resnet_with_the_products_of_its_norms_is_what_the_paper_counts():
    published_m = {1: 3.1, 1.5: 5.5, 2: 8.5, 3: 16.2, 6: 53.1, 8: 89.1}
    for tau, published in published_m.items():
        model = seeded("bc_resnet", 12, tau=tau, frontend={"n_samples": 240 + 100 * 80}).eval()
        macs, scaled = count_macs(model), []
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(lambda module, inputs, output, seen=scaled: seen.append(output.numel()))
        model.network(torch.zeros(1, 1, 40, 101))
        assert (macs + 2 * sum(scaled)) / 1e6 == pytest.approx(published, rel=0.04)


def test_ds_cnn_without_a_size_stays_what_it_was():
    model = seeded("ds_cnn")
    assert model.spec.shape == (1, 40, 50)
    assert (count_parameters(model), count_macs(model)) == (23_052, 10_624_640)
    assert {key.split(".")[0] for key in model.network.state_dict()} == {"norm", "stem", "blocks", "classifier"}
    assert count_parameters(seeded("ds_cnn", 2, width=16, depth=1)) == 2 + 16 * 40 + 32 + 16 * 9 + 32 + 256 + 32 + 34


def test_a_size_brings_its_features_and_a_setting_of_them_goes_before():
    assert seeded("ds_cnn", size="L").spec == seeded("ds_cnn", size="l").spec
    assert seeded("ds_cnn", size="s", frontend={"n_mfcc": 20}).spec.shape == (1, 20, 49)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("bc_resnet", {"tau": 0.1}, "tau is 0.1, expected 0.25 or more"),
        ("tc_resnet", {"depth": 9}, "depth is 9, expected one of 8, 14"),
        ("tc_resnet", {"width": 0.01}, "width is 0.01, expected 0.0625 or more"),
        ("matchboxnet", {"repeats": 0}, "repeats is 0"),
        ("ds_cnn", {"size": "xl"}, "size is 'xl', expected one of s, m, l"),
        ("ds_cnn", {"size": "s", "width": 32}, "size s states width and depth"),
        ("kwt", {"size": 4}, "size is 4, expected 1, 2 or 3"),
        ("kwt", {"depth": 0}, "depth is 0, expected 1 or more"),
    ],
)
def test_a_size_that_does_not_exist_is_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        create_model(name, **options)


@each_family
def test_a_batch_can_be_learnt(name, options):
    model = seeded(name, 4, dropout=0.0, **options).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    waveforms, targets = clips(8), torch.arange(8) % 4
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(waveforms), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.9 * np.log(4)  # labels are balanced, so without telling clips apart none is below log(4)


def test_sub_bands_are_normalised_each_by_itself():
    norm = seeded("bc_resnet").network.blocks[0].frequency[1].train()
    rows = torch.randn(4, 8, 20, 30) * torch.arange(1, 6).repeat_interleave(4)[:, None]  # a level for each band
    bands = norm(rows).unflatten(2, (5, 4))
    torch.testing.assert_close(bands.std(dim=(0, 3, 4)), torch.ones(8, 5), atol=0.01, rtol=0)


def test_attention_is_counted_among_the_operations():
    model = seeded("kwt", depth=1)
    rows, width = 99, 64
    embed = 98 * 40 * width
    layers = rows * (4 * width**2 + 2 * width * 4 * width)
    assert count_macs(model) == embed + layers + 2 * rows**2 * width + width * 10
