"""EMG recordings: every layout becomes the same view, and what cannot be used says why."""

import csv
from collections import Counter

import numpy as np
import pytest

from edgedigit.config import AugmentConfig, EmgAugmentConfig, load_config
from edgedigit.data import load_recordings
from edgedigit.data.dataset import TrainingBatches, as_arrays
from edgedigit.data.emg_augment import EmgAugmenter, shift
from edgedigit.data.recording import Recording
from edgedigit.data.splits import is_speaker_disjoint, make_split
from edgedigit.emg import check_emg, fit_window, read_emg
from edgedigit.errors import ConfigError, DataError, EmgError
from edgedigit.spec import Signal

SIGNAL = Signal("emg", sample_rate=1000, n_samples=200, n_channels=3)
HEADER = ("file", "label", "study", "session", "rate_hz", "samples", "licence")


def trial(n=220, channels=3, seed=0):
    return np.random.default_rng(seed).normal(1900, 40, (n, channels)).astype(np.int16)


def write(path, samples=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = trial() if samples is None else samples
    if path.suffix == ".npy":
        np.save(path, samples)
    else:
        np.savetxt(path, samples, delimiter=",")
    return path


def write_manifest(folder, rows, header=HEADER):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([header, *rows])


def row(file, label="UP", study="one", session="s1", rate=1000, samples=220):
    return (file, label, study, session, rate, samples, "CC0")


def load(path, labels=None, signal=SIGNAL, root="."):
    return load_recordings([f"emg:{path}"], root, labels=labels, signal=signal)


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_a_file_of_time_and_channels_becomes_channels_and_time(tmp_path, suffix):
    samples = trial()
    emg = read_emg(write(tmp_path / f"a{suffix}", samples))
    assert emg.dtype == np.float32
    np.testing.assert_array_equal(emg, samples.T)


def test_a_csv_may_name_its_columns_and_its_time_is_no_channel(tmp_path):
    (tmp_path / "a.csv").write_text("Timestamp,chin,throat\n0,1,2\n4,3,4\n8,5.5,6\n")
    np.testing.assert_array_equal(read_emg(tmp_path / "a.csv"), [[1, 3, 5.5], [2, 4, 6]])


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "time_s", "Time (s)", "t [ms]", "seconds", "Sample", "TIME_MS"])
def test_neither_time_with_a_unit_nor_an_index_without_a_name_is_a_channel(tmp_path, name):
    (tmp_path / "a.csv").write_text(f"{name},chin,throat\n0,1,2\n4,3,4\n8,5.5,6\n")
    np.testing.assert_array_equal(read_emg(tmp_path / "a.csv"), [[1, 3, 5.5], [2, 4, 6]])


def test_columns_that_are_counted_are_no_sample(tmp_path):
    (tmp_path / "a.csv").write_text("0,1\n5.5,6.5\n7,8\n9,1\n")
    np.testing.assert_array_equal(read_emg(tmp_path / "a.csv"), [[5.5, 7, 9], [6.5, 8, 1]])
    (tmp_path / "b.csv").write_text("0\n5\n6\n")
    np.testing.assert_array_equal(read_emg(tmp_path / "b.csv"), [[0, 5, 6]])


@pytest.mark.parametrize("name", ["tongue", "times", "t1", "index finger"])
def test_a_column_that_only_begins_like_time_is_a_channel(tmp_path, name):
    (tmp_path / "a.csv").write_text(f"{name},throat\n0,1\n4,3\n")
    np.testing.assert_array_equal(read_emg(tmp_path / "a.csv"), [[0, 4], [1, 3]])


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.csv", "1,2\n3,x\n5,6\n", "cannot be read as numbers"),
        ("a.csv", "1,2\n3\n5,6\n", "row 2 has 1 values, the first line has 2"),
        ("a.csv", "chin,throat\n1\n2\n3\n", "row 1 has 1 values, the first line has 2"),
        ("a.csv", "", "no samples"),
        ("a.csv", "1,2\n3,nan\n5,6\n", "NaN or infinite"),
        ("a.csv", "1,2\n3,-3e38\n5,6\n", r"up to 3e\+38, expected microvolts"),
        ("a.csv", "1,2,3\n4,5,6\n", "more channels than samples"),
        ("a.npy", "not an array", "cannot be read"),
        ("a.npy", "PK\x03\x04 and no archive", "cannot be read"),
        ("a.csv", "1," + "2" * 200_000 + "\n", "cannot be read as numbers"),
        ("a.wav", "RIFF", "expected .npy or .csv"),
    ],
)
def test_a_file_that_is_no_recording_says_why_in_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(EmgError, match=words) as raised:
        read_emg(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_arrays_that_are_no_recordings_are_refused(tmp_path):
    with pytest.raises(EmgError, match="no such file"):
        read_emg(tmp_path / "none.npy")
    for wrong in (np.zeros((2, 3, 4)), np.array([["a"], ["b"]]), np.zeros((5, 2), complex)):
        with pytest.raises(EmgError, match="expected numbers"):
            check_emg(wrong)
    write(tmp_path / "objects.npy", np.array([{}, {}], dtype=object))
    with pytest.raises(EmgError, match="cannot be read"):  # never unpickled
        read_emg(tmp_path / "objects.npy")


def test_a_manifest_gives_label_study_session_and_length(tmp_path):
    write(tmp_path / "d/x/1.npy")
    write(tmp_path / "d/y/2.csv")
    write_manifest(tmp_path / "d", [row("x/1.npy", "UP"), row("y/2.csv", "DOWN", "two", "s2")])
    first, second = load(tmp_path / "d")
    assert (first.label, first.source, first.session, first.speaker) == ("UP", "one", "one/s1", "d:unknown")
    assert (second.label, second.source, second.session, second.sample_rate) == ("DOWN", "two", "two/s2", 1000)
    assert first.waveform.shape == (3, 220)
    assert [r.label for r in load(tmp_path / "d", labels=["DOWN"])] == ["DOWN"]


def test_columns_may_have_other_names_and_a_split(tmp_path):
    write(tmp_path / "1.npy")
    write_manifest(
        tmp_path,
        [("1.npy", "UP", "ann", "mine", "1000", "val")],
        ("file", "label", "subject", "source", "sample_rate", "split"),
    )
    (only,) = load(tmp_path)
    assert (only.speaker, only.source, only.split) == (f"{tmp_path.name}:ann", "mine", "validation")


def test_a_folder_below_a_manifest_holds_the_rows_below_it(tmp_path):
    for file in ("one/p1/1.npy", "one/p2/2.npy", "two/3.npy"):
        write(tmp_path / "d" / file)
    write_manifest(tmp_path / "d", [row("one/p1/1.npy"), row("one/p2/2.npy"), row("two/3.npy")])
    assert [r.name for r in load("d/one", root=tmp_path)] == ["d/one/p1/1.npy", "d/one/p2/2.npy"]


def test_sub_folders_are_labels_with_or_without_parts(tmp_path):
    for name in ("plain/UP/1.npy", "plain/DOWN/2.csv", "parts/train/UP/1.npy", "parts/val/UP/1.npy"):
        write(tmp_path / name)
    write(tmp_path / "parts/test/DOWN/3.npy")
    assert [(r.label, r.split) for r in load(tmp_path / "plain")] == [("DOWN", ""), ("UP", "")]
    parts = load(tmp_path / "parts")
    assert Counter((r.label, r.split) for r in parts) == {
        ("DOWN", "test"): 1,
        ("UP", "train"): 1,
        ("UP", "validation"): 1,
    }
    split = make_split(parts, "official", 0.2, 0)
    assert (split.train.size, split.validation.size, split.test.size) == (1, 1, 1)


@pytest.mark.parametrize(
    "rows, words",
    [
        ([row("1.npy", rate=1000), row("2.npy", rate=250)], "mixes rates .1 at 250 Hz, 1 at 1000 Hz."),
        ([row("1.npy", rate=250)], "is at 250 Hz, the signal at 1000 Hz; set data.signal.sample_rate"),
        ([row("1.npy", rate="fast")], "line 2: rate_hz is 'fast'"),
        ([row("1.npy", samples=219)], "holds 220 samples, its manifest says 219"),
        ([row("1.npy"), row("1.npy", "DOWN")], "lists .*1.npy 2 times"),
        ([row("9.npy")], "9.npy does not exist"),
        ([row("1.npy", "")], "label is empty"),
        ([row("1.npy"), row("two.npy")], "mixes channels .1 of 2 channels, 1 of 3 channels."),
        ([row("two.npy")], "is of 2 channels, the signal of 3 channels; set data.signal.n_channels"),
        ([row("volts.npy")], "volts. expected microvolts"),
        ([], "no rows"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, rows, words):
    write(tmp_path / "1.npy")
    write(tmp_path / "2.npy")
    write(tmp_path / "two.npy", trial(channels=2))
    write(tmp_path / "volts.npy", trial() * 1e-6)
    write_manifest(tmp_path, rows)
    with pytest.raises(DataError, match=words) as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)


def test_missing_columns_and_missing_folders_are_named(tmp_path):
    write_manifest(tmp_path / "d", [("1.npy",)], ("file",))
    with pytest.raises(DataError, match="lacks the columns label"):
        load(tmp_path / "d")
    (tmp_path / "d" / "manifest.csv").write_bytes("file,label\n1.npy,grün\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8 text"):
        load(tmp_path / "d")
    (tmp_path / "d" / "manifest.csv").write_text('file,label\n"' + "1.npy,fist\n" * 20_000)
    with pytest.raises(DataError, match=r"is not CSV \(field larger"):
        load(tmp_path / "d")
    (tmp_path / "d" / "manifest.csv").write_text("file;label\n1.npy;yes\n")
    with pytest.raises(DataError, match="it has file;label in one column: separate them by commas"):
        load(tmp_path / "d")
    with pytest.raises(DataError, match="none does not exist"):
        load(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither manifest\.csv nor label/"):
        load(tmp_path / "empty")


def test_sound_and_emg_do_not_mix(tmp_path):
    with pytest.raises(ConfigError, match=r"source fsdd holds audio, the signal is emg"):
        load_recordings(["fsdd"], tmp_path, signal=SIGNAL)
    with pytest.raises(ConfigError, match=r"source emg:x holds EMG, the signal is audio"):
        load_recordings(["emg:x"], tmp_path)
    with pytest.raises(ConfigError, match=r"'emg_simulated:x' is unknown"):
        load_recordings(["emg_simulated:x"], tmp_path, labels=["UP"], signal=SIGNAL)


def test_the_published_recordings_are_all_there(data_dir):
    signal = Signal("emg", 250, 256, 2)
    recordings = load_recordings(["emg:emg/studyB_5phase"], data_dir, labels=None, signal=signal)
    assert len(recordings) == 1500
    assert {r.source for r in recordings} == {"studyB_5phase"}
    assert set(Counter(r.label for r in recordings).values()) == {250}
    assert len({r.session for r in recordings}) == 5


def test_a_short_recording_is_continued_and_a_long_one_cut_to_where_it_moves():
    short = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(fit_window(short, 6), [[1, 1, 2, 3, 3, 3]])
    long = np.full((2, 100), 1900.0)
    long[:, 60:80] += 30 * np.sin(np.arange(20))
    window = fit_window(long, 30)
    assert window.shape == (2, 30)
    assert np.ptp(window) == np.ptp(long)
    assert fit_window(long, 100) is not None and fit_window(long, 100).shape == (2, 100)


def test_recordings_become_arrays_with_their_channels():
    recordings = [Recording(np.full((3, n), 5.0, np.float32), 1000, "UP", "a", "one", str(n)) for n in (150, 200, 260)]
    waveforms, targets = as_arrays(recordings, ["DOWN", "UP"], 200)
    assert waveforms.shape == (3, 3, 200)
    assert (waveforms == 5).all() and targets.tolist() == [1, 1, 1]


def people():
    """Two speakers, each with three sessions of five recordings of two labels."""
    silence = np.zeros((1, 10), np.float32)
    return [
        Recording(silence, 1000, label, f"one:{who}", "one", f"{who}{day}{label}{i}", session=f"one/{who}{day}")
        for who in "ab"
        for day in range(3)
        for label in ("UP", "DOWN")
        for i in range(5)
    ]


def test_folds_by_recording_are_even_by_label_and_share_speakers():
    recordings = people()
    tested = Counter()
    for fold in range(5):
        split = make_split(recordings, f"kfold:5:{fold}", 0.0, 0, fold_by="recording")
        assert Counter(recordings[i].label for i in split.test) == {"UP": 6, "DOWN": 6}
        assert {recordings[i].speaker for i in split.test} == {"one:a", "one:b"}
        tested.update(split.test.tolist())
    assert tested == Counter(range(60))
    assert not is_speaker_disjoint("kfold:5:0", "recording") and is_speaker_disjoint("kfold:5:0")


def test_folds_by_session_keep_sessions_whole():
    recordings = people()
    for fold in range(3):
        split = make_split(recordings, f"kfold:3:{fold}", 0.2, 0, fold_by="session")
        sessions = [{recordings[i].session for i in part} for part in (split.train, split.validation, split.test)]
        assert len(sessions[2]) == 2 and not sessions[2] & (sessions[0] | sessions[1])


def test_folds_by_what_is_unknown_are_refused():
    nameless = [Recording(r.waveform, 1000, r.label, r.speaker, r.source, r.name) for r in people()]
    with pytest.raises(DataError, match="have no session"):
        make_split(nameless, "kfold:3:0", 0.0, 0, fold_by="session")
    with pytest.raises(DataError, match="7 folds need as many sessions, got 6"):
        make_split(people(), "kfold:7:0", 0.0, 0, fold_by="session")
    with pytest.raises(ConfigError, match="fold_by is 'day', expected one of speaker"):
        load_config(None, ["data.fold_by=day"])


GENTLE = EmgAugmentConfig(gain_db=0.0, shift_ms=0.0, snr_db=(200.0, 200.0), channel_dropout=0.0)


def augment(config, n=40, **kwargs):
    rng = np.random.default_rng(0)
    recordings = [trial(200, seed=i).T.astype(np.float32) for i in range(n)]
    return np.stack(recordings), EmgAugmenter(config, 200, 1000, **kwargs)(recordings, rng)


def test_each_augmentation_does_what_it_says_and_nothing_else():
    before, after = augment(GENTLE)
    np.testing.assert_allclose(after, before, atol=1e-3)
    before, after = augment(EmgAugmentConfig(), enabled=False)
    np.testing.assert_array_equal(after, before)

    before, after = augment(EmgAugmentConfig(6.0, 0.0, (200.0, 200.0), 0.0))
    gain_db = 20 * np.log10(after.std(axis=2) / before.std(axis=2))
    assert -6.01 < gain_db.min() < -5 and 5 < gain_db.max() < 6.01
    np.testing.assert_allclose(after[:, :, 0], before[:, :, 0])  # the voltage at rest stays

    _, after = augment(EmgAugmentConfig(0.0, 0.0, (200.0, 200.0), 1.0))
    assert ((after.std(axis=2) == 0).sum(axis=1) == 1).all()  # one electrode of each

    before, after = augment(EmgAugmentConfig(0.0, 0.0, (0.0, 0.0), 0.0))
    noise = (after - before).std(axis=2) / np.diff(before).std(axis=2)
    assert noise.mean() == pytest.approx(1.0, rel=0.05)

    before, after = augment(EmgAugmentConfig(0.0, 40.0, (200.0, 200.0), 0.0))
    moved = [
        np.argmax([np.allclose(shift(b, n), a, atol=1e-2) for n in range(-40, 41)]) - 40
        for b, a in zip(before, after, strict=True)
    ]
    assert min(moved) < -20 and max(moved) > 20


def test_no_augmentation_of_audio_touches_emg():
    """Mixup and everything else at full strength: targets stay one-hot and nothing is clipped to [-1, 1]."""
    loud = AugmentConfig(mixup_probability=1.0)
    recordings = [
        Recording(trial(200, seed=i).T.astype(np.float32), 1000, "UD"[i % 2], "a", "x", str(i)) for i in range(8)
    ]
    batches = TrainingBatches(recordings, "UD", loud, 200, 1000, 8, augmenter=EmgAugmenter(GENTLE, 200, 1000))
    (batch,) = batches.epoch(0)
    assert batch.waveforms.shape == (8, 3, 200) and batch.waveforms.min() > 1000
    assert set(np.unique(batch.targets)) == {0.0, 1.0}
    for window, target in zip(batch.waveforms, batch.targets, strict=True):
        matches = [
            np.allclose(window, r.waveform, atol=1e-2) and "UD"[int(target.argmax())] == r.label for r in recordings
        ]
        assert sum(matches) == 1


@pytest.mark.parametrize(
    "setting, words",
    [
        ("data.signal.kind=eeg", "signal kind 'eeg' is unknown"),
        ("data.signal.n_channels=2", "audio has one channel"),
        ("data.signal={kind: emg, sample_rate: 0}", "sample_rate is 0"),
        ("emg_augment.channel_dropout=2", "channel_dropout is 2"),
        ("emg_augment.snr_db=[3, 1]", "snr_db is"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, words):
    with pytest.raises(ConfigError, match=words):
        load_config(None, [setting])
