"""No recording crosses a split, and no speaker where the split says so."""

from collections import Counter

import numpy as np
import pytest

from edgedigit.data import load_recordings
from edgedigit.data.recording import Recording
from edgedigit.data.splits import Split, check_disjoint, cut_validation, is_speaker_disjoint, make_split, speaker_kfold
from edgedigit.errors import ConfigError, DataError
from edgedigit.labels import DIGITS

SILENCE = np.zeros(80, dtype=np.float32)


def make(source, speakers, n_per_digit=5, prefix=None, split=lambda index: ""):
    """Recordings of every digit by every speaker, `n_per_digit` each."""
    return [
        Recording(
            SILENCE,
            8000,
            digit,
            f"{prefix or source}:{speaker}",
            source,
            f"{source}/{digit}_{speaker}_{index}",
            split(index),
        )
        for speaker in speakers
        for digit in DIGITS
        for index in range(n_per_digit)
    ]


@pytest.fixture(scope="module")
def recordings():
    """Six corpora: FSDD, AudioMNIST, Speech Commands with lists, a pair of speakers, a single one, and synth."""
    thirds = ("train", "validation", "test")
    return [
        *make("fsdd", ["george", "jackson", "lucas", "theo"], 8, split=lambda i: "test" if i < 5 else "train"),
        *make("audiomnist", [f"{number:02d}" for number in range(1, 61)], 1),
        *(
            recording
            for number, name in enumerate(f"{i:04x}" for i in range(30))
            for recording in make("speech_commands", [name], 1, "speechcmd", lambda _, n=number: thirds[n % 3])
        ),
        *make("pair", ["ann", "bob"]),
        *make("alone", ["eve"]),
        *make("synth", ["en+f1", "en+m1", "en+m2"]),
    ]


def pick(recordings, *sources):
    return [recording for recording in recordings if recording.source in sources]


def speakers(recordings, part):
    return {recordings[index].speaker for index in part}


def sources(recordings, part):
    return {recordings[index].source for index in part}


SCHEMES = [
    "fsdd_official",
    "loso:george",
    "loso:pair:ann",
    "kfold:5:0",
    "kfold:5:4",
    "kfold:2:1",
    "audiomnist:0",
    "audiomnist:4",
    "official",
    "all",
]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_crosses_and_nothing_is_in_two_parts(recordings, scheme, seed):
    split = make_split(recordings, scheme, 0.2, seed)
    parts = [split.train, split.validation, split.test]
    together = np.concatenate(parts)
    assert np.unique(together).size == together.size
    assert all(part.size and np.issubdtype(part.dtype, np.integer) for part in parts)
    train, validation, test = (speakers(recordings, part) for part in parts)
    if is_speaker_disjoint(scheme):
        assert not train & test
        assert not validation & test
    if scheme != "official":
        assert not train & validation
    assert "synth" not in sources(recordings, split.validation) | sources(recordings, split.test)
    assert "synth" in sources(recordings, split.train)


@pytest.mark.parametrize("scheme", ["fsdd_official", "kfold:3:0", "kfold:3:1", "kfold:3:2", "official", "all", "auto"])
def test_fsdd_test_recordings_never_train(recordings, scheme):
    split = make_split(recordings, scheme, 0.2, 0)
    for part in (split.train, split.validation):
        assert not any(recordings[i].source == "fsdd" and recordings[i].split == "test" for i in part)


def test_auto_is_what_the_corpora_mark_or_else_everything(recordings):
    def parts(scheme, among):
        split = make_split(among, scheme, 0.2, 0)
        return [part.tolist() for part in (split.train, split.validation, split.test)]

    unmarked = [recording for recording in recordings if not recording.split]
    assert parts("auto", recordings) == parts("official", recordings)
    assert parts("auto", unmarked) == parts("all", unmarked)
    with pytest.raises(DataError, match="official validation or test set"):
        make_split(unmarked, "official", 0.2, 0)


def test_a_split_is_the_same_for_the_same_seed_and_another_for_another(recordings):
    first, again, other = (make_split(recordings, "kfold:5:0", 0.2, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.train, again.train)
    assert np.array_equal(first.validation, again.validation)
    assert not np.array_equal(first.test, other.test)


def test_fsdd_official_tests_recordings_0_to_4_of_every_speaker(data_dir):
    recordings = load_recordings(["fsdd"], data_dir, download=False)
    split = make_split(recordings, "fsdd_official", 0.2, 0)
    assert split.test.size == 300
    assert {recordings[i].name.split("_")[-1] for i in split.test} == {f"{index}.wav" for index in range(5)}
    assert split.train.size + split.validation.size == 2700
    assert split.validation.size == 450
    assert len(speakers(recordings, split.validation)) == 1


def test_leave_one_speaker_out_tests_all_of_one_and_trains_on_the_rest(data_dir):
    recordings = load_recordings(["fsdd"], data_dir, download=False)
    split = make_split(recordings, "loso:theo", 0, 0)
    assert speakers(recordings, split.test) == {"fsdd:theo"}
    assert (split.train.size, split.validation.size, split.test.size) == (2500, 0, 500)


def test_a_speaker_who_is_unknown_or_ambiguous_is_an_error(recordings):
    with pytest.raises(DataError, match="names 0 speakers"):
        make_split(recordings, "loso:nobody", 0.2, 0)
    twins = make("one", ["sam"]) + make("two", ["sam"])
    with pytest.raises(DataError, match=r"names 2 speakers.*one:sam, two:sam"):
        make_split(twins, "loso:sam", 0.2, 0)
    with pytest.raises(DataError, match="names 0 speakers"):
        make_split(recordings, "loso:synth:en+f1", 0.2, 0)


def test_folds_test_every_real_speaker_once_and_spread_each_source(recordings):
    tested = Counter()
    for fold in range(5):
        split = speaker_kfold(recordings, 5, fold, 7)
        tested.update(speakers(recordings, split.test))
        by_source = Counter(recordings[index].speaker.partition(":")[0] for index in split.test)
        assert by_source["audiomnist"] == 120  # 12 of 60 speakers, 10 recordings each
        assert by_source["speechcmd"] == 60
        assert by_source["pair"] in (0, 50)
    real = {recording.speaker for recording in recordings if recording.source != "synth"}
    assert tested == Counter(real)


def test_folds_can_be_of_some_sources_while_the_others_train(recordings):
    tested = set()
    for fold in range(5):
        split = make_split(recordings, f"kfold:5:{fold}", 0.0, 7, ["speech_commands", "pair"])
        assert {"fsdd", "audiomnist"} <= sources(recordings, split.train)
        assert sources(recordings, split.test) <= {"speech_commands", "pair"}
        tested |= speakers(recordings, split.test)
    assert tested == {r.speaker for r in recordings if r.source in ("speech_commands", "pair")}
    with pytest.raises(DataError, match="no recording is of nowhere"):
        make_split(recordings, "kfold:5:0", 0.0, 7, ["nowhere"])


def test_a_speaker_of_two_sources_stays_in_one_fold():
    recordings = make("words", "abcdef", prefix="same") + make("digits", "fedcba", 2, prefix="same")
    for fold in range(3):
        split = speaker_kfold(recordings, 3, fold, 0)
        assert not speakers(recordings, split.train) & speakers(recordings, split.test)
        assert sources(recordings, split.test) == {"words", "digits"}


def test_audiomnist_folds_are_the_published_ones(recordings):
    for fold in range(5):
        split = make_split(pick(recordings, "audiomnist"), f"audiomnist:{fold}", 0.2, 0)
        assert (split.train.size, split.validation.size, split.test.size) == (360, 120, 120)
    own = pick(recordings, "audiomnist")
    first = make_split(own, "audiomnist:0", 0.2, 0)
    assert {"audiomnist:26", "audiomnist:60"} <= speakers(own, first.test)
    assert {"audiomnist:12", "audiomnist:59"} <= speakers(own, first.validation)


def test_official_follows_the_lists_of_the_corpus(recordings):
    own = pick(recordings, "speech_commands")
    split = make_split(own, "official", 0.2, 0)
    for name in ("train", "validation", "test"):
        part = getattr(split, name)
        assert part.size == 100
        assert {own[index].split for index in part} == {name}


@pytest.mark.parametrize("fraction", [0.34, 0.5, 0.99])
def test_validation_takes_whole_speakers_of_every_source_and_leaves_some(recordings, fraction):
    everything = np.arange(len(recordings))
    train, validation = cut_validation(recordings, everything, fraction, 0)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), everything)
    assert not speakers(recordings, train) & speakers(recordings, validation)
    several = {"fsdd", "audiomnist", "speech_commands", "pair"}
    assert sources(recordings, validation) == several
    assert sources(recordings, train) == several | {"alone", "synth"}


@pytest.mark.parametrize(
    ("fraction", "giving"), [(0.2, {"fsdd", "audiomnist", "speech_commands"}), (0.1, {"audiomnist", "speech_commands"})]
)
def test_a_source_of_few_speakers_keeps_them_while_others_can_give(recordings, fraction, giving):
    own = pick(recordings, "fsdd") + pick(recordings, "audiomnist") + pick(recordings, "speech_commands")
    own += pick(recordings, "pair")
    _, validation = cut_validation(own, np.arange(len(own)), fraction, 0)
    assert sources(own, validation) == giving


def test_where_every_source_has_few_speakers_all_give(recordings):
    own = pick(recordings, "fsdd") + pick(recordings, "pair")
    _, validation = cut_validation(own, np.arange(len(own)), 0.05, 0)
    assert sources(own, validation) == {"fsdd", "pair"}


def test_validation_is_as_large_as_asked_where_speakers_are_many(recordings):
    own = pick(recordings, "audiomnist")
    _, validation = cut_validation(own, np.arange(len(own)), 0.25, 0)
    assert validation.size == 150


def test_a_single_speaker_of_each_source_still_gives_a_whole_speaker():
    recordings = make("one", ["ann"]) + make("two", ["bob"]) + make("synth", ["en+f1"])
    train, validation = cut_validation(recordings, np.arange(len(recordings)), 0.1, 0)
    assert len(speakers(recordings, validation)) == 1
    assert not speakers(recordings, train) & speakers(recordings, validation)
    assert "synth" not in sources(recordings, validation)


@pytest.mark.parametrize("seed", range(6))
def test_the_same_two_speakers_in_two_sources_are_not_both_taken(seed):
    recordings = make("words", "ab", prefix="same") + make("digits", "ab", prefix="same")
    train, validation = cut_validation(recordings, np.arange(len(recordings)), 0.2, seed)
    assert len(speakers(recordings, validation)) == len(speakers(recordings, train)) == 1


def test_a_single_speaker_is_cut_by_recording_evenly_over_digits():
    recordings = make("alone", ["eve"], 10)
    train, validation = cut_validation(recordings, np.arange(100), 0.2, 0)
    assert Counter(recordings[index].label for index in validation) == dict.fromkeys(DIGITS, 2)
    assert train.size == 80
    check_disjoint(recordings, Split(train, validation, np.array([], dtype=int)), by_speaker=True)


def test_one_real_speaker_beside_synthetic_voices_is_cut_by_recording(recordings):
    own = pick(recordings, "alone", "synth")
    train, validation = cut_validation(own, np.arange(len(own)), 0.2, 0)
    assert sources(own, validation) == {"alone"}
    assert Counter(own[index].label for index in validation) == dict.fromkeys(DIGITS, 1)
    check_disjoint(own, Split(train, validation, np.array([], dtype=int)), by_speaker=True)


def test_synthetic_voices_alone_are_cut_by_voice():
    recordings = make("synth", ["en+f1", "en+m1", "en+m2"])
    train, validation = cut_validation(recordings, np.arange(len(recordings)), 0.2, 0)
    assert len(speakers(recordings, validation)) == 1
    assert not speakers(recordings, train) & speakers(recordings, validation)


def test_no_validation_is_cut_where_none_is_wanted(recordings):
    train, validation = cut_validation(recordings, np.arange(10), 0, 0)
    assert (train.size, validation.size) == (10, 0)
    with pytest.raises(ConfigError, match="below 1"):
        cut_validation(recordings, np.arange(10), 1.0, 0)
    with pytest.raises(DataError, match="too few"):
        cut_validation(recordings, np.arange(1), 0.5, 0)


@pytest.mark.parametrize(
    "scheme", ["", "random", "kfold", "kfold:5", "kfold:a:b", "kfold:5:5", "kfold:1:0", "audiomnist:5", "loso", "all:1"]
)
def test_an_unknown_scheme_is_an_error_that_helps(recordings, scheme):
    with pytest.raises(ConfigError, match=r"choose|expected"):
        make_split(recordings, scheme, 0.2, 0)


@pytest.mark.parametrize(
    ("scheme", "source"), [("fsdd_official", "pair"), ("audiomnist:0", "pair"), ("official", "pair")]
)
def test_a_scheme_without_its_corpus_is_an_error(recordings, scheme, source):
    with pytest.raises(DataError):
        make_split(pick(recordings, source), scheme, 0.2, 0)


def test_more_folds_than_speakers_is_an_error(recordings):
    with pytest.raises(DataError, match="got 2"):
        make_split(pick(recordings, "pair"), "kfold:3:0", 0.2, 0)


@pytest.mark.parametrize(
    ("train", "validation", "test", "message"),
    [
        ([0, 1], [60], [1], "1 recordings are in both train and test"),
        ([0, 1], [1], [60], "recordings are in both train and validation"),
        ([0, 0], [], [60], "twice"),
        ([0, 100], [], [], "outside"),
        ([0, 1], [], [2, 60], "1 speakers are in both train and test, such as pair:ann"),
        ([0, 60], [2], [], "1 speakers are in both train and validation"),
        ([0], [60], [61], "1 speakers are in both validation and test, such as pair:bob"),
    ],
)
def test_the_check_finds_what_crosses(recordings, train, validation, test, message):
    own = pick(recordings, "pair")
    split = Split(*(np.array(part, dtype=int) for part in (train, validation, test)))
    with pytest.raises(DataError, match=message):
        check_disjoint(own, split, by_speaker=True)
    if "speakers" in message:
        check_disjoint(own, split, by_speaker=False)
