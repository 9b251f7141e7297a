"""What a student takes from its teachers: their answers, weighted, and what they know before they answer."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny_training import GENTLE, LABELS, N_SAMPLES, make_trainer, small_model, tones, trained_model
from torch import nn

from edgedigit.config import DistillConfig, from_dict
from edgedigit.data.dataset import as_arrays
from edgedigit.errors import ConfigError
from edgedigit.models import WaveformModel, create_model, list_models
from edgedigit.spec import FrontendSpec
from edgedigit.train import losses, pipeline
from edgedigit.train.checkpoints import load_checkpoint
from edgedigit.train.hints import Hinted, classifiers, embeddings_of
from edgedigit.train.trainer import Ensemble

MATCHING = DistillConfig(feature_weight=2.0)


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


def two_teachers():
    return Ensemble([small_model(seed=8), small_model("ds_cnn", seed=9, width=16, depth=1)], "fp32")


def waveforms(n=4):
    return torch.from_numpy(as_arrays(tones(n, seed=1), LABELS, N_SAMPLES)[0])


def test_teachers_are_averaged_by_their_weights():
    models = [small_model(seed=seed).eval() for seed in (1, 2)]
    first, second = (model(waveforms()).log_softmax(dim=1) for model in models)
    torch.testing.assert_close(Ensemble(models, "fp32", (3.0, 1.0))(waveforms()), 0.75 * first + 0.25 * second)
    torch.testing.assert_close(Ensemble(models, "fp32", (0.0, 2.0))(waveforms()), second)
    torch.testing.assert_close(Ensemble(models, "fp32")(waveforms()), (first + second) / 2)


@pytest.mark.parametrize(
    "weights, words",
    [
        ([1.0], "distill.teacher_weights has 1 values, expected one for each of 2 teachers"),
        ([1.0, -1.0], "teacher_weights is [1.0, -1.0], expected numbers from 0"),
        ([0.0, 0.0], "that are not all 0"),
    ],
)
def test_weights_are_one_for_each_teacher(weights, words):
    with pytest.raises(ConfigError) as raised:
        from_dict({"teachers": ["resnet_se", "effnet"], "distill": {"teacher_weights": weights}})
    assert words in str(raised.value)


def test_the_learned_ensemble_is_one_teacher():
    members = [{"name": "student_dscnn", "kwargs": {"widths": [8], "depths": [1], "kernels": [5]}}] * 2
    model = create_model("ensemble", 2, members=members).eval()
    teacher = Ensemble([model], "fp32", (1.0,))
    torch.testing.assert_close(teacher(waveforms()), model(waveforms()).log_softmax(dim=1))
    make_trainer(epochs=1, teacher=teacher).run()


def test_matching_is_one_minus_the_cosine():
    guess, known = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[5.0, 0.0], [0.0, 2.0]])
    assert losses.feature_matching([guess], [known]).item() == pytest.approx((1 - 0.5**0.5) / 2)
    assert losses.feature_matching([guess, known], [known, known]).item() == pytest.approx((1 - 0.5**0.5) / 4)
    unit = [nn.functional.normalize(one) for one in (guess, known)]
    half_distance = ((unit[0] - unit[1]) ** 2).sum(dim=1).mean() / 2
    assert losses.feature_matching([guess], [known]).item() == pytest.approx(half_distance.item())


@pytest.mark.parametrize("name", list_models())
def test_every_model_has_an_embedding(name):
    model = create_model(name, 10).eval()
    layers = classifiers(model)
    with torch.no_grad(), embeddings_of(layers) as seen:
        answer = model(torch.randn(2, *model.spec.signal.shape, generator=torch.manual_seed(0)))
    assert [tuple(one.shape) for one in seen] == [(2, layer.in_features) for layer in layers]
    assert len(layers) == (3 if name == "ensemble" else 1)
    if name != "ensemble":
        torch.testing.assert_close(layers[0](seen[0]), answer)  # the classifier and nothing else comes after it
    assert not any(layer._forward_pre_hooks for layer in layers)


class Headless(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 2)


def test_a_model_without_an_embedding_is_refused_in_one_line():
    model = WaveformModel("headless", FrontendSpec(), Headless(), 2, {})
    with pytest.raises(ConfigError, match=r"headless has no layer named classifier.*feature_weight") as raised:
        classifiers(model)
    assert "\n" not in str(raised.value)
    with pytest.raises(ConfigError, match="headless has no layer"):
        make_trainer(teacher=Ensemble([model], "fp32"), distill=MATCHING)


def test_a_model_without_an_embedding_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    model = WaveformModel("headless", FrontendSpec(), Headless(), 10, {})
    monkeypatch.setattr("edgedigit.train.pipeline.create_model", lambda *args, **kwargs: model)
    config = from_dict({"distill": {"feature_weight": 1.0}, "threads": 1})
    with pytest.raises(ConfigError, match="headless has no layer"):
        pipeline.prepare_run(config, tmp_path / "run", False, ())
    assert not (tmp_path / "run").exists()


def test_guesses_have_the_widths_of_the_teachers():
    model = small_model()
    hinted = Hinted(model.network, classifiers(model), [5, 7])
    logits, guesses = hinted(model.frontend(waveforms(3)))
    assert [tuple(guess.shape) for guess in guesses] == [(3, 5), (3, 7)]
    assert logits.shape == (3, 2)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_without_a_weight_nothing_is_matched(weight):
    trainer = make_trainer(teacher=two_teachers(), distill=DistillConfig(feature_weight=weight))
    assert bool(trainer.helpers) == bool(trainer.hinting) == (weight > 0)


def test_a_student_comes_near_what_its_teachers_know():
    """With nothing else to learn: no soft targets, and labels that weigh nothing."""
    teacher = Ensemble([trained_model()], "fp32")
    distances = {}
    for weight in (0.0, 5.0):
        distill = DistillConfig(alpha=0.0, feature_weight=max(weight, 1e-9))
        trainer = make_trainer(epochs=5, model=small_model(seed=5), teacher=teacher, distill=distill)
        trainer.run()
        features, _, _, embeddings = next(iter(trainer._prepared()))
        trainer.model.eval()
        with torch.no_grad():
            distances[weight] = losses.feature_matching(trainer.network(features)[1], embeddings).item()
    assert distances[5.0] < 0.3 * distances[0.0]


def test_the_projection_is_trained_and_dropped(tmp_path):
    trainer = make_trainer(tmp_path, epochs=2, teacher=two_teachers(), distill=MATCHING)
    before = {key: value.clone() for key, value in trainer.helpers["projections"].state_dict().items()}
    model = trainer.run()
    after = trainer.helpers["projections"].state_dict()
    assert all(not torch.equal(value, after[key]) for key, value in before.items())
    assert not any("projection" in key for key in model.state_dict())
    assert same_weights(load_checkpoint(tmp_path / "tiny.last.pt")["helpers"]["projections"], after)
    assert "helpers" not in load_checkpoint(tmp_path / "tiny.best.pt")


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_an_interrupted_run_with_embeddings_resumes_to_the_same_bits(tmp_path, copies):
    augment = dataclasses.replace(GENTLE, copies=copies)

    def trainer(folder, **kwargs):
        settings = {"teacher": two_teachers(), "distill": MATCHING, "augment": augment}
        return make_trainer(tmp_path / folder, epochs=4, model=small_model(), **settings, **kwargs)

    def stop(step, n_steps, text):
        if step == 10:  # in the third epoch
            raise KeyboardInterrupt

    for folder in ("whole", "broken"):
        (tmp_path / folder).mkdir()
    expected = trainer("whole").run().state_dict()
    with pytest.raises(KeyboardInterrupt):
        trainer("broken", progress=stop).run()
    torch.manual_seed(12345)
    resumed = trainer("broken")
    assert resumed.resume()
    assert same_weights(resumed.run().state_dict(), expected)
    whole, broken = (load_checkpoint(tmp_path / run / "tiny.last.pt")["helpers"] for run in ("whole", "broken"))
    assert same_weights(whole["projections"], broken["projections"])


def test_embeddings_are_kept_with_batches_that_come_again():
    trainer = make_trainer(
        epochs=3, teacher=two_teachers(), distill=MATCHING, augment=dataclasses.replace(GENTLE, copies=1)
    )
    first = list(trainer._prepared())
    trainer.teacher = None  # is not asked again
    trainer.epoch = 1
    for (_, _, soft, known), (_, _, soft_again, known_again) in zip(first, trainer._prepared(), strict=True):
        assert torch.equal(soft, soft_again)
        assert all(torch.equal(a, b) for a, b in zip(known, known_again, strict=True))
        assert len(known) == 2


def test_quiet_teachers_hear_the_clip_and_the_student_the_noise():
    heard = []

    class Listening(Ensemble):
        def forward(self, waveform, known=None):
            heard.append((waveform, known))
            return super().forward(waveform, known)

    noisy = dataclasses.replace(GENTLE, noise_probability=1.0, snr_db=(0.0, 0.0))
    trainer = make_trainer(epochs=1, augment=noisy, quiet=True, teacher=Listening([small_model(seed=8)], "fp32"))
    expected = list(trainer.batches.epoch(0))
    trainer.run()
    assert len(heard) == len(expected)
    for (waveform, known), batch in zip(heard, expected, strict=True):
        torch.testing.assert_close(waveform, torch.from_numpy(batch.quiet))
        assert not known and not np.allclose(batch.quiet, batch.waveforms, atol=0.01)


@pytest.mark.parametrize("quiet", [True, False])
def test_the_setting_reaches_the_batches_that_a_teacher_answers(quiet):
    config = from_dict({"distill": {"quiet_teachers": quiet}, "data": {"labels": list(LABELS)}})
    track = pipeline.Track("final", tones(16), [])
    for taught in (True, False):
        batches = pipeline.make_batches(config, track, config.fit_student, [], 0, taught)
        assert (next(batches.epoch(0)).quiet is not None) == (quiet and taught)


def test_quiet_teachers_are_refused_for_emg():
    with pytest.raises(ConfigError, match=r"distill.quiet_teachers is true, but EMG has no noise that was added"):
        from_dict({"data": {"signal": {"kind": "emg"}}, "distill": {"quiet_teachers": True}})
