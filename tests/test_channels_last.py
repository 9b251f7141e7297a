"""The order of numbers in memory is no property of what is learnt."""

import copy

import pytest
import torch
from torch import nn

from edgedigit.models import create_model, list_models
from edgedigit.train.channels_last import channels_last
from edgedigit.train.devices import set_up_torch


def over_time(name):
    """A model whose network convolves over time, its dropout off; skips others."""
    set_up_torch(0)
    model = create_model(name, 3)
    if not any(isinstance(module, nn.Conv1d) for module in model.network.modules()):
        pytest.skip(f"{name} has no convolution over time alone")
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model


def one_step(network, features, device):
    network.train()
    with channels_last(network, device):
        loss = network(features).square().mean()
        loss.backward()
    return loss.item(), {key: parameter.grad for key, parameter in network.named_parameters()}


@pytest.mark.parametrize("name", list_models())
def test_loss_gradients_and_statistics_are_those_of_the_plain_network(name):
    plain = over_time(name)
    features = plain.frontend(torch.randn(4, *plain.spec.signal.shape)).detach().double()  # where no rounding hides
    plain.double()
    other = copy.deepcopy(plain)
    expected, expected_gradients = one_step(plain.network, features, "elsewhere")
    got, gradients = one_step(other.network, features, "cpu")
    assert got == pytest.approx(expected, rel=1e-9)
    for key, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[key], gradient, rtol=1e-6, atol=1e-9)
    for key, value in plain.network.state_dict().items():
        torch.testing.assert_close(other.network.state_dict()[key], value, rtol=1e-9, atol=1e-12)


def test_afterwards_the_network_is_as_it_was_whatever_happened():
    model = over_time("student_dscnn")
    with pytest.raises(ZeroDivisionError), channels_last(model.network, "cpu"):
        assert any("forward" in vars(module) for module in model.network.modules())
        raise ZeroDivisionError
    assert not any("forward" in vars(module) for module in model.network.modules())


def test_a_network_that_only_answers_is_not_changed_by_being_asked():
    model = over_time("student_dscnn").eval()
    features = model.frontend(torch.randn(2, *model.spec.signal.shape)).detach()
    before = copy.deepcopy(model.network.state_dict())
    with torch.no_grad(), channels_last(model.network, "cpu"):
        answer = model.network(features)
    torch.testing.assert_close(answer, model.network(features), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())
