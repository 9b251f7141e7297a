"""Mixtures have the level, the room and the voices that they are said to have, and are the same for every model."""

import csv
import json
from functools import partial

import numpy as np
import pytest
from tiny_model import LABELS, build_tiny_model, frequency_hz, tone_word

from edgedigit import robustness
from edgedigit.audio import write_wav
from edgedigit.cli import run_main
from edgedigit.config import Config, RobustnessConfig, to_dict, with_setting, with_settings
from edgedigit.data.augment import active_rms, room_bank
from edgedigit.data.dataset import as_arrays
from edgedigit.data.mixtures import BABBLE, KINDS, Condition, Mixtures, by_kind, loud_starts, subset
from edgedigit.data.noises import IMPULSIVE, STATIONARY
from edgedigit.data.recording import Recording
from edgedigit.errors import ConfigError, DataError
from edgedigit.labels import NON_DIGIT
from edgedigit.manifest import write_manifest
from edgedigit.report.documents import render_results
from edgedigit.robustness import energy_kept, perturbation_row, perturbations, training_note
from edgedigit.runtime import Recognizer
from edgedigit.train.heard import heard_by, held_out_voices

RATE = N_SAMPLES = 8000
CONFIG = RobustnessConfig(n_rooms=3)
SPEAKERS = ("anna", "ben", "carla", "dora")


def hiss(seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, 3 * RATE).astype(np.float32)


def clicks(seed=0):
    waveform = 0.01 * hiss(seed)
    for start in range(1000, len(waveform) - 200, 2500):
        waveform[start : start + 200] *= 300
    return waveform


def recording(waveform, name, speaker="-", label="0"):
    return Recording(waveform, RATE, label, f"mine:{speaker}", "mine", name)


def spoken():
    """A faint word of each speaker, at pitches that are theirs alone: 200, 300, 400 and 500 Hz."""
    return [recording(tone_word(i, level=0.003), f"mine/{name}.wav", name) for i, name in enumerate(SPEAKERS)]


def mixtures(kinds=KINDS, config=CONFIG, talkers=None):
    noises = by_kind([recording(hiss(), "noise/a.wav"), recording(clicks(), "noise/b.wav")])
    return Mixtures(noises, talkers or spoken(), kinds, config, N_SAMPLES, RATE)


def mixed(clips, made=None):
    windows, _ = as_arrays(clips, LABELS, N_SAMPLES)
    return dict((made or mixtures()).of(clips, windows))


def test_the_grid_has_every_kind_at_every_ratio_near_and_reverberant():
    names = [condition.name for condition in mixtures().conditions]
    assert len(names) == len(set(names)) == 2 * (1 + 3 * 4)
    assert names[:2] == ["clean, near", "stationary 20 dB, near"] and names[-1] == "impulsive 0 dB, reverberant"
    assert [condition for condition in mixed(spoken())] == mixtures().conditions


@pytest.mark.parametrize("reverberant", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_speech_is_above_noise_by_the_ratio_that_is_asked_for(kind, reverberant):
    waveforms = mixed(spoken())
    speech = waveforms[Condition(reverberant=reverberant)]
    for snr_db in CONFIG.snr_db:
        noise = waveforms[Condition(kind, snr_db, reverberant)] - speech
        measured = 20 * np.log10(active_rms(speech) / np.sqrt(np.mean(noise**2, axis=1)))
        assert measured == pytest.approx(snr_db, abs=0.05)


def test_a_clip_meets_the_same_noise_and_room_whatever_is_tested_beside_it():
    together, alone = mixed(spoken()), mixed(spoken()[2:3])
    for condition, waveforms in together.items():
        np.testing.assert_allclose(waveforms[2], alone[condition][0], atol=1e-6)
    noise = together[Condition(STATIONARY, 0.0)] - together[Condition()]
    assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.2  # and another one than the clip beside it


def test_ratios_differ_in_the_level_of_the_noise_alone():
    waveforms = mixed(spoken())
    clean = waveforms[Condition()]
    loud, faint = (waveforms[Condition(IMPULSIVE, snr_db)] - clean for snr_db in (0.0, 20.0))
    np.testing.assert_allclose(loud, 10 * faint, atol=1e-5)
    assert np.abs(loud).max() > 1e-3


def test_babble_holds_the_others_and_never_the_clips_own_speaker():
    """Each speaker is a pitch: of four, the three others are heard."""
    waveforms = mixed(spoken(), mixtures(kinds=[BABBLE]))
    babble = waveforms[Condition(BABBLE, 0.0)] - waveforms[Condition()]
    power = np.abs(np.fft.rfft(babble, axis=1)) ** 2
    bands = np.stack([power[:, frequency_hz(i) - 15 : frequency_hz(i) + 16].sum(axis=1) for i in range(4)], axis=1)
    shares = bands / power.sum(axis=1, keepdims=True)
    assert (shares.diagonal() < 0.02).all()
    assert (shares[~np.eye(4, dtype=bool)] > 0.15).all()


def test_babble_without_enough_other_speakers_is_told_before_anything_is_computed():
    made = mixtures(talkers=spoken()[:3])
    with pytest.raises(DataError, match=r"behind mine:anna needs 3 other speakers, got 2.*--babble"):
        made.check(spoken()[:1])
    made.check(spoken()[3:])  # is none of the three
    mixtures(kinds=[STATIONARY], talkers=spoken()[:1]).check(spoken())


def test_rooms_that_test_are_not_those_that_train():
    training, testing = room_bank(3, RATE), room_bank(3, RATE, CONFIG.room_seed)
    assert CONFIG.room_seed != 0
    assert not any(np.allclose(one, other) for one in training for other in testing)


def test_what_is_too_loud_is_turned_down_and_not_clipped():
    loud = recording(tone_word(3, level=0.9), "mine/loud.wav", "anna")
    waveforms = mixed([loud], mixtures(kinds=[STATIONARY]))
    noisy = waveforms[Condition(STATIONARY, 0.0)][0]
    assert np.abs(noisy).max() == pytest.approx(1.0)
    assert np.count_nonzero(np.abs(noisy) > 0.999) == 1


def test_excerpts_hold_the_noise_and_not_the_pause_after_it():
    barked = np.concatenate([hiss()[:RATE], np.zeros(4 * RATE, np.float32)])
    starts = loud_starts(barked, N_SAMPLES, step=400)
    assert starts[0] == 0 and 0.8 * RATE < starts[-1] < RATE
    assert loud_starts(barked[:500], N_SAMPLES, step=400).tolist() == [0]


@pytest.mark.parametrize("waveform", [np.zeros(RATE, np.float32), hiss()[:500]])
def test_a_noise_that_is_none_is_named(waveform):
    with pytest.raises(DataError, match=r"noise/empty.wav is silent or shorter than 100 ms"):
        by_kind([recording(waveform, "noise/empty.wav")])


def test_a_subset_does_not_depend_on_the_order_and_grows_by_adding():
    clips = [recording(hiss()[:10], f"mine/{i}.wav") for i in range(50)]
    names = [{clip.name for clip in subset(clips, n)} for n in (10, 20, 60)]
    assert names[0] < names[1] < names[2] and [len(chosen) for chosen in names] == [10, 20, 50]
    assert {clip.name for clip in subset(clips[::-1], 10)} == names[0]


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    return Recognizer(build_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


def test_perturbations_do_what_their_names_say(recognizer):
    clip = tone_word(5, level=0.3)
    plain = recognizer.window(clip, RATE)
    after = {name: perturb(clip) for name, perturb in perturbations(recognizer, CONFIG).items()}
    np.testing.assert_allclose(after["20 dB louder"], 10 * plain, rtol=1e-5)
    np.testing.assert_allclose(after["20 dB louder, clipped"], np.clip(10 * plain, -1, 1), rtol=1e-5)
    np.testing.assert_allclose(after["20 dB fainter"], plain / 10, rtol=1e-5)
    assert not after["200 ms late"][:1600].any() and not after["200 ms early"][-1600:].any()
    np.testing.assert_array_equal(after["200 ms late"][1600:], plain[:-1600])
    np.testing.assert_array_equal(after["200 ms early"][:-1600], plain[1600:])
    for rate in CONFIG.sample_rates:  # there and back: the same word, but for 16 bits and the filter's edge
        assert np.abs(after[f"{rate} Hz file"] - plain).max() < 0.01 * np.abs(plain).max()


def test_a_word_that_leaves_the_window_is_told_from_one_that_stays():
    windows = np.zeros((3, N_SAMPLES), np.float32)
    windows[0, 3000:5000] = 0.5  # stays, wherever it is moved
    windows[1, 6000:8000] = 0.5  # has 400 of its 2000 samples left when it comes late
    windows[2, :100] = 0.5  # leaves when it comes early
    np.testing.assert_allclose(energy_kept(windows, 1600), [1, 0.2, 1])
    np.testing.assert_allclose(energy_kept(windows, -1600), [1, 1, 0])


def test_points_and_changed_answers_equal_the_hand_computed_ones():
    targets, plain = np.array([0, 1, 2, 3, 4]), np.array([0, 1, 2, 9, 9])
    row = perturbation_row("late", np.array([0, 9, 9, 3, 8]), plain, targets)  # 3 to 2 right; four answers are others
    assert row["points from clean"] == pytest.approx(-20) and row["answers changed %"] == pytest.approx(80)
    assert (row["group"], row["n"], row["n_correct"]) == ("late", 5, 2)


def test_the_note_says_whether_the_model_has_heard_the_noise():
    config = Config()
    assert "without the evaluation half" in training_note(config)
    assert "trained on all noises of folder:noise" in training_note(with_setting(config, "data.noise_part", "all"))
    for setting, value in (("data.noises", ""), ("augment.enabled", False), ("augment.recorded_share", 0.0)):
        silent = with_setting(config, setting, value)
        assert training_note(silent) == "The model trained on no recorded noise."
    assert "not known" in training_note(None)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Tones of four speakers with a manifest, two noises of the half that tests, three rooms, a model with manifest."""
    monkeypatch.setattr(robustness, "RobustnessConfig", partial(RobustnessConfig, n_rooms=3))
    (tmp_path / "words").mkdir()
    with (tmp_path / "words" / "manifest.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("file", "label", "speaker", "source"))
        for digit in LABELS:
            for take, speaker in enumerate(SPEAKERS):  # the same samples would be copies
                write_wav(tmp_path / "words" / f"{digit}_{speaker}.wav", tone_word(digit, level=0.3 - 0.01 * take))
                writer.writerow((f"{digit}_{speaker}.wav", digit, speaker, "tones"))
    (tmp_path / "noise" / "place").mkdir(parents=True)
    write_wav(tmp_path / "noise" / "place" / "bg_pink_noise.wav", hiss())
    write_wav(tmp_path / "noise" / "place" / "bg_running_tap.wav", clicks())
    model = build_tiny_model(tmp_path / "tiny.onnx")
    write_manifest(model, {"config": {**to_dict(Config()), "seed": 7}})
    return tmp_path


def argv_of(data, *further):
    argv = [
        "--model",
        data / "tiny.onnx",
        "--sources",
        f"folder:{data / 'words'}",
        "--noises",
        f"folder:{data / 'noise'}",
    ]
    return [str(word) for word in (*argv, "--plot", data / "grid.png", *further)]


def test_the_command_prints_draws_and_writes_the_grid_and_the_perturbations(data, capsys):
    results = data / "mine.json"
    assert run_main(robustness.main, argv_of(data, "--snr-db", "20", "-25", "--results", results, "--title", "T")) == 0
    printed = capsys.readouterr().out
    stored = json.loads(results.read_text())
    assert json.loads(printed.splitlines()[-1]) == stored
    rows = {row["group"]: row for row in stored["rows"]}
    assert len(rows) == 2 * (1 + 3 * 2) + 8 + 2
    assert rows["200 ms late, whole words"]["n"] == 40  # words of the middle, none leaves
    assert rows["clean, near"]["n_correct"] == rows["clean, near"]["n"] == 40
    assert rows["stationary 20 dB, near"]["n_correct"] == 40
    assert rows["babble -25 dB, near"]["n_correct"] < 10  # other digits, far louder
    assert rows["20 dB fainter"]["answers changed %"] == 0  # the model takes any level
    assert "without the evaluation half" in stored["note"] and "1 stationary of 1 origins" in stored["note"]
    assert stored["seeds"] == [7] and "--snr-db 20 -25" in stored["command"]
    assert (data / "grid.png").read_bytes().startswith(b"\x89PNG")
    shown = render_results(results)
    assert "| answers changed % |" in shown and "| stationary -25 dB, reverberant | 40 |" in shown


def test_a_full_disk_costs_no_figures(data, no_room, capsys):
    assert (
        run_main(robustness.main, argv_of(data, "--snr-db", "20", "--kinds", "stationary", "--plot", no_room[0])) == 2
    )
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"][0]["n"] == 40


def test_kinds_can_be_left_out_and_clips_chosen(data, capsys):
    argv = argv_of(data, "--kinds", "stationary", "--clips", "12", "--snr-db", "5")
    assert run_main(robustness.main, argv) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["group"] for row in result["rows"][:4]] == [
        "clean, near",
        "stationary 5 dB, near",
        "clean, reverberant",
        "stationary 5 dB, reverberant",
    ]
    assert {row["n"] for row in result["rows"]} == {12} and "12 clips" in result["note"]
    assert "Babble" not in result["note"]


@pytest.mark.parametrize(
    ("further", "words"),
    [
        (["--clips", "-1"], "--clips is -1"),
        (["--snr-db", "nan"], "expected one or more finite values"),
        (["--part", "test"], "marked 'test'"),
        (["--kinds", "music"], "invalid choice: 'music'"),
        (["--noises", "folder:NOWHERE"], "--noises: folder NOWHERE does not exist"),
        (["--babble", "folder:NOWHERE"], "NOWHERE does not exist"),
    ],
)
def test_wrong_options_cost_one_line(data, refusal, further, words):
    assert words in refusal(robustness.main, argv_of(data, *further))


def test_noises_that_may_train_do_not_test_unless_they_are_ones_own(data, capsys):
    (data / "noise" / "place" / "bg_running_tap.wav").rename(data / "noise" / "place" / "bg_white_noise.wav")
    assert run_main(robustness.main, argv_of(data, "--snr-db", "5")) == 2
    assert "none that is held out from training is impulsive" in capsys.readouterr().err
    assert run_main(robustness.main, argv_of(data, "--snr-db", "5", "--noise-part", "all")) == 0
    assert run_main(robustness.main, argv_of(data, "--snr-db", "5", "--noise-part", "train")) == 2
    assert "of 2 noises" in capsys.readouterr().err


def held_out_argv(data, part, *further):
    argv = [
        "--model",
        data / "tiny.onnx",
        "--held-out",
        part,
        "--data-dir",
        data,
        "--noises",
        f"folder:{data / 'noise'}",
    ]
    return [str(word) for word in (*argv, "--snr-db", "5", "--plot", data / "grid.png", *further)]


@pytest.mark.parametrize("where", ["manifest", "run folder"])
def test_what_the_training_held_out_is_tested_alone(data, capsys, where):
    kept = {"sources": ["folder:words"], "split": "kfold:2:0", "validation_fraction": 0.25, "labels": list(LABELS)}
    config = to_dict(with_settings(Config(), {"data": kept}))
    manifest = data / "tiny.manifest.json"
    if where == "manifest":
        write_manifest(data / "tiny.onnx", {"config": config})
    else:
        manifest.unlink()
        (data / "config.json").write_text(json.dumps(config))
    argv = held_out_argv(data, "test", "--kinds", "stationary")
    assert run_main(robustness.main, argv) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {row["n"] for row in result["rows"]} == {20}  # two of the four speakers
    known = "Of 20 recordings tested, known by folder and name or by the same samples"
    assert f"{known}, 20 are by speakers who are new to it." in result["note"]
    assert "--held-out test" in result["command"] and "--sources" not in result["command"]


def test_without_sources_it_tests_with_what_the_training_held_out_for_validation():
    assert robustness.parse_args([]).held_out == "validation"
    assert robustness.parse_args(["--sources", "fsdd"]).held_out is None
    assert robustness.command_of(robustness.parse_args([])) == "python -m edgedigit.robustness --held-out validation"


def test_a_model_that_says_nothing_of_its_training_or_kept_nothing_has_no_part_to_test_with(data, refusal):
    kept = {"sources": ["folder:words"], "split": "all", "validation_fraction": 0.0, "labels": list(LABELS)}
    write_manifest(data / "tiny.onnx", {"config": to_dict(with_settings(Config(), {"data": kept}))})
    assert "kept no recordings for validation" in refusal(robustness.main, held_out_argv(data, "validation"))
    (data / "tiny.manifest.json").unlink()
    assert "no manifest that says how it was trained" in refusal(robustness.main, held_out_argv(data, "test"))
    assert "--part is of --sources" in refusal(robustness.main, held_out_argv(data, "test", "--part", "test"))


def test_speakers_that_a_refitted_model_trained_on_are_not_held_out(data, refusal, capsys):
    kept = {"sources": ["folder:words"], "split": "all", "validation_fraction": 0.25, "labels": list(LABELS)}
    for refit in (True, False):
        config = with_settings(Config(), {"data": {**kept, "refit": refit}})
        write_manifest(data / "tiny.onnx", {"config": to_dict(config)})
        argv = held_out_argv(data, "validation", "--kinds", "stationary")
        if refit:
            assert "kept no recordings for validation (data.refit: it trained on" in refusal(robustness.main, argv)
        else:
            assert run_main(robustness.main, argv) == 0
            assert {row["n"] for row in json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]} == {10}


@pytest.fixture
def folds(data):
    """Two models, one for each half of the speakers, and other words by ten people who say nothing else."""
    with (data / "words" / "manifest.csv").open("a", newline="") as handle:
        for i in range(10):
            write_wav(data / "words" / f"other_{i}.wav", tone_word(i % 10, level=0.2))  # nobody's samples but theirs
            csv.writer(handle).writerow((f"other_{i}.wav", "hello", f"talker{i}", "talk"))
    return [fold_model(data, fold, reject_below) for fold, reject_below in enumerate((0.0, 2.0))]


def fold_model(data, fold, reject_below=0.5, **metadata):
    """A model whose manifest says that it was trained on one of the two halves, and its threshold."""
    thresholds = json.dumps({"reject_below": reject_below, "vad": {}})
    kept = {
        "sources": ["folder:words"],
        "split": f"kfold:2:{fold}",
        "fold_sources": ["tones"],
        "validation_fraction": 0.0,
        "labels": [*LABELS, NON_DIGIT],
    }
    (data / f"fold{fold}").mkdir(exist_ok=True)
    model = build_tiny_model(data / f"fold{fold}" / "final-int8.onnx", thresholds=thresholds, **metadata)
    write_manifest(model, {"config": to_dict(with_settings(Config(), {"data": kept}))})
    return model


def folds_argv(data, models, *further):
    argv = ["--model", *models, "--held-out", "test", "--data-dir", data, "--noises", f"folder:{data / 'noise'}"]
    return [str(word) for word in (*argv, "--plot", data / "grid.png", "--snr-db", "-25", *further)]


def result_of(capsys, argv):
    assert run_main(robustness.main, argv) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_each_of_several_models_answers_its_own_part_and_the_answers_are_pooled(data, folds, capsys):
    further = ["--kinds", "stationary", "--how", "make them"]
    both, first, second = (
        result_of(capsys, folds_argv(data, models, *further)) for models in (folds, folds[:1], folds[1:])
    )
    assert [row["group"] for row in both["rows"]] == [row["group"] for row in first["rows"]]
    for pooled, one, other in zip(both["rows"], first["rows"], second["rows"], strict=True):
        for count in ("n", "n_correct"):
            assert pooled[count] == one[count] + other[count]
    clean, noisy = both["rows"][:2]
    assert clean["n"] == 40 and noisy["n_correct"] < 20
    assert (clean["answered rightly %"], clean["answered wrongly %"]) == (50, 0)  # the second rejects all
    assert first["rows"][0]["answered rightly %"] == 100 and second["rows"][0]["answered rightly %"] == 0
    assert both["note"].startswith(
        "Of 40 recordings tested, each with one of 2 models, known by folder and name or by the same samples, 40 are "
        "by speakers who are new to it."
    )
    assert "Each model trained on folder:noise without the evaluation half" in both["note"]
    command = f"make them && python -m edgedigit.robustness --model {folds[0]} {folds[1]} --held-out test"
    assert both["command"].startswith(command)


def test_models_whose_trainings_differ_are_told_apart(data, folds, capsys):
    stored = json.loads((folds[1].parent / "final-int8.manifest.json").read_text())["config"]
    config = {**stored, "seed": 5, "data": {**stored["data"], "noise_part": "all"}}
    write_manifest(folds[1], {"config": config})
    result = result_of(capsys, folds_argv(data, folds, "--kinds", "stationary", "--clips", "3"))
    assert result["seeds"] == [0, 5]
    assert f"The model {folds[0]} trained on folder:noise without the evaluation half" in result["note"]
    assert f"The model {folds[1]} trained on all noises" in result["note"]
    assert "3 clips of each model's test part" in result["note"] and result["rows"][0]["n"] == 6


def test_what_cannot_be_pooled_costs_one_line(data, folds, refusal):
    argv = folds_argv(data, folds, "--kinds", "stationary")
    assert "2 models for the same --sources" in refusal(
        robustness.main, ["--model", *folds, "--sources", f"folder:{data / 'words'}"]
    )
    again = fold_model(data, 2)
    write_manifest(again, {"config": json.loads((folds[0].parent / "final-int8.manifest.json").read_text())["config"]})
    line = refusal(robustness.main, folds_argv(data, [*folds, again], "--kinds", "stationary"))
    assert f"is in the parts of both {folds[0]} and {again}" in line
    fold_model(data, 1, labels=json.dumps(LABELS[::-1]))
    assert f"{folds[1]} and {folds[0]} differ in labels" in refusal(robustness.main, argv)


def test_babble_can_be_of_other_words_by_people_whom_the_training_never_heard(data, folds, capsys, refusal):
    for fold in folds:
        voices = held_out_voices(fold, "test", data)
        assert {voice.label for voice in voices} == {NON_DIGIT} and len({voice.speaker for voice in voices}) == 4
        assert not {voice.speaker for voice in voices} & heard_by(fold, data).speakers
    argv = folds_argv(data, folds, "--babble", "other-words")
    result = result_of(capsys, argv)
    assert "babble -25 dB, near" in {row["group"] for row in result["rows"]}
    told = "Babble: 3 to 8 speakers of other words in each model's test part, none of whom trained it, never the clip's"
    assert told in result["note"]
    assert "--babble other-words" in result["command"]
    with pytest.raises(DataError, match="kept no other words by strangers for validation"):
        held_out_voices(folds[0], "validation", data)
    for wrong in (["--sources", "fsdd"], ["--babble", "other-words", "fsdd"]):
        assert "--babble other-words is of --held-out" in refusal(robustness.main, ["--babble", "other-words", *wrong])


def test_other_words_of_a_corpus_that_divides_its_speakers_are_no_strange_voices(data):
    with (data / "words" / "manifest.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("file", "label", "speaker", "source", "split"))
        for digit in LABELS:
            for speaker, split in (("anna", "train"), ("ben", "test")):
                writer.writerow((f"{digit}_{speaker}.wav", digit, speaker, "tones", split))
        for speaker, split in (("anna", "train"), ("anna", "test"), ("ben", "test")):
            word = tone_word(0)
            write_wav(data / "words" / f"{speaker}_{split}.wav", word)
            writer.writerow((f"{speaker}_{split}.wav", "hello", speaker, "tones", split))
    kept = {
        "sources": ["folder:words"],
        "split": "official",
        "validation_fraction": 0.0,
        "labels": [*LABELS, NON_DIGIT],
    }
    write_manifest(data / "tiny.onnx", {"config": to_dict(with_settings(Config(), {"data": kept}))})
    assert [voice.name for voice in held_out_voices(data / "tiny.onnx", "test", data)] == ["words/ben_test.wav"]


def test_babble_without_voices_is_left_out_and_said_unless_it_was_asked_for(data, capsys, refusal):
    for digit in LABELS[:3]:
        (data / "nobody" / digit).mkdir(parents=True)
        write_wav(data / "nobody" / digit / "a.wav", tone_word(digit))
    argv = [word.replace(str(data / "words"), str(data / "nobody")) for word in argv_of(data, "--snr-db", "5")]
    assert run_main(robustness.main, argv) == 0
    *printed, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    told = "Left out: babble behind nobody:unknown needs 3 other speakers, got 0; --babble names others."
    assert f"  {told}" in printed and told in result["note"]
    assert {row["group"].split()[0] for row in result["rows"][:6]} == {"clean,", "stationary", "impulsive"}
    assert "--kinds" not in result["command"]
    assert "Left out" not in result_of(capsys, [*argv, "--kinds", "stationary"])["note"]
    for asked in (["--kinds", "stationary", "babble"], ["--babble", f"folder:{data / 'nobody'}"]):
        assert "needs 3 other speakers, got 0; name recordings of more" in refusal(robustness.main, [*argv, *asked])


def test_impossible_ratios_are_refused():
    with pytest.raises(ConfigError, match="snr_db"):
        RobustnessConfig(snr_db=())
