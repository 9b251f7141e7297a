"""How recordings become batches: balanced, augmented, and the same again for the same seed and epoch."""

from collections import Counter

import numpy as np
import pytest

from edgedigit.config import AugmentConfig, UnknownConfig
from edgedigit.data.dataset import TrainingBatches, as_arrays, balanced_weights
from edgedigit.data.recording import Recording
from edgedigit.errors import DataError

SAMPLE_RATE = N_SAMPLES = 8000
QUICK = AugmentConfig(room_probability=0.0)


def recording(label, speaker="a", source="one", n=3000, seed=0):
    waveform = np.random.default_rng([seed, int(label)]).normal(0, 0.1, n).astype(np.float32)
    return Recording(waveform, SAMPLE_RATE, label, f"{source}:{speaker}", source, f"{source}/{label}_{speaker}_{seed}")


def batches(recordings, labels=("0", "1"), augment=QUICK, **kwargs):
    options = {"batch_size": 4, "seed": 0} | kwargs
    return TrainingBatches(recordings, labels, augment, N_SAMPLES, SAMPLE_RATE, **options)


@pytest.fixture
def dozen():
    return [recording(str(i % 2), seed=i) for i in range(12)]


@pytest.fixture
def uneven():
    """ "0" comes from a small corpus and in bulk from another, "1" from the small one alone."""
    bulk = [recording("0", f"s{i % 50}", "bulk", seed=i) for i in range(900)]
    small = [recording(label, f"s{i % 3}", "small", seed=i) for i in range(9) for label in "01"]
    return bulk + small


def test_every_label_is_drawn_equally_often(uneven):
    weights = balanced_weights(uneven)
    total = Counter()
    for one, weight in zip(uneven, weights, strict=True):
        total[one.label] += weight
    assert total == pytest.approx({"0": 0.5, "1": 0.5})
    assert weights.sum() == pytest.approx(1.0)


def test_a_bulk_corpus_does_not_drown_the_others(uneven):
    weights = balanced_weights(uneven)
    small = sum(w for r, w in zip(uneven, weights, strict=True) if r.label == "0" and r.source == "small")
    share_of_clips = 9 / 909
    assert small / 0.5 == pytest.approx(np.sqrt(9) / (np.sqrt(9) + np.sqrt(900)))
    assert small / 0.5 > 5 * share_of_clips


def test_a_talkative_speaker_weighs_as_the_root_of_their_clips():
    clips = [recording("0", "talks", seed=i) for i in range(16)] + [recording("0", "mumbles", seed=99)]
    weights = balanced_weights(clips)
    assert weights[:16].sum() / weights[16] == pytest.approx(4.0)
    assert np.ptp(weights[:16]) == pytest.approx(0.0, abs=1e-12)


def test_what_has_a_smaller_share_is_drawn_more_seldom_and_its_label_as_often_as_ever(uneven):
    plain, weights = balanced_weights(uneven), balanced_weights(uneven, {uneven[0].name: 0.1, "elsewhere.wav": 0.5})
    assert weights[0] / weights[50] == pytest.approx(0.1 * plain[0] / plain[50])  # the same speaker's
    assert weights[[one.label == "0" for one in uneven]].sum() == pytest.approx(0.5)
    of_one = [one.label == "1" for one in uneven]
    assert weights[of_one] == pytest.approx(plain[of_one])


def test_shares_hold_for_one_source_too():
    clips = [recording("0", seed=i) for i in range(40)] + [recording("1", seed=i) for i in range(40, 80)]
    made = batches(clips, shares={clips[0].name: 0.01}, augment=AugmentConfig(enabled=False), batch_size=80)
    assert made.weights[0] < 0.02 * made.weights[1]


def test_several_sources_are_drawn_by_weight(uneven):
    made = batches(uneven, augment=AugmentConfig(enabled=False), batch_size=100, samples_per_epoch=2000)
    drawn = np.mean([batch.targets.mean(axis=0) for batch in made.epoch(0)], axis=0)
    assert drawn == pytest.approx([0.5, 0.5], abs=0.05)


def test_one_source_is_passed_over_once(dozen):
    made = batches(dozen, augment=AugmentConfig(enabled=False))
    clips = np.concatenate([batch.waveforms for batch in made.epoch(0)])
    expected, _ = as_arrays(dozen, ("0", "1"), N_SAMPLES)
    assert sorted(clips[:, 4000].tolist()) == sorted(expected[:, 4000].tolist())


def test_batches_are_a_function_of_seed_and_epoch(dozen):
    first, again = batches(dozen, seed=1), batches(dozen, seed=1)
    list(again.epoch(0))  # what was drawn before must not matter
    for one, other in zip(first.epoch(3), again.epoch(3), strict=True):
        np.testing.assert_array_equal(one.waveforms, other.waveforms)
        np.testing.assert_array_equal(one.targets, other.targets)


@pytest.mark.parametrize("seed, epoch", [(1, 4), (2, 3)])
def test_another_seed_or_epoch_gives_other_batches(dozen, seed, epoch):
    reference = next(iter(batches(dozen, seed=1).epoch(3)))
    other = next(iter(batches(dozen, seed=seed).epoch(epoch)))
    assert not np.array_equal(reference.waveforms, other.waveforms)


def test_shapes_and_types(dozen):
    made = batches(dozen)
    epoch = list(made.epoch(0))
    assert len(epoch) == len(made) == 3
    for batch in epoch:
        assert batch.waveforms.shape == (4, N_SAMPLES)
        assert batch.targets.shape == (4, 2)
        assert batch.waveforms.dtype == batch.targets.dtype == np.float32
        np.testing.assert_allclose(batch.targets.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    "n, batch_size, samples_per_epoch, n_batches", [(12, 5, 0, 2), (12, 64, 0, 1), (12, 4, 40, 10), (12, 4, 2, 1)]
)
def test_number_of_batches(dozen, n, batch_size, samples_per_epoch, n_batches):
    made = batches(dozen[:n], batch_size=batch_size, samples_per_epoch=samples_per_epoch)
    assert len(made) == n_batches == len(list(made.epoch(0)))


def test_targets_name_the_clip_they_stand_beside(dozen):
    made = batches(dozen, augment=AugmentConfig(enabled=False))
    waveforms, labels = as_arrays(dozen, ("0", "1"), N_SAMPLES)
    for batch in made.epoch(0):
        for clip, target in zip(batch.waveforms, batch.targets, strict=True):
            (row,) = np.flatnonzero((waveforms == clip).all(axis=1))
            assert target.argmax() == labels[row]


def test_a_label_without_recordings_is_an_error(dozen):
    with pytest.raises(DataError, match="no training recording of 2, 3 among 12"):
        batches(dozen, labels=("0", "1", "2", "3"))


def test_no_recordings_are_an_error():
    with pytest.raises(DataError, match="among 0"):
        batches([])


def test_arrays_fit_clips_of_any_length_and_follow_the_order_of_labels():
    clips = [recording("1", n=100), recording("0", n=20_000)]
    waveforms, targets = as_arrays(clips, ("1", "0"), N_SAMPLES)
    assert waveforms.shape == (2, N_SAMPLES)
    assert waveforms.dtype == np.float32
    assert targets.tolist() == [0, 1]


@pytest.mark.parametrize("labels", [("0", "1"), ("0", "1", "_unknown_")])
def test_asking_for_the_quiet_clips_changes_nothing_that_the_student_hears(dozen, labels):
    unknown = UnknownConfig(words=0.0, sentences=0.0)
    plain, both = (batches(dozen, labels, unknown=unknown, quiet=quiet) for quiet in (False, True))
    for one, other in zip(plain.epoch(0), both.epoch(0), strict=True):
        assert one.quiet is None and other.quiet.shape == other.waveforms.shape
        np.testing.assert_array_equal(one.waveforms, other.waveforms)
        np.testing.assert_array_equal(one.targets, other.targets)
        assert not np.array_equal(other.quiet, other.waveforms)
