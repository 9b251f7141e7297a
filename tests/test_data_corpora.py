"""Every corpus, in its own layout, becomes the same view of a recording."""

import csv
from collections import Counter

import numpy as np
import pytest
import soundfile

from edgedigit.data import SOURCES, audiomnist, load_recordings, speech_commands
from edgedigit.data.download import find_data_dir
from edgedigit.errors import AudioError, ConfigError, DataError
from edgedigit.labels import DIGITS, NON_DIGIT


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setattr("edgedigit.data.download.cache_dir", lambda: tmp_path / "cache")


def write_tone(path, sample_rate=8000, duration_s=0.5, frequency_hz=440.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(duration_s * sample_rate)) / sample_rate
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * frequency_hz * times), sample_rate)


def write_manifest(folder, rows, columns=("file", "label", "speaker", "source")):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([columns, *rows])


def load(source, data_dir, **options):
    return load_recordings([source], data_dir, download=False, **options)


def test_fsdd_holds_3000_recordings_of_six_speakers_and_300_of_them_are_test(data_dir):
    recordings = load("fsdd", data_dir)
    assert len(recordings) == 3000
    assert Counter(recording.speaker for recording in recordings) == dict.fromkeys(
        [f"fsdd:{name}" for name in ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")], 500
    )
    tests = [recording for recording in recordings if recording.split == "test"]
    assert len(tests) == 300
    assert {int(recording.name.split("_")[-1].removesuffix(".wav")) for recording in tests} == set(range(5))
    assert recordings[0].name == "fsdd/0_george_0.wav"
    assert all(recording.waveform.dtype == np.float32 and recording.sample_rate == 8000 for recording in recordings)
    assert all(0 < np.abs(recording.waveform).max() <= 1 for recording in recordings)


def test_a_folder_with_a_manifest_holds_every_row_of_it(data_dir):
    recordings = load("folder:digits", data_dir)
    with (data_dir / "digits" / "manifest.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(r.label, r.speaker, r.source) for r in recordings] == [
        (row["label"], row["speaker"], row["source"]) for row in rows
    ]
    durations = np.array([recording.waveform.size / 8000 for recording in recordings])
    assert np.abs(durations - [float(row["duration_s"]) for row in rows]).max() < 0.002


def test_audiomnist_is_resampled_and_named_by_speaker(tmp_path):
    for speaker in ("01", "60"):
        for index in (2, 10):
            write_tone(tmp_path / f"audiomnist/data/{speaker}/7_{speaker}_{index}.wav", 48000)
    recordings = load("audiomnist", tmp_path)
    assert [recording.name for recording in recordings] == [
        f"audiomnist/{speaker}/7_{speaker}_{index}.wav" for speaker in ("01", "60") for index in (2, 10)
    ]
    assert {recording.speaker for recording in recordings} == {"audiomnist:01", "audiomnist:60"}
    assert recordings[0].label == "7"
    assert recordings[0].sample_rate == 8000
    assert recordings[0].waveform.size == 4000
    spectrum = np.abs(np.fft.rfft(recordings[0].waveform))
    assert np.argmax(spectrum) * 8000 / 4000 == 440


def test_audiomnist_folds_cover_all_60_speakers_once():
    numbers = [number for fold in audiomnist.TEST_SPEAKERS for number in fold]
    assert sorted(numbers) == list(range(1, 61))
    assert {len(fold) for fold in audiomnist.TEST_SPEAKERS} == {12}


@pytest.fixture
def speech_commands_dir(tmp_path):
    root = tmp_path / "speech_commands"
    for name in ("seven/aaaa_nohash_0", "seven/bbbb_nohash_0", "zero/bbbb_nohash_1", "bird/cccc_nohash_0"):
        write_tone(root / f"{name}.wav", 16000)
    write_tone(root / "_background_noise_" / "pink_nohash_0.wav", 16000)
    return root


def test_speech_commands_follows_its_lists(speech_commands_dir):
    (speech_commands_dir / "testing_list.txt").write_text("seven/aaaa_nohash_0.wav\n")
    (speech_commands_dir / "validation_list.txt").write_text("bird/cccc_nohash_0.wav\n")
    recordings = load("speech_commands", speech_commands_dir.parent, labels=None)
    assert {(r.label, r.speaker, r.split) for r in recordings} == {
        ("7", "speechcmd:aaaa", "test"),
        ("7", "speechcmd:bbbb", "train"),
        ("0", "speechcmd:bbbb", "train"),
        ("bird", "speechcmd:cccc", "validation"),
    }
    assert [recording.label for recording in load("speech_commands", speech_commands_dir.parent)] == ["7", "7", "0"]


def test_other_words_are_non_digits_where_that_is_a_label(speech_commands_dir):
    recordings = load("speech_commands", speech_commands_dir.parent, labels=(*DIGITS, NON_DIGIT))
    assert Counter(recording.label for recording in recordings) == {"7": 2, "0": 1, NON_DIGIT: 1}


def test_speech_commands_falls_back_to_its_hash_rule_where_a_list_is_missing(speech_commands_dir):
    (speech_commands_dir / "testing_list.txt").write_text("seven/aaaa_nohash_0.wav\n")
    for recording in load("speech_commands", speech_commands_dir.parent, labels=None):
        assert recording.split == speech_commands.hash_split(recording.speaker.partition(":")[2])


def test_the_hash_rule_never_puts_known_training_and_validation_speakers_into_test(data_dir):
    """The folder holds real speakers that the corpus' own lists do not count as test speakers."""
    with (data_dir / "digits" / "manifest.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["source"] == "speechcmd"]
    speakers = {row["speaker"].partition(":")[2] for row in rows}
    splits = Counter(speech_commands.hash_split(speaker) for speaker in speakers)
    assert splits["test"] == 0
    assert splits["train"] > splits["validation"] > 0


def test_sub_folders_are_labels_and_words_of_digits_become_digits(tmp_path):
    for name in ("seven/a.wav", "3/b.flac", "bird/c.wav", "seven/notes.txt", "seven/._a.wav", ".git/d.wav"):
        path = tmp_path / "mine" / name
        if path.suffix == ".txt" or path.name[0] == ".":
            path.write_text("not audio")
        else:
            write_tone(path)
    recordings = load("folder:mine", tmp_path, labels=None)
    assert {(recording.label, recording.speaker) for recording in recordings} == {
        ("7", "mine:unknown"),
        ("3", "mine:unknown"),
        ("bird", "mine:unknown"),
    }
    assert len(load(f"folder:{tmp_path / 'mine'}", tmp_path)) == 2


def test_a_manifest_makes_speakers_unique_and_keeps_its_split(tmp_path):
    write_tone(tmp_path / "mine" / "a.flac")
    columns = ("file", "label", "speaker", "source", "split")
    write_manifest(tmp_path / "mine", [["a.flac", "four", "ann", "home", "val"]] * 2, columns)
    (recording,) = load("folder:mine", tmp_path)
    assert (recording.label, recording.speaker, recording.source) == ("4", "home:ann", "home")
    assert (recording.name, recording.split) == ("mine/a.flac", "validation")


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([["a.wav", "1"]], ("file", "label"), "lacks the columns speaker, source"),
        ([["gone.wav", "1", "ann", "home"]], ("file", "label", "speaker", "source"), "line 2.*gone.wav does not exist"),
        ([["a.wav", "", "ann", "home"]], ("file", "label", "speaker", "source"), "line 2: label is empty"),
        ([["a.wav", "1", "ann", "home", "x"]], ("file", "label", "speaker", "source", "split"), "split 'x' is unknown"),
        ([], ("file", "label", "speaker", "source"), "has no rows"),
        ([["a.wav", d, "ann", "home"] for d in "12"], ("file", "label", "speaker", "source"), "2 different ways"),
    ],
)
def test_a_manifest_that_is_wrong_says_where(tmp_path, rows, columns, message):
    write_tone(tmp_path / "mine" / "a.wav")
    write_manifest(tmp_path / "mine", rows, columns)
    with pytest.raises(DataError, match=message):
        load("folder:mine", tmp_path)


def test_a_quote_that_is_never_closed_says_where(tmp_path):
    write_tone(tmp_path / "mine" / "a.wav")
    write_manifest(tmp_path / "mine", [["a.wav", "1", "ann", "home"]])
    with (tmp_path / "mine" / "manifest.csv").open("a") as handle:
        handle.write('"' + "a.wav,1,ann,home\n" * 10_000)  # longer than any field may be
    with pytest.raises(DataError, match=r"manifest\.csv, up to line \d+: it is not CSV \(field larger"):
        load("folder:mine", tmp_path)


def test_a_file_that_is_not_audio_is_named(tmp_path):
    (tmp_path / "mine" / "1").mkdir(parents=True)
    (tmp_path / "mine" / "1" / "bad.wav").write_text("not audio at all")
    with pytest.raises(AudioError, match=r"bad\.wav"):
        load("folder:mine", tmp_path)


@pytest.mark.parametrize("source", ["fsdd", "audiomnist", "speech_commands"])
def test_a_missing_corpus_says_in_one_line_where_to_put_it(tmp_path, source):
    with pytest.raises(DataError) as caught:
        load(source, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / source) in message
    assert "http" in message


@pytest.mark.parametrize("source", ["fsd", "fsdd:x", "folder", "folder:", ""])
def test_an_unknown_source_names_the_choices(tmp_path, source):
    with pytest.raises(ConfigError, match=", ".join(SOURCES)):
        load(source, tmp_path)


def test_empty_folders_missing_folders_and_repeated_sources_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    write_tone(tmp_path / "mine" / "1" / "a.wav")
    with pytest.raises(DataError, match="neither"):
        load("folder:empty", tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        load("folder:nowhere", tmp_path)
    with pytest.raises(DataError, match="came 2 times"):
        load_recordings(["folder:mine", "folder:mine"], tmp_path)
    with pytest.raises(DataError, match="holds no recording of 5"):
        load("folder:mine", tmp_path, labels=("5",))


def test_the_data_directory_is_the_argument_then_the_environment_then_the_cache(tmp_path, monkeypatch):
    for name in ("argument", "environment"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("EDGEDIGIT_DATA", str(tmp_path / "environment"))
    assert find_data_dir(tmp_path / "argument") == tmp_path / "argument"
    assert find_data_dir() == tmp_path / "environment"
    monkeypatch.setenv("EDGEDIGIT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="EDGEDIGIT_DATA"):
        find_data_dir()
    monkeypatch.delenv("EDGEDIGIT_DATA")
    assert find_data_dir() == tmp_path / "cache"
