"""What a microphone heard, as WAV files: all of it as it comes, or the clip of one word."""

from __future__ import annotations

import contextlib
import os
import time
import wave
from collections import deque
from collections.abc import Callable
from io import BytesIO, FileIO
from itertools import chain, count
from pathlib import Path

import numpy as np

from edgedigit.audio import write_wav
from edgedigit.errors import AudioError, InputError
from edgedigit.runtime.resampler import StreamResampler

MAX_BYTES = 2**32 - 1024  # a WAV file counts its bytes in 32 bits: 12 hours at 48 kHz
CLIP_MARGIN_S = 0.3  # of sound around a word in its clip
CLIP_S = 4.0  # of sound that is remembered for clips; a word lasts up to 1.5 s


def check_target(path: str | os.PathLike, overwrite: bool = False) -> None:
    """Refuse a file that a recording cannot be written to, before anybody speaks.

    Raises:
        InputError: if its folder is missing, it is a folder, is not called `.wav`, exists and is not to be overwritten,
            or may not be written.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected a file name for the recording, such as {path / 'heard.wav'}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; create it or name another")
    if path.suffix.lower() != ".wav":
        raise InputError(f"{path}: recordings are WAV files; name it {path.with_suffix('.wav').name}")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; name another file, or replace it with --overwrite")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{path} cannot be written; check its folder, or name another")


class Recording:
    """A mono 16-bit WAV file that grows block by block, and is whole after each, however the program ends.

    A disk that fails ends the recording, not the listening: what had been written stays.

    Args:
        path: file, which must not exist unless `overwrite`.
        sample_rate: Hz, of the file; blocks of another rate are converted.
        overwrite: replace a file.
        on_failure: called once, with one line, when nothing more can be written.

    Raises:
        InputError: as `check_target`.
        OSError: if the file cannot be created.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        sample_rate: int,
        overwrite: bool = False,
        on_failure: Callable[[Exception], None] = lambda _error: None,
    ):
        check_target(path, overwrite)
        self.path, self.sample_rate = Path(path), sample_rate
        self._on_failure, self._resampler = on_failure, None
        self._n_written = 0
        self._file = open(path, "wb" if overwrite else "xb")  # noqa: SIM115, closed in close
        self._wave = wave.open(self._file, "wb")  # noqa: SIM115
        self._wave.setnchannels(1)
        self._wave.setsampwidth(2)
        self._wave.setframerate(sample_rate)
        self._wave.writeframes(b"")

    def set_rate(self, sample_rate: int) -> None:
        """Another device goes on, perhaps at another rate in Hz."""
        self._resampler = None if sample_rate == self.sample_rate else StreamResampler(sample_rate, self.sample_rate)

    @property
    def duration_s(self) -> float:
        """Seconds in the file."""
        return self._n_written / self.sample_rate

    def write(self, samples: np.ndarray) -> None:
        """Append (T,) float in [-1, 1]; louder samples are clipped."""
        if self._wave is None:
            return
        samples = samples if self._resampler is None else self._resampler.push(samples)
        content = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()
        if 2 * self._n_written + len(content) > MAX_BYTES:
            self._fail("is as long as a WAV file can be")
            return
        try:
            self._wave.writeframes(content)  # which brings the header up to date
            self._file.flush()
        except OSError as error:
            self._fail(f"cannot be written any more ({error.strerror})")
            return
        self._n_written += len(content) // 2

    def close(self) -> None:
        """End the file."""
        if self._wave is not None:
            self._wave.close()
            self._file.close()
            self._wave = None

    def _fail(self, why: str) -> None:
        with contextlib.suppress(OSError):  # the disk has no room for the last block either
            self._wave.close()
        with contextlib.suppress(OSError):
            self._file.close()
        self._wave = None
        self._on_failure(AudioError(f"{self.path} {why}; it keeps {self.duration_s:.1f} s, the rest is not recorded"))


class WordClips:
    """Clips of single words, each cut out of the last seconds when one is asked for.

    Args:
        folder: where they are written, `LABEL_DATE-TIME.wav`, with `-2` and so on behind the time where that is taken.
        on_written: called with the path of each.
        on_failure: called with the error of one that could not be written.
    """

    def __init__(self, folder: Path, on_written: Callable[[Path], None], on_failure: Callable[[Exception], None]):
        self._folder, self._on_written, self._on_failure = folder, on_written, on_failure
        self.wanted = False
        self.begin(1)

    def begin(self, sample_rate: int) -> None:
        """A new stream, in Hz."""
        self._rate = sample_rate
        self._blocks: deque[np.ndarray] = deque()
        self._end = self._kept = 0  # samples that the stream has had, and that are remembered
        self._due: tuple[str, float, float] | None = None  # label, start and end of the word in seconds

    def hear(self, samples: np.ndarray) -> None:
        """Take the next block (T,)."""
        self._blocks.append(samples)
        self._end += samples.size
        self._kept += samples.size
        while self._kept - self._blocks[0].size > CLIP_S * self._rate:
            self._kept -= self._blocks.popleft().size
        if self._due and self._end >= (self._due[2] + CLIP_MARGIN_S) * self._rate:
            self._write()

    def answer(self, label: str | None, start_s: float, end_s: float) -> None:
        """A word has been answered, if only with None; its clip is written once the sound after it has come."""
        if self.wanted:
            self.wanted, self._due = False, (label or "none", start_s, end_s)

    def end(self) -> None:
        """The stream has ended: a clip that waited for the sound after its word is written with what there is."""
        if self._due:
            self._write()

    def _write(self) -> None:
        label, start_s, end_s = self._due
        self._due = None
        remembered = np.concatenate(self._blocks)
        first = self._end - remembered.size
        start, end = (round(t * self._rate) - first for t in (start_s - CLIP_MARGIN_S, end_s + CLIP_MARGIN_S))
        content = BytesIO()
        write_wav(content, remembered[max(0, start) : end], self._rate)
        stem = f"{label.replace(os.sep, '-')}_{time.strftime('%Y%m%d-%H%M%S')}"
        paths = (self._folder / f"{stem}{number}.wav" for number in chain([""], map("-{}".format, count(2))))
        path = self._folder / f"{stem}.wav"
        try:
            path = next(path for path in paths if not path.exists())  # two words within a second
            with open(path, "xb", buffering=0) as file:
                _write_whole(file, content.getvalue())
        except OSError as error:
            self._on_failure(AudioError(f"{path} cannot be written ({error.strerror})"))
            return
        self._on_written(path)


def _write_whole(file: FileIO, content: bytes) -> None:
    """Write all of it, or leave no file."""
    try:
        while content:
            content = content[file.write(content) :]
    except OSError:
        os.unlink(file.name)
        raise
