"""The label of all that is no digit: what it is drawn from, who is held out, and what figures of digits leave out."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from run_folder import SETTINGS, SPEAKERS, tones_of_digits

import export_models
import infer
import prune_and_quantize
import train_distill
from edgedigit import crossval, data
from edgedigit.cli import run_main
from edgedigit.compress import pipeline as compression
from edgedigit.config import AugmentConfig, Config, FitConfig, UnknownConfig, apply_overrides
from edgedigit.data.dataset import TrainingBatches, as_arrays, balanced_weights
from edgedigit.data.recording import Recording
from edgedigit.data.splits import check_disjoint, hold_out_non_digits, make_split
from edgedigit.data.unknown import Draws, cut_off, find_pieces, prior_bias, random_piece, word_extent
from edgedigit.errors import ConfigError, DataError
from edgedigit.labels import DIGITS, NON_DIGIT
from edgedigit.models import create_model
from edgedigit.train import trainer
from edgedigit.train.pipeline import Track
from edgedigit.train.scoring import accuracy_rows, read_answers

RATE = N_SAMPLES = 8000
PLAIN = AugmentConfig(enabled=False)
LABELS = ("0", "1", NON_DIGIT)


def recording(label, speaker="a", source="one", seconds=0.5, seed=0):
    rng = np.random.default_rng([seed, len(label), int(10 * seconds)])
    waveform = rng.normal(0, 0.1, round(seconds * RATE)).astype(np.float32)
    return Recording(
        waveform, RATE, label, f"{source}:{speaker}", source, f"{source}/{label}_{speaker}_{seconds}_{seed}"
    )


@pytest.fixture
def corpus():
    """Two digits, unevenly; three words by other people; two sentences of 10 s."""
    digits = [recording("0", f"s{i % 5}", "bulk", seed=i) for i in range(40)]
    digits += [recording(digit, f"s{i}", "few", seed=i) for i in range(4) for digit in "01"]
    words = [recording(NON_DIGIT, f"w{i}", "words", seed=i) for i in range(3)]
    return digits + words + [recording(NON_DIGIT, f"r{i}", "read", 10.0, seed=i) for i in range(2)]


def batches(corpus, labels=LABELS, unknown=None, augment=PLAIN, **kwargs):
    options = {"batch_size": 50, "samples_per_epoch": 2000} | kwargs
    return TrainingBatches(corpus, labels, augment, N_SAMPLES, RATE, unknown=unknown, **options)


def draws(corpus, noises=(), **shares):
    return Draws(corpus, balanced_weights(corpus), UnknownConfig(**shares), noises, N_SAMPLES, RATE)


def test_every_kind_has_its_share(corpus):
    noises = [np.ones(N_SAMPLES, np.float32)] * 4
    made = draws(corpus, noises, words=0.1, sentences=0.05, pieces=0.07, cut=0.2, noise=0.08, floor=0.02)
    n = len(corpus)
    of_words = [r.source == "words" for r in corpus]
    of_sentences = [r.source == "read" for r in corpus]
    assert made.weights[:n][of_words].sum() == pytest.approx(0.1)
    assert made.weights[:n][of_sentences].sum() == pytest.approx(0.05)
    assert made.weights[n : 2 * n].sum() == pytest.approx(0.2)
    assert made.weights[2 * n : 2 * n + 4] == pytest.approx([0.02] * 4)
    pieces = made.weights[2 * n + 4 : -1]
    assert pieces.sum() == pytest.approx(pieces[of_sentences].sum()) == pytest.approx(0.07)
    assert made.weights[-1] == pytest.approx(0.02)
    assert made.weights[made.is_digit].sum() == pytest.approx(0.48)


def test_digits_stay_balanced_among_themselves(corpus):
    made = draws(corpus)
    digits = [r for r in corpus if r.label != NON_DIGIT]
    among = made.weights[: len(digits)] / made.weights[: len(digits)].sum()
    assert among == pytest.approx(balanced_weights(digits))


def test_only_digits_are_cut_off(corpus):
    made = draws(corpus)
    cut = made.weights[len(corpus) : 2 * len(corpus)]
    assert [weight > 0 for weight in cut] == [r.label != NON_DIGIT for r in corpus]


def test_without_recorded_noise_the_floor_takes_its_share(corpus):
    assert draws(corpus, noise=0.08, floor=0.02).weights[-1] == pytest.approx(0.1)


def test_what_is_drawn_is_labelled_as_it_should_be(corpus):
    made = batches(corpus)
    targets = np.concatenate([batch.targets for batch in made.epoch(0)])
    assert targets.mean(axis=0) == pytest.approx([0.35, 0.35, 0.3], abs=0.04)
    assert made.label_shares() == pytest.approx([0.35, 0.35, 0.3], abs=1e-6)
    waveforms = np.concatenate([batch.waveforms for batch in made.epoch(0)])
    whole = {r.waveform.tobytes() for r in corpus if r.label in DIGITS}
    for clip, target in zip(waveforms, targets, strict=True):
        is_whole_digit = clip[2000:6000].tobytes() in whole
        assert is_whole_digit == (target[2] == 0)


def test_batches_are_a_function_of_seed_and_epoch(corpus):
    first, again = (next(iter(batches(corpus, augment=AugmentConfig(room_probability=0.0)).epoch(2))) for _ in "ab")
    np.testing.assert_array_equal(first.waveforms, again.waveforms)


def test_settings_of_it_change_nothing_where_it_is_no_label(corpus):
    digits = [r for r in corpus if r.label != NON_DIGIT]
    plain, other = (
        next(iter(batches(digits, ("0", "1"), unknown, AugmentConfig(room_probability=0.0)).epoch(0)))
        for unknown in (None, UnknownConfig(words=0.5, cut=0.2))
    )
    np.testing.assert_array_equal(plain.waveforms, other.waveforms)
    np.testing.assert_array_equal(plain.targets, other.targets)


def test_no_digit_is_blended_with_what_is_none(corpus):
    augment = AugmentConfig(room_probability=0.0, vocoder_probability=0.0, mixup_probability=1.0)
    for batch in batches(corpus, augment=augment, samples_per_epoch=200).epoch(0):
        assert set(batch.targets[:, 2].tolist()) == {0.0, 1.0}
        assert (batch.targets[:, :2].max(axis=1) % 1 > 0).any(), "digits are still blended with digits"


@pytest.mark.parametrize("seed", range(8))
def test_less_than_half_of_a_digit_is_left(seed):
    word = np.sin(np.arange(4000) * 0.5).astype(np.float32)
    clip = np.concatenate([np.zeros(1600, np.float32), word, np.zeros(2400, np.float32)])
    assert word_extent(clip, RATE) == (1600, 5600)
    part = cut_off(clip, RATE, (0.15, 0.45), np.random.default_rng(seed))
    start, end = word_extent(part, RATE)
    assert 0.10 * 4000 <= end - start <= 0.48 * 4000
    assert len(part) - (end - start) in range(1500, 2500), "what was around the word on the other side is still there"


def test_both_ends_of_digits_are_cut_off():
    word = np.linspace(0.2, 1.0, 4000, dtype=np.float32) * np.sin(np.arange(4000) * 0.5).astype(np.float32)
    rng = np.random.default_rng(0)
    peaks = [np.abs(cut_off(word, RATE, (0.3, 0.3), rng)).max() for _ in range(40)]
    assert min(peaks) < 0.5 < 0.9 < max(peaks)


def test_a_cut_does_not_click():
    part = cut_off(np.ones(4000, np.float32), RATE, (0.3, 0.3), np.random.default_rng(0))
    assert sorted([part[0], part[-1]]) == [0, 1], "faded where it is cut, as it was at the other end"


def test_sentences_give_windows_of_many_places(corpus):
    made = draws(corpus)
    row = len(corpus) - 1
    starts = {made.waveform(row, np.random.default_rng(seed))[:20].tobytes() for seed in range(20)}
    assert len(starts) == 20
    assert all(len(made.waveform(row, np.random.default_rng(seed))) < 2 * N_SAMPLES for seed in range(5))


def sentence(*speech_s):
    """Hiss of so many seconds each, half a second of near silence before, between and after."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, 1e-4, RATE // 2)]
    for seconds in speech_s:
        parts += [rng.normal(0, 0.1, round(seconds * RATE)), rng.normal(0, 1e-4, RATE // 2)]
    return np.concatenate(parts).astype(np.float32)


def test_pieces_lie_between_pauses():
    spans = find_pieces(sentence(0.3, 0.4), RATE)
    assert spans == [(4000, 6400), (10400, 13600)]


def test_a_piece_that_a_stream_would_cut_is_cut_and_a_click_is_none():
    lengths = [end - start for start, end in find_pieces(sentence(2.0, 0.04), RATE)]
    assert lengths == [12000, 4000]


def test_a_piece_keeps_its_pauses_as_a_stream_does():
    waveform = sentence(0.3, 0.4)
    drawn = {random_piece(waveform, RATE, np.random.default_rng(seed)).size for seed in range(20)}
    assert drawn == {3200 + 2400 + 800, 3200 + 3200 + 800}


def test_a_pause_of_50_ms_ends_a_piece_and_one_of_30_does_not():
    for pause_s, n_pieces in ((0.03, 1), (0.06, 2)):
        speech = np.random.default_rng(0).normal(0, 0.1, 2400)
        parts = [np.full(4000, 1e-5), speech, np.full(round(pause_s * RATE), 1e-5), speech, np.full(4000, 1e-5)]
        assert len(find_pieces(np.concatenate(parts).astype(np.float32), RATE)) == n_pieces


def test_silence_is_one_piece():
    assert find_pieces(np.zeros(400, np.float32), RATE) == [(0, 400)]


def test_pieces_are_drawn_as_what_is_no_digit(corpus):
    made = batches(corpus, unknown=UnknownConfig(words=0.0, sentences=0.0, pieces=0.3, cut=0.0, noise=0.0, floor=0.1))
    targets = np.concatenate([batch.targets for batch in made.epoch(0)])
    assert targets[:, 2].mean() == pytest.approx(0.4, abs=0.04)


def test_the_noise_floor_is_faint_and_held_by_16_bits(corpus):
    made = draws(corpus, floor_db=(-60.0, -50.0))
    hiss = made.waveform(len(made.weights) - 1, np.random.default_rng(0))
    assert hiss.shape == (N_SAMPLES,)
    assert -61 < 20 * np.log10(np.sqrt(np.mean(hiss**2))) < -49
    np.testing.assert_array_equal(hiss * 32768, np.round(hiss * 32768))


@pytest.mark.parametrize("source", ["words", "read"])
def test_words_and_sentences_stand_for_each_other(corpus, source):
    """Own words are often recorded without sentences: the label is as frequent as ever."""
    left = [r for r in corpus if r.source != source]
    made = draws(left)
    others = [r.label == NON_DIGIT for r in left]
    assert made.weights[: len(left)][others].sum() == pytest.approx(0.18)
    assert made.weights[made.is_digit].sum() == pytest.approx(0.7)


def test_other_words_that_nobody_recorded_are_an_error_that_says_what_to_do(corpus):
    digits = [r for r in corpus if r.label != NON_DIGIT]
    with pytest.raises(DataError, match="no training recording is of _unknown_; add a source"):
        batches(digits)
    made = batches(digits, unknown=UnknownConfig(words=0.0, sentences=0.0))
    assert made.label_shares()[2] == pytest.approx(0.12)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.unknown.words=1.2", "words is 1.2"),
        ("data.unknown={words: 0.6, cut: 0.4}", "sum to 1.12"),
        ("data.unknown.cut_keep=[0.5, 0.2]", "cut_keep"),
        ("data.unknown.floor_db=[-50, 3]", "floor_db"),
        ("data.unknown.sentence_s=0", "sentence_s"),
        ("data.unknown.word=0.1", "did you mean 'words'"),
        ("data={labels: [UP, _unknown_], signal: {kind: emg, sample_rate: 250, n_samples: 500}}", "audio alone"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        apply_overrides(Config(), [setting])


def people():
    """`both` says digits and words; ten others say words alone; `one` is the only speaker of another corpus."""
    found = [recording(label, "both", "home") for label in ("0", "1", NON_DIGIT)]
    found += [recording(digit, f"d{i}", "home") for i in range(4) for digit in "01"]
    found += [recording(NON_DIGIT, f"w{i}", "home", seed=take) for i in range(10) for take in range(2)]
    return [*found, recording(NON_DIGIT, "one", "lone")]


def test_speakers_of_other_words_alone_are_held_out():
    recordings = people()
    split = make_split(recordings, "all", 0.0, seed=0, non_digit_test=0.4)
    held = {recordings[i].speaker for i in split.test}
    assert len(held) == 4 and held <= {f"home:w{i}" for i in range(10)}
    assert len(split.test) == 8
    check_disjoint(recordings, split, by_speaker=True)
    again = make_split(recordings[::-1], "all", 0.0, seed=5, non_digit_test=0.4)
    assert {recordings[::-1][i].speaker for i in again.test} == held


@pytest.mark.parametrize(("fraction", "n_held"), [(0.0, 0), (0.04, 0), (0.99, 9)])
def test_some_speakers_of_every_corpus_always_train(fraction, n_held):
    recordings = people()
    split = hold_out_non_digits(recordings, make_split(recordings, "all", 0.0, 0), fraction)
    assert len({recordings[i].speaker for i in split.test}) == n_held


def test_validation_has_other_speakers_too():
    recordings = people()
    split = make_split(recordings, "all", 0.2, seed=0, non_digit_test=0.4)
    check_disjoint(recordings, split, by_speaker=True)
    assert len(split.validation)


def test_digits_alone_are_split_as_ever():
    digits = [r for r in people() if r.label != NON_DIGIT]
    before, after = (make_split(digits, "all", 0.2, seed=0, non_digit_test=share) for share in (0.0, 0.9))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(before, part), getattr(after, part))


def test_figures_of_digits_do_not_hold_it():
    recordings = [recording("0", "x"), recording("1", "y"), *(recording(NON_DIGIT, f"w{i}") for i in range(3))]
    rows = accuracy_rows("test", recordings, np.array([0, 2, 2, 2, 0]), LABELS)
    assert (rows[0]["group"], rows[0]["n"], rows[0]["n_correct"]) == ("test", 2, 1), "a rejected digit is wrong"
    assert (rows[-1]["group"], rows[-1]["n"], rows[-1]["n_correct"]) == (f"test, {NON_DIGIT}", 3, 2)
    assert sum(NON_DIGIT in row["group"] for row in rows) == 1
    assert sum("w0" in row["group"] for row in rows) == 0
    (alone,) = accuracy_rows("test", recordings[2:], np.array([2, 2, 0]), LABELS)
    assert alone["group"] == f"test, {NON_DIGIT}"


def answer(label, said, speaker="a", stage="int8"):
    about = {"name": "a.wav", "speaker": speaker, "source": "s", "part": "test"}
    return {"stage": stage, "label": label, "answer": said, **about}


def test_macro_over_digits_does_not_hold_it():
    digits = [answer("0", "0"), answer("0", "1"), answer("1", "1", "b")]
    others = [{**answer(NON_DIGIT, "0", "c"), "name": f"{i}.wav"} for i in range(7)]
    with_it, without = crossval.tables(digits + others, "int8"), crossval.tables(digits, "int8")
    assert with_it[:-1] == without
    assert (with_it[-1]["group"], with_it[-1]["n"], with_it[-1]["accuracy"]) == (f"label {NON_DIGIT}", 7, 0)
    assert with_it[0]["group"] == "macro over digits" and with_it[0]["accuracy"] == 0.75
    folds = crossval.over_folds({"a": digits + others, "b": digits}, "int8")
    assert [row["n"] for row in folds["rows"]] == [3, 3]


def test_part_of_a_folder_with_a_manifest_is_a_source(tmp_path):
    lines = ["file,label,speaker,source"]
    for folder, word in (("short", "bed"), ("short", "one"), ("wake", "jarvis")):
        (tmp_path / folder).mkdir(exist_ok=True)
        soundfile.write(tmp_path / folder / f"{word}.wav", np.zeros(800), RATE)
        lines.append(f"{folder}/{word}.wav,{word},ann,{folder}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    found = data.load_recordings([f"folder:{tmp_path / 'short'}"], labels=(*DIGITS, NON_DIGIT))
    assert Counter(r.label for r in found) == {NON_DIGIT: 1, "1": 1}
    whole = data.load_recordings([f"folder:{tmp_path}"], labels=None)
    assert {r.name for r in found} < {r.name for r in whole}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither"):
        data.load_recordings([f"folder:{tmp_path / 'empty'}"], labels=None)


def test_a_subset_of_digits_makes_the_others_unknown(corpus):
    made = batches([replace(r, label=NON_DIGIT) if r.label == "1" else r for r in corpus], ("0", NON_DIGIT))
    assert made.label_shares() == pytest.approx([0.7, 0.3], abs=1e-6)


class Onlooker:
    """An observer that keeps what it was told."""

    def __init__(self):
        self.seen = []

    def epoch_ended(self, record, seen):
        self.seen.append(record)

    def close(self):
        pass


def small_net():
    return create_model("student_dscnn", 3, widths=[8, 12], depths=[1, 1], kernels=[5, 5])


def test_validation_counts_it_apart(corpus, monkeypatch):
    """Of three digits one is right; of two clips of something else both."""
    held = as_arrays([*corpus[:3], *corpus[-2:]], LABELS, N_SAMPLES)
    answers = np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 2]]
    monkeypatch.setattr(trainer, "predict_logits", lambda model, part: answers[: len(part)])
    onlooker, fit = Onlooker(), FitConfig(epochs=1, lr=1e-2, batch_size=8)
    made = batches(corpus, samples_per_epoch=16, batch_size=8)
    trainer.Trainer(small_net(), made, held, fit, PLAIN, observers=[onlooker]).run()
    (record,) = onlooker.seen
    expected = {"validation_accuracy": 1 / 3, "validation_macro": 1 / 3, "validation_unknown": 1.0}
    assert {key: record[key] for key in expected} == pytest.approx(expected)


def test_the_rejection_threshold_lets_right_digits_through(corpus, monkeypatch):
    """Right digits are surer than right answers of no digit, which need no threshold: they say nothing anyway."""
    held = [*corpus[:40], *corpus[-2:]]
    logits = np.zeros((42, 3), np.float32)
    logits[:40, 0], logits[40:, 2] = 4.0, 1.0
    monkeypatch.setattr(compression, "predict_logits", lambda model, waveforms: logits)
    config = apply_overrides(Config(), [f"data.labels={list(LABELS)}", "teachers=[]"])
    found = compression.calibrate(config, Track("final", corpus, held), small_net())
    z, others = np.exp(4.0 / found["temperature"]), np.exp(found["label_bias"][2])
    assert found["reject_below"] == pytest.approx(z / (z + 1 + others), abs=1e-4)


@pytest.mark.parametrize("odds", [1.0, 3.0])
def test_the_bias_undoes_how_often_training_drew_each_label(corpus, odds):
    """Probabilities of a net that has learnt nothing but how often labels came are as they are to be afterwards."""
    config = UnknownConfig(words=0.3, cut=0.1)
    drawn = batches(corpus, unknown=config).label_shares()
    assert drawn[2] > 2 * drawn[0]
    expected = drawn * np.exp(prior_bias(LABELS, config, odds))
    assert expected / expected.sum() == pytest.approx(np.array([1, 1, odds]) / (2 + odds))
    assert prior_bias(LABELS[:2], config, odds) == []


def write_others(folder):
    """Other words, chirps by five people, and a "sentence" of many chirps by each of three."""
    folder.mkdir(parents=True)
    lines = ["file,label,speaker,source"]
    time_s = np.arange(2400) / RATE
    for person in range(5):
        chirp = 0.3 * np.sin(2 * np.pi * (200 + 40 * person + 3000 * time_s) * time_s)
        for source, label, repeats in (("others", "up", 1), ("read", "talk", 16))[: 2 if person < 3 else 1]:
            soundfile.write(folder / f"{label}_{person}.wav", np.tile(chirp, repeats), RATE)
            lines.append(f"{label}_{person}.wav,{label},p{person},{source}")
    (folder / "manifest.csv").write_text("\n".join(lines))


@pytest.mark.slow
def test_all_that_is_counted_expects_it_as_often_as_exported_models_do(tmp_path, capsys):
    """With odds that outweigh what any net has heard, every stage answers nothing else."""
    data_dir, run_dir = tones_of_digits(tmp_path / "data"), tmp_path / "run"
    write_others(data_dir / "others")
    labels = [*DIGITS, NON_DIGIT]
    net = "{name: student_dscnn, kwargs: {widths: [8], depths: [1], kernels: [5]}, label: %s}"
    settings = [
        *SETTINGS,
        "data.sources=[fsdd, 'folder:others']",
        f"data.labels={json.dumps(labels)}",
        "compress={unknown_odds: 1e30, target_sparsity: 0, calibration_clips: 20}",
        "gates={min_validation_accuracy: 0, max_int8_loss: 1}",
        f"student={net % 'small'}",
        f"teachers=[{net % 'teacher'}]",
        "fit_teacher.epochs=1",
    ]
    common = ["--run-dir", str(run_dir), "--data-dir", str(data_dir), "--quiet"]
    words = [word for setting in settings for word in ("--set", setting)]
    assert run_main(train_distill.main, [*common, *words]) == 0, capsys.readouterr().err
    assert run_main(prune_and_quantize.main, common) == 0, capsys.readouterr().err
    answers = read_answers(run_dir / "student_answers.csv") + read_answers(run_dir / "answers.csv")
    assert {row["stage"] for row in answers} == {"student", "teachers", "pruned", "int8"}
    assert {row["answer"] for row in answers} == {NON_DIGIT}
    assert crossval.at_training_odds(run_dir, "int8") == crossval.at_training_odds(run_dir, "student") == set()


@pytest.mark.slow
def test_from_recordings_to_a_file_that_answers_nothing_to_other_sounds(tmp_path, capsys):
    """The four scripts on tones as digits and chirps as other words."""
    data_dir, run_dir, out = tones_of_digits(tmp_path / "data"), tmp_path / "run", tmp_path / "out"
    write_others(data_dir / "others")
    labels = [*DIGITS, NON_DIGIT]
    settings = [
        "data.sources=[fsdd, 'folder:others']",
        f"data.labels={json.dumps(labels)}",
        'data.noises=""',
        "data.validation_fraction=0.3",
        "data.refit=false",
        "augment.enabled=false",
        "teachers=[]",
        "student={name: student_dscnn, kwargs: {widths: [16, 24], depths: [1, 1], kernels: [5, 5]}}",
        "fit_student={epochs: 12, lr: 2e-2, ema_decay: 0.9, samples_per_epoch: 640}",
        "threads=1",
    ]
    gates = ["gates={min_validation_accuracy: 0, max_int8_loss: 1, min_agreement_int8: 0, max_parity_fp32: 1e-3}"]
    compress = ["compress={pruning_steps: 1, final_epochs: 4, calibration_clips: 44, target_sparsity: 0.2}"]
    common = ["--run-dir", run_dir, "--data-dir", data_dir, "--quiet"]

    def said(script, *words):
        code = run_main(script.main, [str(word) for word in words])
        output = capsys.readouterr()
        assert code == 0, output.err
        return output.out

    for script, changes in ((train_distill, [*settings, *gates]), (prune_and_quantize, compress)):
        words = [word for setting in changes for word in ("--set", setting)]
        assert f", {NON_DIGIT}" in said(script, *common, *words)
    said(export_models, *common, "--output-dir", out)
    assert json.loads((out / "export_results.json").read_text())["files"][0]["accuracy"]["n"] == 10 * len(SPEAKERS)

    manifest = json.loads((out / "model.manifest.json").read_text())
    assert manifest["reject_label"] == NON_DIGIT and manifest["labels"] == labels
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "hiss.wav", rng.normal(0, 0.01, 4000), RATE)
    digit = data_dir / "fsdd" / "recordings" / "7_ann_0.wav"
    inputs = [digit, data_dir / "others" / "up_4.wav", tmp_path / "hiss.wav"]
    output = said(infer, "--reject-below", "0", "--model", out / "model.onnx", *inputs)
    found = json.loads(output.splitlines()[-1])["results"]
    assert [result["label"] for result in found] == ["7", None, None]
