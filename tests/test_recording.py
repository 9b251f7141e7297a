"""What was heard is on the disk after every block, and nothing that was there is lost."""

import resource
import signal
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
from tiny_model import speak, tone_word

from edgedigit import recording
from edgedigit.errors import InputError
from edgedigit.recording import Recording, WordClips


def noise(n_samples, seed=0):
    """16-bit values, as a device delivers them: (T,) float32."""
    return (np.random.default_rng(seed).integers(-32768, 32768, n_samples) / 32768).astype(np.float32)


def test_the_file_is_whole_after_every_block(tmp_path):
    samples = noise(4410)
    target = Recording(tmp_path / "heard.wav", 44100)
    for end in range(441, 4411, 441):
        target.write(samples[end - 441 : end])
        heard, rate = soundfile.read(tmp_path / "heard.wav", dtype="float32")  # it is not closed
        np.testing.assert_array_equal(heard, samples[:end])
    assert rate == 44100 and soundfile.info(tmp_path / "heard.wav").subtype == "PCM_16"


def test_louder_than_full_scale_is_clipped_not_wrapped(tmp_path):
    target = Recording(tmp_path / "heard.wav", 8000)
    target.write(np.array([1.5, 1.0, -1.0, -1.5], np.float32))
    assert soundfile.read(tmp_path / "heard.wav", dtype="int16")[0].tolist() == [32767, 32767, -32768, -32768]


def test_a_device_of_another_rate_goes_on_in_the_same_file(tmp_path):
    target = Recording(tmp_path / "heard.wav", 16000)
    target.write(tone_word(3, 0.5, 16000))
    target.set_rate(48000)
    target.write(tone_word(3, 0.5, 48000))
    target.set_rate(16000)
    target.write(tone_word(3, 0.5, 16000))
    assert target.duration_s == pytest.approx(1.5, abs=0.01)
    heard, _ = soundfile.read(tmp_path / "heard.wav")
    assert np.argmax(np.abs(np.fft.rfft(heard))) / 1.5 == pytest.approx(500, abs=2)  # Hz, in all three parts


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("there.wav", "--overwrite"),
        ("missing/heard.wav", "no folder"),
        (".", "is a folder, expected a file"),
        ("heard.mp3", "name it heard.wav"),
    ],
)
def test_what_must_not_be_written_is_refused(tmp_path, name, expected):
    (tmp_path / "there.wav").write_bytes(b"somebody's")
    with pytest.raises(InputError, match=expected):
        Recording(tmp_path / name, 8000)
    assert (tmp_path / "there.wav").read_bytes() == b"somebody's"
    Recording(tmp_path / "there.wav", 8000, overwrite=True).close()
    assert soundfile.info(tmp_path / "there.wav").frames == 0


def test_a_folder_without_permission_is_refused_before_anybody_speaks(tmp_path, monkeypatch):
    monkeypatch.setattr(recording.os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(InputError, match="cannot be written; check its folder"):
        Recording(tmp_path / "heard.wav", 8000)
    assert not (tmp_path / "heard.wav").exists()


@contextmanager
def full_disk(room_bytes):
    """No file may grow beyond that."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_keeps_what_was_written_and_is_said_once(tmp_path):
    failures = []
    target = Recording(tmp_path / "heard.wav", 8000, on_failure=failures.append)
    with full_disk(20_000):
        for seed in range(20):
            target.write(noise(800, seed))
    target.close()
    (failure,) = failures
    assert "heard.wav cannot be written any more (File too large); it keeps 1.2 s" in str(failure)
    heard, _ = soundfile.read(tmp_path / "heard.wav", dtype="float32")
    np.testing.assert_array_equal(heard, np.concatenate([noise(800, seed) for seed in range(12)]))


def test_a_file_ends_where_its_format_does(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MAX_BYTES", 2000)
    failures = []
    target = Recording(tmp_path / "heard.wav", 8000, on_failure=failures.append)
    for seed in range(3):
        target.write(noise(800, seed))
    assert len(failures) == 1 and soundfile.info(tmp_path / "heard.wav").frames == 800


def test_the_clip_of_a_word_holds_it_and_its_surroundings(tmp_path):
    written = []
    clips = WordClips(tmp_path, written.append, pytest.fail)
    clips.begin(16000)
    waveform = speak("047", sample_rate=16000)  # words of 0.4 s at 0.5, 1.2 and 1.9 s
    for i, block in enumerate(waveform[: waveform.size // 160 * 160].reshape(-1, 160)):
        clips.hear(block)
        if i == 130:  # in the middle of the second
            clips.wanted = True
        for end, label in ((95, "0"), (165, "4"), (235, "7")):
            if i == end:
                clips.answer(label, end / 100 - 0.45, end / 100 - 0.05)
    (path,) = written
    assert path.name.startswith("4_")
    heard, rate = soundfile.read(path, dtype="float32")
    assert rate == 16000
    np.testing.assert_allclose(heard, waveform[round(0.9 * rate) : round(1.9 * rate)], atol=1e-4)


def test_a_clip_that_cannot_be_written_costs_a_line(tmp_path):
    failures = []
    clips = WordClips(tmp_path / "missing", pytest.fail, failures.append)
    clips.begin(8000)
    clips.wanted = True
    clips.hear(np.zeros(6400, np.float32))
    clips.answer(None, 0.2, 0.6)
    assert not failures  # it waits for the sound after the word
    clips.end()
    assert "none_" in str(failures[0]) and "No such file" in str(failures[0]) and not clips.wanted


def write_clip(clips, label="7"):
    """Have the clip of a word written, of 1.1 s."""
    clips.begin(16000)
    clips.wanted = True
    clips.answer(label, 0.4, 0.9)
    for seed in range(120):
        clips.hear(noise(160, seed))


def test_a_clip_that_finds_no_room_costs_a_line_and_leaves_no_half_of_it(tmp_path):
    failures = []
    with full_disk(20_000):
        write_clip(WordClips(tmp_path, pytest.fail, failures.append))
    (failure,) = failures
    assert "7_" in str(failure) and "cannot be written (File too large)" in str(failure)
    assert list(tmp_path.iterdir()) == []


def test_clips_of_one_label_within_a_second_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(recording.time, "strftime", lambda _format: "20260101-120000")
    written = []
    clips = WordClips(tmp_path, written.append, pytest.fail)
    for _ in range(3):
        write_clip(clips)
    assert [path.stem for path in written] == [f"7_20260101-120000{more}" for more in ("", "-2", "-3")]
    assert {soundfile.info(path).frames for path in written} == {round(1.1 * 16000)}
