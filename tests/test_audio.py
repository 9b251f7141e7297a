"""Audio in any container becomes the same mono float waveform, or one clear line."""

import io
import os
import threading

import numpy as np
import pytest
import soundfile

from edgedigit.audio import (
    check_sample_rate,
    fix_length,
    frame_energies,
    load_waveform,
    read_audio,
    resample,
    speech_energies,
    write_wav,
)
from edgedigit.errors import AudioError


def tone(frequency_hz=440, duration_s=1.0, sample_rate=8000, level=0.5):
    return (level * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * sample_rate)) / sample_rate)).astype(
        np.float32
    )


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "ULAW"])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100, 48000])
def test_every_width_and_rate_gives_the_same_waveform(tmp_path, subtype, sample_rate):
    soundfile.write(tmp_path / "a.wav", tone(sample_rate=sample_rate), sample_rate, subtype=subtype)
    waveform = load_waveform(tmp_path / "a.wav")
    assert waveform.shape == (8000,) and waveform.dtype == np.float32
    coarse = {"PCM_U8": 0.01, "ULAW": 0.02}.get(subtype, 1e-4)
    assert np.abs(waveform - tone())[200:-200].max() < coarse


@pytest.mark.parametrize("container", ["FLAC", "OGG", "AIFF", "MP3"])
def test_other_containers(tmp_path, container):
    path = tmp_path / f"a.{container.lower()}"
    soundfile.write(path, tone(sample_rate=16000), 16000, format=container)
    waveform = load_waveform(path)
    spectrum = np.abs(np.fft.rfft(waveform[1000:7000]))
    assert spectrum.argmax() * 8000 / 6000 == pytest.approx(440, abs=2)


def test_channels_are_averaged(tmp_path):
    stereo = np.stack([tone(440), tone(1000)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 8000, subtype="FLOAT")
    waveform, sample_rate = read_audio(tmp_path / "a.wav")
    assert sample_rate == 8000
    np.testing.assert_allclose(waveform, stereo.mean(axis=1), atol=1e-6)


def test_binary_file_that_cannot_seek():
    class Pipe(io.RawIOBase):
        def __init__(self, content):
            self.content = io.BytesIO(content)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self.content.readinto(buffer)

    content = io.BytesIO()
    write_wav(content, tone())
    waveform, _ = read_audio(Pipe(content.getvalue()))
    np.testing.assert_allclose(waveform, tone(), atol=1e-4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_read_to_its_end(tmp_path):
    content = io.BytesIO()
    soundfile.write(content, tone(), 8000, format="OGG")  # which must be sought in
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content.getvalue(),))
    writer.start()
    waveform, sample_rate = read_audio(tmp_path / "pipe")
    writer.join()
    assert waveform.size == 8000 and sample_rate == 8000


def test_write_wav_clips_and_does_not_wrap(tmp_path):
    write_wav(tmp_path / "a.wav", np.array([1.5, -1.5, 0.25]), 8000)
    waveform, sample_rate = read_audio(tmp_path / "a.wav")
    assert sample_rate == 8000
    np.testing.assert_allclose(waveform, [1, -1, 0.25], atol=1e-4)


def flac_of_length(n_samples):
    """A second of FLAC whose header says that it holds `n_samples`; 0: nobody knows, as where it went to a pipe."""
    content = io.BytesIO()
    soundfile.write(content, tone(), 8000, format="FLAC")
    header = bytearray(content.getvalue())
    header[21] = header[21] & 0xF0 | n_samples >> 32  # 36 bits of STREAMINFO
    header[22:26] = (n_samples & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(header)


def bad_files(folder):
    """Name and what its error must say."""
    (folder / "text.wav").write_text("hello")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "headerless.raw").write_bytes(bytes(1000))
    (folder / "folder.wav").mkdir()
    soundfile.write(folder / "none.wav", np.zeros(0), 8000)
    soundfile.write(folder / "nan.wav", np.array([0, 0.1, np.nan]), 8000, subtype="FLOAT")
    soundfile.write(folder / "inf.wav", np.array([0, np.inf]), 8000, subtype="FLOAT")
    soundfile.write(folder / "loud.wav", np.full((9, 2), 3e38), 8000, subtype="FLOAT")
    soundfile.write(folder / "louder.wav", np.array([0, 2e12]), 8000, subtype="DOUBLE")
    (folder / "piped.flac").write_bytes(flac_of_length(0))
    (folder / "damaged.flac").write_bytes(flac_of_length(2**36 - 1))
    write_wav(folder / "slow.wav", tone(), 500)
    soundfile.write(folder / "sample.wav", np.zeros(1), 48000)
    write_wav(folder / "whole.wav", tone())
    (folder / "header.wav").write_bytes((folder / "whole.wav").read_bytes()[:30])
    return {
        "text.wav": "not an audio file",
        "empty.wav": "empty",
        "headerless.raw": "not an audio file",
        "folder.wav": "folder",
        "none.wav": "no samples",
        "nan.wav": "NaN or infinite samples, the first at sample 2",
        "inf.wav": "NaN or infinite samples, the first at sample 1",
        "loud.wav": "NaN or infinite samples|up to 3e",
        "louder.wav": r"up to 2e\+12, expected \[-1, 1\]; scale them",
        "piped.flac": "does not say how long it is",
        "damaged.flac": "says that it holds 68719476735 samples|not an audio file",
        "slow.wav": "sample rate 500 Hz is outside",
        "sample.wav": "shorter than one sample",
        "header.wav": "not an audio file|no samples",
        "missing.wav": "no such file",
    }


@pytest.mark.filterwarnings("error")
def test_bad_files_are_named_in_one_line(tmp_path):
    for name, expected in bad_files(tmp_path).items():
        with pytest.raises(AudioError, match=expected) as error:
            load_waveform(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)


def test_open_file_is_named_as_far_as_it_has_a_name():
    content = io.BytesIO()
    soundfile.write(content, np.zeros(1), 48000, format="WAV")
    content.seek(0)
    with pytest.raises(AudioError, match=r"^audio stream is shorter than one sample"):
        load_waveform(content)


def test_text_mode_file_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with (tmp_path / "a.txt").open() as handle, pytest.raises(AudioError, match="'rb'"):
        read_audio(handle)


def test_resampling_filters_what_the_new_rate_cannot_hold():
    high = tone(6000, sample_rate=48000)
    assert np.abs(resample(high, 48000, 8000))[200:-200].max() < 0.001  # away from where the tone is switched on
    assert np.abs(high[::6]).max() > 0.3  # decimation would have kept it


@pytest.mark.parametrize("rate", [0, -8000, 10, 10**9])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(AudioError, match="sample rate"):
        resample(tone(), rate, 8000)


@pytest.mark.parametrize("rate", ["16000", True, None, 8000j, [8000]])
def test_rate_that_is_no_number_is_refused(rate):
    with pytest.raises(AudioError, match="expected a number in Hz"):
        check_sample_rate(rate)


def test_short_clip_is_centred_and_whole():
    clip = np.arange(1, 5, dtype=np.float32)
    np.testing.assert_array_equal(fix_length(clip, 10), [0, 0, 0, 1, 2, 3, 4, 0, 0, 0])


@pytest.mark.parametrize("center", [0, 1, 2, 3])
def test_short_clip_loses_nothing_wherever_its_centre(center):
    clip = np.arange(1, 5, dtype=np.float32)
    fixed = fix_length(clip, 10, center=center)
    assert fixed.shape == (10,) and np.array_equal(fixed[fixed > 0], clip)
    assert fixed[5] == clip[center]


@pytest.mark.parametrize("word_at_s", [0.0, 2.3, 6.0, 9.5])
def test_long_clip_is_cut_to_its_word(word_at_s):
    noise = np.random.default_rng(0).normal(0, 0.003, 80000).astype(np.float32)
    start = int(word_at_s * 8000)
    noise[start : start + 4000] += tone(duration_s=0.5)
    window = fix_length(noise, 8000)
    assert window.shape == (8000,)
    assert np.square(window).sum() > 0.99 * np.square(noise[start : start + 4000]).sum()


def test_word_of_a_long_clip_is_in_the_middle():
    clip = np.zeros(40000, np.float32)
    clip[16000:20000] = tone(duration_s=0.5)
    word = np.flatnonzero(fix_length(clip, 8000))
    assert word.size >= 3990 and (word[0] + word[-1]) / 2 == pytest.approx(4000, abs=200)


def start_of_all(waveform, n_samples, frame_length=160):
    """Where the window with the most speech energy starts, from what every single window holds."""
    speech = np.repeat(np.sqrt(speech_energies(waveform, 8000)), frame_length)[: waveform.size]
    total = np.concatenate(([0.0], np.cumsum(speech)))
    held = total[n_samples:] - total[:-n_samples]
    best = np.flatnonzero(held >= held.max() * (1 - 1e-9))
    return int(best[best.size // 2])


@pytest.mark.parametrize("n_samples", [8000, 7991, 100])
def test_no_window_of_a_long_clip_holds_more_speech_than_the_one_that_is_kept(n_samples):
    rng = np.random.default_rng(n_samples)
    for n in (n_samples + 1, n_samples + 163, 20000, 44321):
        loudness = np.repeat(rng.choice([0.0, 0.001, 0.1, 0.5], n // 700 + 1), 700)[:n]  # with ties, long and short
        clip = (rng.normal(0, 1, n) * loudness).astype(np.float32)
        start = start_of_all(clip, n_samples)
        np.testing.assert_array_equal(fix_length(clip, n_samples), clip[start : start + n_samples])


def test_energies_are_means_of_squares_in_double_precision_of_whole_frames_and_the_last():
    clip = np.random.default_rng(0).normal(0, 0.1, 405).astype(np.float32)
    frames = (clip[:160], clip[160:320], clip[320:])
    np.testing.assert_allclose(
        frame_energies(clip, 160), [np.mean(np.square(frame, dtype=np.float64)) for frame in frames], rtol=1e-12
    )
    assert frame_energies(clip[:3], 160).size == 1 and frame_energies(clip[:0], 160).size == 0


def test_long_silence_stays_silent():
    assert not fix_length(np.zeros(20000, np.float32), 8000).any()
