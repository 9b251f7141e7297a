"""Losses, schedule, selection of the best epoch, and training that is interrupted and goes on."""

import json
import math
import pickle

import numpy as np
import pytest
import torch
from tiny_training import LABELS, N_SAMPLES, make_trainer, small_model, tones, trained_model
from torch import nn

from edgedigit.config import AugmentConfig, FitConfig
from edgedigit.data.dataset import as_arrays
from edgedigit.errors import ModelError
from edgedigit.models import create_model, list_models
from edgedigit.train import losses
from edgedigit.train.checkpoints import load_checkpoint, save_checkpoint
from edgedigit.train.optimizers import make_optimizer, one_cycle
from edgedigit.train.scoring import fit_temperature, predict_logits
from edgedigit.train.trainer import Ensemble


def logits(n=5, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (n, 10)))


def softmax(values):
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def validation(n=16, seed=1):
    return as_arrays(tones(n, seed), LABELS, N_SAMPLES)


def read_log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_its_formula(alpha, temperature):
    student, teacher = logits(seed=1), logits(seed=2)
    targets = torch.from_numpy(softmax(logits(seed=3).numpy()))
    p, q = softmax(teacher.numpy() / temperature), softmax(student.numpy() / temperature)
    kl = (p * np.log(p / q)).sum(axis=1).mean()
    ce = -(targets.numpy() * np.log(softmax(student.numpy()))).sum(axis=1).mean()
    expected = alpha * temperature**2 * kl + (1 - alpha) * ce
    assert losses.distillation(student, teacher, targets, temperature, alpha).item() == pytest.approx(expected)


def test_a_student_that_equals_its_teacher_has_no_soft_loss():
    assert losses.distillation(logits(), logits() + 3.0, torch.eye(10)[:5].double(), 4.0, 1.0).item() < 1e-12


def test_temperature_does_not_change_the_size_of_gradients():
    sizes = []
    for temperature in (8.0, 16.0):
        student = logits(seed=1).requires_grad_(True)
        losses.distillation(student, logits(seed=2), torch.eye(10)[:5].double(), temperature, 1.0).backward()
        sizes.append(student.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.2)  # without the factor T^2: a quarter


def test_label_smoothing_spreads_a_share_over_all_labels():
    targets = torch.eye(10)[:5].double()
    smooth = 0.9 * targets + 0.01
    expected = losses.cross_entropy(logits(), smooth).item()
    assert losses.cross_entropy(logits(), targets, 0.1).item() == pytest.approx(expected)


def test_an_ensemble_answers_with_mean_log_probabilities():
    models = [small_model(seed=seed).eval() for seed in (1, 2)]
    waveforms = torch.from_numpy(validation(4)[0])
    answer = Ensemble(models, "fp32")(waveforms)
    expected = torch.stack([model(waveforms).log_softmax(dim=1) for model in models]).mean(dim=0)
    torch.testing.assert_close(answer, expected)
    assert not answer.requires_grad


def test_the_rate_rises_to_its_peak_and_falls_to_a_hundredth():
    factors = [one_cycle(step, 100, 0.1) for step in range(100)]
    assert max(factors) == factors[9] == factors[10] == 1.0
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[0] == pytest.approx(0.1)
    assert factors[-1] == pytest.approx(0.01, abs=1e-3)


@pytest.mark.parametrize("name", list_models())
def test_weights_decay_but_norms_and_biases_do_not(name):
    model = create_model(name, 10)
    decay = {}
    for group in make_optimizer(model, FitConfig(epochs=1, lr=1e-3, weight_decay=0.05)).param_groups:
        decay |= {id(parameter): group["weight_decay"] for parameter in group["params"]}
    for module in model.modules():
        for key, parameter in module.named_parameters(recurse=False):
            is_weight = key == "weight" and isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)
            assert decay.pop(id(parameter)) == (0.05 if is_weight else 0.0), f"{module}: {key}"
    assert decay == {}


def test_training_learns(tmp_path):
    model = make_trainer(tmp_path, epochs=5).run()
    records = read_log(tmp_path)
    assert records[-1]["loss"] < 0.7 * records[0]["loss"]
    waveforms, targets = validation()
    assert (predict_logits(model, waveforms).argmax(axis=1) == targets).mean() >= 0.9


def test_distillation_learns_from_the_teacher_alone():
    """With alpha 1 no label is seen: what the student knows, the teacher told it."""
    from edgedigit.config import DistillConfig

    teacher = Ensemble([trained_model()], "fp32")
    student = make_trainer(epochs=6, model=small_model(seed=5), teacher=teacher, distill=DistillConfig(2.0, 1.0)).run()
    waveforms, targets = validation()
    assert (predict_logits(student, waveforms).argmax(axis=1) == targets).mean() >= 0.9


def test_same_seed_same_weights():
    first, again = (make_trainer(epochs=2).run().state_dict() for _ in range(2))
    assert same_weights(first, again)


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("with_validation", [False, True])
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, distilled, with_validation):
    teacher = Ensemble([small_model(seed=9)], "fp32") if distilled else None
    held = validation() if with_validation else None
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = make_trainer(tmp_path / "whole", epochs=4, validation=held, teacher=teacher)
    expected = whole.run().state_dict()

    def stop(step, n_steps, text):
        if step == 10:  # in the middle of the third epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path / "broken", epochs=4, validation=held, teacher=teacher, progress=stop).run()
    torch.manual_seed(12345)  # the state of another process
    resumed = make_trainer(tmp_path / "broken", epochs=4, validation=held, teacher=teacher, model=small_model(seed=77))
    assert resumed.resume()
    assert resumed.epoch == 2
    assert same_weights(resumed.run().state_dict(), expected)
    assert resumed.best == whole.best
    for record, other in zip(read_log(tmp_path / "whole"), read_log(tmp_path / "broken"), strict=True):
        measured = {"seconds": 0, "data_share": 0}
        assert {**record, **measured} == {**other, **measured}
    last = [load_checkpoint(tmp_path / run / "tiny.last.pt") for run in ("whole", "broken")]
    assert same_weights(last[0]["raw_state"], last[1]["raw_state"])


def test_a_finished_run_is_loaded_not_repeated(tmp_path):
    expected = make_trainer(tmp_path, epochs=2).run().state_dict()
    again = make_trainer(tmp_path, epochs=2, model=small_model(seed=3))
    assert again.resume()
    assert again.done
    assert same_weights(again.run().state_dict(), expected)
    assert len(read_log(tmp_path)) == 2


def test_nothing_to_resume_is_said(tmp_path):
    assert not make_trainer(tmp_path).resume()
    assert not make_trainer(None).resume()


def test_resuming_with_other_settings_names_them(tmp_path):
    make_trainer(tmp_path, epochs=1, resolved={"seed": 0, "data": {"split": "all"}}).run()
    with pytest.raises(ModelError, match=r"other settings \(seed\).*--run-dir"):
        make_trainer(tmp_path, epochs=1, resolved={"seed": 1, "data": {"split": "all"}}).resume()


class Dangerous:
    def __reduce__(self):
        return (print, ("code in a checkpoint was run",))


def whole_checkpoint(path):
    save_checkpoint(path, {"model": {}, "state": small_model().state_dict()})
    return path.read_bytes()


DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "text": lambda content: b"hello, this is a note\n",
    "html": lambda content: b"<!doctype html><html></html>",
    "zeros": lambda content: bytes(4096),
    "random": lambda content: np.random.default_rng(0).bytes(4096),
    "code": lambda content: pickle.dumps(Dangerous()),
    "other pickle": lambda content: pickle.dumps({"format": 0}),
    "changed": lambda content: content[:2000] + bytes(b ^ 0xFF for b in content[2000:2400]) + content[2400:],
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_costs_one_line(kind, tmp_path, capsys):
    path = tmp_path / "tiny.last.pt"
    path.write_bytes(DAMAGE[kind](whole_checkpoint(path)))
    with pytest.raises(ModelError, match=r"tiny\.last\.pt") as raised:
        load_checkpoint(path)
    assert "\n" not in str(raised.value)
    assert "was run" not in capsys.readouterr().out
    with pytest.raises(ModelError):
        make_trainer(tmp_path).resume()


def test_a_missing_checkpoint_says_what_makes_it(tmp_path):
    with pytest.raises(ModelError, match=r"best\.pt is missing; run train_distill\.py"):
        load_checkpoint(tmp_path / "best.pt")


def test_training_stops_when_validation_no_longer_improves(tmp_path):
    waveforms, targets = validation()
    trainer = make_trainer(tmp_path, epochs=40, validation=(waveforms, 1 - targets), patience=2)  # learning hurts
    model = trainer.run()
    assert trainer.epoch == trainer.best["fresh_epoch"] + 2 < 40
    assert trainer.done
    assert trainer.best["epoch"] <= trainer.epoch
    best = load_checkpoint(tmp_path / "tiny.best.pt")
    assert best["epoch"] == trainer.best["epoch"]
    assert same_weights(model.state_dict(), best["state"])


def test_the_last_epoch_within_a_standard_error_of_the_best_is_kept(tmp_path, monkeypatch):
    accuracies = iter([0.5, 0.9, 0.8, 0.88, 0.6])  # of 100: a standard error at 0.9 is 0.03
    targets = np.zeros(100, np.int64)

    def logits(*_):
        right = round(100 * next(accuracies))
        return np.where(np.arange(100)[:, None] < right, [[1.0, 0.0]], [[0.0, 1.0]])

    monkeypatch.setattr("edgedigit.train.trainer.predict_logits", logits)
    trainer = make_trainer(tmp_path, epochs=5, validation=(np.zeros((100, 8000), np.float32), targets), patience=9)
    trainer.run()
    assert (trainer.best["epoch"], trainer.best["accuracy"], trainer.best["peak"]) == (4, 0.88, 0.9)
    assert load_checkpoint(tmp_path / "tiny.best.pt")["epoch"] == 4


def test_the_best_epoch_is_returned_without_a_folder_as_with_one(tmp_path):
    held = validation()
    kept = [make_trainer(folder, epochs=3, validation=held).run().state_dict() for folder in (tmp_path, None)]
    assert same_weights(*kept)


def test_without_validation_all_epochs_are_trained_and_the_last_weights_kept(tmp_path):
    trainer = make_trainer(tmp_path, epochs=4, patience=1)
    model = trainer.run()
    assert trainer.epoch == 4
    assert (trainer.best["epoch"], trainer.best["accuracy"]) == (4, None)
    assert same_weights(model.state_dict(), load_checkpoint(tmp_path / "tiny.last.pt")["state"])


def test_validation_picks_by_accuracy_then_by_loss(tmp_path):
    make_trainer(tmp_path, epochs=4, validation=validation()).run()
    records = read_log(tmp_path)
    best = max(records, key=lambda r: (r["validation_accuracy"], -r["validation_loss"], -r["epoch"]))
    assert load_checkpoint(tmp_path / "tiny.best.pt")["epoch"] == best["epoch"]


def test_validation_loss_is_the_cross_entropy(tmp_path):
    waveforms, targets = validation()
    model = make_trainer(tmp_path, epochs=1, validation=(waveforms, targets)).run()
    expected = nn.functional.cross_entropy(
        torch.from_numpy(predict_logits(model, waveforms)), torch.from_numpy(targets)
    )
    assert read_log(tmp_path)[0]["validation_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_a_loss_that_explodes_says_what_to_do():
    trainer = make_trainer(lr=1e-2)
    with torch.no_grad():
        trainer.model.network.classifier.weight.fill_(math.nan)
    with pytest.raises(ModelError, match=r"tiny: loss became nan at step .*lower the learning rate"):
        trainer.run()


def test_averaged_weights_follow_the_trained_ones():
    trainer = make_trainer(epochs=2, ema_decay=0.0)
    averaged = trainer.run().state_dict()
    for key, value in trainer.model.state_dict().items():
        torch.testing.assert_close(averaged[key], value)


def test_prediction_leaves_the_mode_as_it_was():
    model = small_model().train()
    predict_logits(model, validation(4)[0])
    assert model.training


def test_raw_waveforms_train_too():
    model = small_model(frontend={"kind": "raw"}, widths=[4], depths=[1], kernels=[9], stem_stride=8)
    assert make_trainer(epochs=1, model=model, augment=AugmentConfig(enabled=False)).run() is not None


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_temperature_is_recovered(true_temperature):
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (20_000, 10))
    targets = (softmax(scores).cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert fit_temperature(true_temperature * scores, targets) == pytest.approx(true_temperature, rel=0.05)
