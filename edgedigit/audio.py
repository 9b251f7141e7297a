"""Audio files in and out, resampling, and placing a word in the model's window. Needs numpy, soundfile and soxr."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from io import BytesIO
from numbers import Real
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgedigit.errors import AudioError, MissingDependencyError
from edgedigit.spec import MAX_SAMPLE

try:
    import soundfile
    import soxr
except ImportError as error:
    raise MissingDependencyError.of(error.name, "runtime") from None

SAMPLE_RATE = 8000  # Hz, inside the whole project
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64")
MIN_SAMPLE_RATE = 1000  # Hz; anything lower cannot hold speech and is a wrong header or a wrong argument
MAX_SAMPLE_RATE = 768000  # Hz, the fastest that audio hardware offers
UNKNOWN_FRAMES = 2**63 - 1  # of libsndfile, where a header leaves the length open
SPEECH_FRAME_MS = 20
SPEECH_FLOOR_DB = 25.0  # frames further below the loudest one do not count as speech
NOISE_MARGIN_DB = 6.0  # nor do frames closer than this to the quietest tenth of the clip


def find_files(folder: Path, pattern: str, suffixes: Collection[str] = AUDIO_SUFFIXES) -> list[Path]:
    """Files below a folder that match a pattern and end in one of the suffixes, sorted; nothing hidden."""
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.suffix.lower() in suffixes and not any(part[0] == "." for part in path.relative_to(folder).parts)
    )


def read_audio(source: str | os.PathLike | BinaryIO) -> tuple[np.ndarray, int]:
    """Read a recording of any rate, width, channel count and container that libsndfile knows.

    Args:
        source: a path, of a pipe too, or a binary file (which need not be seekable, such as standard input).

    Returns:
        Mono waveform, float32 (T,), in [-1, 1] for integer formats, channels averaged; and its sample rate in Hz.

    Raises:
        AudioError: if the file is missing, a folder, empty, not audio, without samples or not finite, if its header
            leaves the length open or overstates it, or if its rate is not one that speech can have.
    """
    name = _name_of(source)
    if hasattr(source, "read"):
        content = source.read()
        if not isinstance(content, bytes):
            raise AudioError(f"{name}: expected a binary file, got one opened as text; open it with mode 'rb'")
        size_bytes, handle = len(content), BytesIO(content)
    else:
        path = Path(name)
        if path.is_dir():
            raise AudioError(f"{name} is a folder, expected an audio file")
        try:
            status, handle = path.stat(), path.open("rb")
            size_bytes = status.st_size
            if stat.S_ISFIFO(status.st_mode):  # whose size is not known before its end
                with handle:
                    content = handle.read()
                size_bytes, handle = len(content), BytesIO(content)
        except FileNotFoundError:
            raise AudioError(f"{name}: no such file; check the path") from None
        except OSError as error:
            raise AudioError(f"{name}: cannot be read ({error.strerror}); check the path and its permissions") from None
    with handle:
        if size_bytes == 0:
            raise AudioError(f"{name} is empty (0 bytes), expected an audio file; record or download it again")
        try:
            with soundfile.SoundFile(handle) as file:
                sample_rate, n_frames = file.samplerate, file.frames
                if n_frames == UNKNOWN_FRAMES:
                    raise AudioError(
                        f"{name} does not say how long it is, as FLAC written to a pipe; convert it to WAV, or pipe WAV"
                    )
                samples = file.read(dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, TypeError):  # TypeError: headerless .raw, which names no sample rate
            raise AudioError(
                f"{name} is not an audio file that libsndfile can read, or is damaged; convert it to WAV or FLAC"
            ) from None
        except MemoryError:
            raise AudioError(
                f"{name} says that it holds {n_frames} samples, more than memory has room for; split it, or record it "
                "again if it is damaged"
            ) from None
    check_sample_rate(sample_rate, name)
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is infinite, which is an error of one line
        waveform = samples.mean(axis=1)
    return check_waveform(waveform, name), sample_rate


def _name_of(source: str | os.PathLike | BinaryIO) -> str:
    """What messages call a recording."""
    return str(getattr(source, "name", "audio stream")) if hasattr(source, "read") else os.fspath(source)


def check_waveform(waveform: np.ndarray, name: str = "waveform") -> np.ndarray:
    """Return `waveform` as float32 (T,); 16- and 32-bit integers are scaled to [-1, 1].

    Raises:
        AudioError: if it is not one-dimensional, not real numbers, holds no samples, or holds NaN, infinity or samples
            beyond any scale.
    """
    waveform = np.asarray(waveform)
    if waveform.ndim != 1:
        raise AudioError(f"{name} has shape {waveform.shape}, expected one channel (T,); average the channels first")
    if waveform.size == 0:
        raise AudioError(f"{name} holds no samples; record it again")
    if waveform.dtype in (np.int16, np.int32):
        return waveform.astype(np.float32) / -np.float32(np.iinfo(waveform.dtype).min)
    if waveform.dtype.kind != "f":
        raise AudioError(f"{name} holds {waveform.dtype} values, expected float32 in [-1, 1] or int16")
    peak = max(-float(waveform.min()), float(waveform.max()))  # NaN where there is one
    if not np.isfinite(peak):
        raise AudioError(
            f"{name} holds NaN or infinite samples, the first at sample {int(np.argmin(np.isfinite(waveform)))}; "
            "write it again with finite values in [-1, 1]"
        )
    if peak > MAX_SAMPLE:
        raise AudioError(f"{name} holds samples of up to {peak:.3g}, expected [-1, 1]; scale them")
    return waveform.astype(np.float32, copy=False)


def check_sample_rate(sample_rate: float, name: str = "") -> None:
    """Raise AudioError unless `sample_rate` (Hz) is one that speech can have; the message begins with `name`."""
    of = f"{name}: " if name else ""
    if not isinstance(sample_rate, Real) or isinstance(sample_rate, bool):
        raise AudioError(f"{of}sample rate is {sample_rate!r}, expected a number in Hz")
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"{of}sample rate {sample_rate} Hz is outside {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz")


def resample(waveform: np.ndarray, orig_sample_rate: int, sample_rate: int) -> np.ndarray:
    """Resample (T,) to (ceil-ish of T · sample_rate / orig_sample_rate,) float32 with soxr's HQ filter.

    Raises:
        AudioError: if a rate is not one that speech can have.
    """
    check_sample_rate(orig_sample_rate)
    check_sample_rate(sample_rate)
    if orig_sample_rate == sample_rate:
        return waveform.astype(np.float32, copy=False)
    return soxr.resample(waveform.astype(np.float32, copy=False), orig_sample_rate, sample_rate, quality="HQ")


def load_waveform(path: str | os.PathLike | BinaryIO, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Read a recording at `sample_rate` Hz: float32 (T,).

    Raises:
        AudioError: as `read_audio`, or if the recording is shorter than one sample at `sample_rate`.
    """
    waveform, orig_sample_rate = read_audio(path)
    waveform = resample(waveform, orig_sample_rate, sample_rate)
    if waveform.size == 0:
        raise AudioError(f"{_name_of(path)} is shorter than one sample at {sample_rate} Hz; record it again")
    return waveform


def write_wav(path: str | os.PathLike | BinaryIO, waveform: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write float (T,) in [-1, 1] as 16-bit mono WAV; louder samples are clipped, not wrapped."""
    soundfile.write(path, np.clip(waveform, -1.0, 1.0), sample_rate, subtype="PCM_16", format="WAV")


def frame_energies(waveform: np.ndarray, frame_length: int) -> np.ndarray:
    """Mean square of each whole or last partial frame: (T,) -> (ceil(T / frame_length),) float64."""
    n_whole = waveform.size // frame_length
    frames = waveform[: n_whole * frame_length].reshape(n_whole, frame_length)
    last = waveform[n_whole * frame_length :].astype(np.float64)
    # einsum sums in float64 without an array of squares, twice as large as a long clip.
    energies = np.einsum("ij,ij->i", frames, frames, dtype=np.float64) / frame_length
    return np.append(energies, last @ last / last.size) if last.size else energies


def speech_energies(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Energy of each 20 ms frame, with frames that are not speech set to zero: (T,) -> (n_frames,).

    A frame is speech where it stands `NOISE_MARGIN_DB` above the quietest tenth of the clip and no more than
    `SPEECH_FLOOR_DB` below the loudest; a clip without such frames keeps all its energies.
    """
    energies = frame_energies(waveform, max(1, round(sample_rate * SPEECH_FRAME_MS / 1000)))
    floor = max(
        np.quantile(energies, 0.1) * 10 ** (NOISE_MARGIN_DB / 10),
        energies.max() * 10 ** (-SPEECH_FLOOR_DB / 10),
    )
    speech = np.where(energies >= floor, energies, 0.0)
    return speech if speech.any() else energies


def fix_length(
    waveform: np.ndarray, n_samples: int, center: int | None = None, sample_rate: int = SAMPLE_RATE
) -> np.ndarray:
    """Fit a clip into the model's window: (T,) -> (n_samples,).

    A shorter clip is padded with zeros and loses nothing; a longer one is cut to the window that holds the most
    speech energy, the middle one where several hold the same.

    Args:
        waveform: (T,) float.
        n_samples: length of the window.
        center: sample that is to lie in the middle of the window, as near as the ends of the clip allow.
            None: the middle of a shorter clip, the best window of a longer one.
        sample_rate: Hz, of `waveform`.
    """
    spare = waveform.size - n_samples
    if spare == 0:
        return waveform
    if center is not None:
        start = min(max(center - n_samples // 2, min(spare, 0)), max(spare, 0))
    elif spare < 0:
        start = spare // 2
    else:
        start = _loudest_start(waveform, n_samples, sample_rate)
    if spare > 0:
        return waveform[start : start + n_samples]
    fixed = np.zeros(n_samples, dtype=waveform.dtype)
    fixed[-start : waveform.size - start] = waveform
    return fixed


def _loudest_start(waveform: np.ndarray, n_samples: int, sample_rate: int) -> int:
    """Start of the window of `n_samples` with the most speech energy; the middle of a tie.

    What a window holds is linear in its start while its ends stay in their frames: only where one of them enters
    another frame can it be most, and between two such starts that tie, all tie.
    """
    frame_length = max(1, round(sample_rate * SPEECH_FRAME_MS / 1000))
    spare = waveform.size - n_samples
    level = np.sqrt(speech_energies(waveform, sample_rate))
    edges = np.minimum(np.arange(level.size + 1) * frame_length, waveform.size)
    total = np.concatenate(([0.0], np.cumsum(level * np.diff(edges))))
    starts = np.concatenate(([0, spare], edges, edges - n_samples))
    starts = np.unique(starts[(starts >= 0) & (starts <= spare)])
    held = np.interp(starts + n_samples, edges, total) - np.interp(starts, edges, total)
    tied = held >= held.max() * (1 - 1e-9)
    following = np.append(np.diff(starts), 1)  # starts from each to the next
    counts = np.where(tied, np.where(np.append(tied[1:], False), following, 1), 0)
    middle = int(counts.sum()) // 2
    best = int(np.searchsorted(np.cumsum(counts), middle, side="right"))
    return int(starts[best] + middle - (np.cumsum(counts)[best] - counts[best]))
