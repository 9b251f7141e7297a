"""Losses, schedule, selection of the best epoch, and training that is interrupted and goes on."""

import dataclasses
import itertools
import json
import math
import pickle
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_training import GENTLE, LABELS, N_SAMPLES, make_trainer, small_model, tones, trained_model
from torch import nn

from edgedigit import config as configuration
from edgedigit.config import OPTIMIZERS, SCHEDULES, AugmentConfig, FitConfig
from edgedigit.data.dataset import as_arrays
from edgedigit.errors import ConfigError, ModelError
from edgedigit.models import create_model, list_models
from edgedigit.train import losses
from edgedigit.train.checkpoints import load_checkpoint, save_checkpoint
from edgedigit.train.devices import autocast_type
from edgedigit.train.optimizers import make_optimizer, make_schedulers, one_cycle
from edgedigit.train.pipeline import progress_bar
from edgedigit.train.scoring import fit_temperature, predict_logits
from edgedigit.train.trainer import Averager, Ensemble, Trainer


def logits(n=5, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (n, 10)))


def softmax(values):
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def validation(n=16, seed=1):
    return as_arrays(tones(n, seed), LABELS, N_SAMPLES)


def read_log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def stop_at(last_step):
    """Progress that ends the training after a step."""

    def stop(step, n_steps, text):
        if step == last_step:
            raise KeyboardInterrupt

    return stop


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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("weights", [None, np.arange(10.0)])
def test_focal_loss_and_class_weights_are_their_formula(gamma, smoothing, weights):
    soft = softmax(logits(seed=3).numpy())
    p = softmax(logits().numpy())
    target = (1 - smoothing) * soft + smoothing / 10
    expected = -(target * (1 - p) ** gamma * np.log(p) * (1 if weights is None else weights)).sum(axis=1).mean()
    factors = None if weights is None else torch.from_numpy(weights)
    loss = losses.cross_entropy(logits(), torch.from_numpy(soft), smoothing, factors, gamma)
    assert loss.item() == pytest.approx(expected)


def test_focal_loss_has_a_slope_where_a_clip_is_recognised_for_certain():
    certain = torch.tensor([[200.0, 0.0]], requires_grad=True)
    losses.cross_entropy(certain, torch.tensor([[1.0, 0.0]]), focal_gamma=0.5).backward()
    assert certain.grad.isfinite().all()


def test_a_student_learns_labels_with_the_loss_that_is_set():
    targets, factors = torch.eye(10)[:5].double(), torch.arange(10.0).double()
    expected = losses.cross_entropy(logits(), targets, 0.1, factors, 2.0).item()
    assert losses.distillation(logits(), logits(), targets, 4.0, 0.0, 0.1, factors, 2.0).item() == expected


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


def rates(schedule, epochs=20, epoch_steps=10, losses=None, **settings):
    """Rate of every step of a schedule whose peak is 1, warmed up for a tenth."""
    fit = FitConfig(epochs=epochs, lr=1.0, schedule=schedule, optimizer="sgd", **settings)
    optimizer = make_optimizer(nn.Linear(2, 2), fit)
    scheduler, plateau = make_schedulers(optimizer, fit, epoch_steps)
    found = []
    for epoch in range(epochs):
        for _ in range(epoch_steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        if plateau:
            plateau.step(losses[epoch])
    return found


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_warms_up_to_its_peak(schedule):
    found = rates(schedule, losses=np.linspace(1, 0, 20))
    assert found[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert found[20] == pytest.approx(1.0)
    assert max(found) == pytest.approx(1.0)


def test_cosine_falls_to_nothing():
    found = rates("cosine")
    assert found[20:] == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 180)) for step in range(180)])


def test_step_lowers_the_rate_every_so_many_epochs_after_the_warm_up():
    found = rates("step", decay_epochs=6, decay_factor=0.5)
    assert found[20:] == pytest.approx([0.5 ** (step // 60) for step in range(180)])


def test_plateau_lowers_the_rate_when_the_loss_has_not_improved_for_so_many_epochs():
    stuck_after_five = [1.0, 0.9, 0.8, 0.7, 0.6, *[0.6] * 15]
    found = rates("plateau", losses=stuck_after_five, decay_epochs=4, decay_factor=0.5)
    assert found[20:90] == pytest.approx([1.0] * 70)
    assert found[90::40] == pytest.approx([0.5, 0.25, 0.125])


@pytest.mark.parametrize("watched, held", [("validation_loss", True), ("loss", False)])
def test_plateau_watches_validation_where_there_is_one(tmp_path, watched, held):
    data = validation() if held else None
    trainer = make_trainer(tmp_path, epochs=2, validation=data, schedule="plateau", warmup_share=0.0)
    trainer.run()
    assert trainer.plateau.best == min(record[watched] for record in read_log(tmp_path))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", list_models())
def test_weights_decay_but_norms_and_biases_do_not(name, optimizer):
    model = create_model(name, 10)
    decay = {}
    fit = FitConfig(epochs=1, lr=1e-3, weight_decay=0.05, optimizer=optimizer)
    for group in make_optimizer(model, fit).param_groups:
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


class Counting(nn.Module):
    """A teacher that counts how often it is asked."""

    def __init__(self):
        super().__init__()
        self.teacher, self.asked = Ensemble([small_model(seed=9)], "fp32"), 0

    def forward(self, *args):
        self.asked += 1
        return self.teacher(*args)


class Forgetful(dict):
    def __setitem__(self, key, value):
        pass


def copied(copies, enabled=True):
    return dataclasses.replace(GENTLE, copies=copies, enabled=enabled)


def batches_of(trainer, epoch):
    trainer.epoch = epoch
    return [[part.clone() for part in batch[:3]] for batch in trainer._prepared()]


def test_batches_come_again_after_so_many_epochs():
    trainer = make_trainer(epochs=6, augment=copied(2), teacher=Counting())
    zero, one, two, three = (batches_of(trainer, epoch) for epoch in range(4))
    for first, again, other in zip(zero, two, one, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first[0], other[0])
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one, three, strict=True))
    plain = make_trainer(epochs=6, teacher=Counting())
    assert not torch.equal(batches_of(plain, 0)[0][0], batches_of(plain, 2)[0][0])


def test_teachers_are_asked_once_about_batches_that_come_again():
    trainer = make_trainer(epochs=6, augment=copied(2), teacher=Counting())
    trainer.run()
    assert trainer.teacher.asked == 2 * len(trainer.batches)
    every_time = make_trainer(epochs=6, teacher=Counting())
    every_time.run()
    assert every_time.teacher.asked == 6 * len(every_time.batches)


@pytest.mark.parametrize("copies, kept", [(0, []), (1, [0]), (2, [0, 1]), (4, [0]), (5, []), (9, [])])
def test_only_batches_that_come_again_are_kept(copies, kept):
    trainer = make_trainer(epochs=5, augment=copied(copies))
    trainer.run()
    assert sorted(trainer.kept) == kept


@pytest.mark.parametrize("augment", [copied(2), copied(1), copied(1, enabled=False)])
def test_keeping_batches_changes_no_bit(augment):
    found, asked = [], []
    for memory in ({}, Forgetful()):
        trainer = make_trainer(epochs=4, augment=augment, teacher=Counting())
        trainer.kept = memory
        found.append(trainer.run().state_dict())
        asked.append(trainer.teacher.asked)
    assert same_weights(*found)
    assert asked[0] < asked[1]


def test_same_seed_same_weights():
    first, again = (make_trainer(epochs=2).run().state_dict() for _ in range(2))
    assert same_weights(first, again)


PLATEAU = {"schedule": "plateau", "decay_epochs": 1, "decay_factor": 0.5, "lr": 0.1}


@pytest.mark.parametrize(
    "distilled, with_validation, settings",
    [
        (False, False, {}),
        (False, True, {}),
        (True, False, {}),
        (True, True, {}),
        (False, True, {"optimizer": "sgd", "schedule": "cosine"}),
        (False, False, {"schedule": "step", "decay_epochs": 1}),
        (False, True, PLATEAU),
        (False, False, PLATEAU),
        (True, False, {"augment": dataclasses.replace(GENTLE, copies=1)}),
        (True, True, {"augment": dataclasses.replace(GENTLE, copies=2)}),  # cut in an epoch that came again
        (False, False, {"augment": dataclasses.replace(GENTLE, enabled=False, copies=1)}),
        (True, True, {"precision": "bf16", "loss": "focal", "class_weights": "balanced"}),
    ],
)
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, distilled, with_validation, settings):
    teacher = Ensemble([small_model(seed=9)], "fp32") if distilled else None
    held = validation() if with_validation else None
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = make_trainer(tmp_path / "whole", epochs=4, validation=held, teacher=teacher, **settings)
    expected = whole.run().state_dict()

    stop = stop_at(10)  # in the middle of the third epoch
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path / "broken", epochs=4, validation=held, teacher=teacher, progress=stop, **settings).run()
    torch.manual_seed(12345)  # the state of another process
    other = small_model(seed=77)
    resumed = make_trainer(tmp_path / "broken", epochs=4, validation=held, teacher=teacher, model=other, **settings)
    assert resumed.resume()
    assert resumed.epoch == 2
    assert same_weights(resumed.run().state_dict(), expected)
    assert resumed.best == whole.best
    for record, other in zip(read_log(tmp_path / "whole"), read_log(tmp_path / "broken"), strict=True):
        measured = {"seconds": 0, "data_share": 0}
        assert {**record, **measured} == {**other, **measured}
    last = [load_checkpoint(tmp_path / run / "tiny.last.pt") for run in ("whole", "broken")]
    assert same_weights(last[0]["raw_state"], last[1]["raw_state"])


@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd"}])
def test_scaling_gradients_changes_no_bit_of_them(tmp_path, monkeypatch, settings):
    """What fp16 needs, here around fp32: a power of two in, the same power out; the scale is resumed."""
    expected = make_trainer(epochs=3, **settings).run().state_dict()
    monkeypatch.setattr("edgedigit.train.trainer.autocast_type", lambda *_: torch.float16)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, epochs=3, progress=stop_at(6), **settings).run()
    assert load_checkpoint(tmp_path / "tiny.last.pt")["scaler"]["_growth_tracker"] == 4
    resumed = make_trainer(tmp_path, epochs=3, **settings)
    resumed.resume()
    assert same_weights(resumed.run().state_dict(), expected)
    assert resumed.scaler.state_dict()["_growth_tracker"] == 12


@pytest.mark.parametrize("distilled", [False, True])
def test_networks_train_in_bf16(distilled):
    teacher = Ensemble([trained_model()], "fp32") if distilled else None
    kinds = []
    trainer = make_trainer(epochs=5, teacher=teacher, precision="bf16")
    trainer.model.network.stem.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    model = trainer.run()
    assert set(kinds) == {torch.bfloat16}
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    waveforms, targets = validation()
    assert (predict_logits(model, waveforms).argmax(axis=1) == targets).mean() >= 0.9


def test_half_precision_is_refused_where_gradients_cannot_be_scaled():
    with pytest.raises(ConfigError, match=r"fp16 is for device cuda, got device cpu; choose bf16"):
        make_trainer(precision="fp16")
    assert autocast_type("fp16", "cuda") is torch.float16


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_said():
    with pytest.raises(ConfigError, match=r"device is cuda, but torch .* finds none here; set device=cpu"):
        make_trainer(device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_learns_on_cuda(precision):
    model = make_trainer(epochs=5, device="cuda", precision=precision).run()
    waveforms, targets = validation()
    assert (predict_logits(model, waveforms).argmax(axis=1) == targets).mean() >= 0.9


def test_checkpoints_are_kept_every_so_many_epochs_and_can_be_gone_on_from(tmp_path):
    expected = make_trainer(tmp_path, epochs=5, checkpoint_epochs=2).run().state_dict()
    names = ["log.jsonl", "tiny.best.pt", "tiny.epoch2.pt", "tiny.epoch4.pt", "tiny.last.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    (tmp_path / "tiny.epoch2.pt").replace(tmp_path / "tiny.last.pt")
    again = make_trainer(tmp_path, epochs=5, checkpoint_epochs=2)
    assert again.resume()
    assert again.epoch == 2
    assert same_weights(again.run().state_dict(), expected)


def test_progress_says_clips_per_second_and_the_time_left():
    said = []
    make_trainer(epochs=2, progress=lambda step, n_steps, text: said.append((step, n_steps, text))).run()
    assert [step for step, _, _ in said] == list(range(1, 9))
    assert all(re.fullmatch(r"loss \d\.\d{3} \d+ clips/s \d+:\d\d:\d\d left", text) for _, _, text in said)
    assert said[-1][2].endswith("0:00:00 left")


def test_balanced_class_weights_undo_how_often_labels_are_drawn():
    recordings = [recording for i, recording in enumerate(tones(32)) if i % 2 == 0 or i % 4 == 1]  # 16 low, 8 high
    weights = make_trainer(class_weights="balanced", recordings=recordings).loss_options["class_weights"]
    assert weights.tolist() == pytest.approx([0.75, 1.5])
    drawn_evenly = make_trainer(class_weights="balanced", recordings=recordings, samples_per_epoch=32)
    assert drawn_evenly.loss_options["class_weights"].tolist() == pytest.approx([1.0, 1.0])


def test_class_weights_are_one_for_each_label():
    with pytest.raises(ConfigError, match=r"class_weights has 3 values, expected one for each of 2 labels"):
        make_trainer(class_weights=(1.0, 2.0, 3.0))


def test_training_uses_the_loss_that_is_set(tmp_path):
    """Next to nothing is learnt at this rate, so losses of the same clips and weights stand side by side."""
    found = {}
    for name, settings in {"plain": {}, "double": {"class_weights": (2.0, 2.0)}, "focal": {"loss": "focal"}}.items():
        (tmp_path / name).mkdir()
        make_trainer(tmp_path / name, epochs=1, lr=1e-30, **settings).run()
        found[name] = read_log(tmp_path / name)[0]["loss"]
    assert found["double"] == pytest.approx(2 * found["plain"])
    assert found["focal"] < 0.6 * found["plain"]


def test_a_run_of_before_a_setting_existed_goes_on(tmp_path):
    resolved = configuration.training_settings(configuration.Config())
    make_trainer(tmp_path, epochs=1, resolved=resolved).run()
    path = tmp_path / "tiny.last.pt"
    older = load_checkpoint(path)
    del older["scaler"], older["config"]["student_precision"], older["config"]["fit_student"]["optimizer"]
    save_checkpoint(path, older)
    assert make_trainer(tmp_path, epochs=1, resolved=resolved).resume()


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


def test_resuming_on_other_recordings_is_refused(tmp_path):
    """A folder that has grown, or another one: speakers are dealt anew, and one who validates now may have trained."""
    make_trainer(tmp_path, epochs=1).run()
    with pytest.raises(ModelError, match="other recordings and may have heard"):
        make_trainer(tmp_path, epochs=1, recordings=tones(34)).resume()
    assert make_trainer(tmp_path, epochs=1, recordings=tones(32)[::-1]).resume()  # whatever their order


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


def test_an_epoch_of_no_time_is_logged(tmp_path, monkeypatch):
    times_s = itertools.count(0.0, 1e-4)
    monkeypatch.setattr("edgedigit.train.trainer.time", SimpleNamespace(perf_counter=lambda: next(times_s)))
    monkeypatch.setattr(Trainer, "_train_epoch", lambda self: 0.0)
    make_trainer(tmp_path, epochs=1).run()
    assert read_log(tmp_path)[0]["seconds"] == 0.0


def test_an_error_does_not_stand_behind_an_unfinished_bar(capsys):
    with pytest.raises(KeyboardInterrupt), progress_bar(True, "tiny") as progress:
        time.sleep(0.6)  # bars are not drawn more often
        progress(3, 8, "loss 1.0 50 clips/s 0:00:07 left")
        raise KeyboardInterrupt
    *_, shown, erased, end = capsys.readouterr().err.split("\r")
    assert "3/8, loss 1.0 50 clips/s 0:00:07 left" in shown
    assert shown.count("0:00") == 1
    assert erased.strip() == end == ""


def test_statistics_of_norms_are_averaged_like_the_weights_they_belong_to():
    norm = nn.BatchNorm1d(2)
    average = Averager(norm, decay=0.5)
    for step, value in enumerate((8.0, 4.0), start=8):  # from step 8 on, the decay is the one that was asked for
        for of_norm in (norm.weight.data, norm.running_mean):
            of_norm.fill_(value)
        norm.num_batches_tracked += 1
        average.update(norm, step)
    assert average.model.running_mean.tolist() == [4.0, 4.0]  # 0, then 4, then 4
    assert average.model.weight.tolist() == [4.25, 4.25]  # 1, then 4.5, then 4.25
    assert average.model.num_batches_tracked == 2


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


def test_a_net_without_an_error_among_few_clips_is_not_certain():
    targets = np.arange(40) % 10
    scores = 8.0 * np.eye(10)[targets]
    certain = softmax(scores / fit_temperature(scores, targets))[np.arange(40), targets]
    assert certain == pytest.approx(41 / 42, abs=1e-3)


class Onlooker:
    """An observer that keeps the records and gives up after an epoch."""

    def __init__(self, last_epoch=None):
        self.seen, self.last_epoch = [], last_epoch

    def epoch_ended(self, record, validated):
        self.seen.append(record)
        if record["epoch"] == self.last_epoch:
            raise StopIteration("enough")


def test_observers_see_every_epoch_as_the_log_has_it(tmp_path):
    onlooker = Onlooker()
    make_trainer(tmp_path, epochs=2, validation=validation(), observers=[onlooker]).run()
    assert onlooker.seen == read_log(tmp_path)
    assert [record["epoch"] for record in onlooker.seen] == [1, 2]


def test_an_observer_ends_a_training_whose_last_epoch_is_kept(tmp_path):
    with pytest.raises(StopIteration, match="enough"):
        make_trainer(tmp_path, epochs=5, observers=[Onlooker(last_epoch=2)]).run()
    assert load_checkpoint(tmp_path / "tiny.last.pt")["epoch"] == 2


def test_macro_counts_every_label_alike(monkeypatch):
    """Of three lows and one high all are answered low."""
    waveforms, targets = as_arrays([r for r in tones(6) if r.label == "low"] + tones(2)[1:], LABELS, N_SAMPLES)
    always_low = np.tile(np.float32([1, 0]), (len(targets), 1))
    monkeypatch.setattr("edgedigit.train.trainer.predict_logits", lambda model, part: always_low[: len(part)])
    onlooker = Onlooker()
    make_trainer(epochs=1, validation=(waveforms, targets), observers=[onlooker]).run()
    (record,) = onlooker.seen
    assert (record["validation_accuracy"], record["validation_macro"]) == (0.75, 0.5)
