"""Resampling of a live stream with a delay of a few milliseconds, the same for every block size."""

from __future__ import annotations

from math import ceil, gcd

import numpy as np

from edgedigit.audio import check_sample_rate
from edgedigit.errors import AudioError

TRANSITION = 0.1  # width of the filter's slope as a share of the lower Nyquist frequency: 400 Hz at 8 kHz
KAISER_BETA = 6.0  # about 63 dB of attenuation beyond the slope
MAX_CHUNK = 4096  # input samples handled at once, which bounds memory for blocks of any size
MAX_TAPS = 1 << 18  # in the table of filters, 1 MB; any two rates of audio devices need fewer
OUTPUTS_AT_ONCE = 32  # each gathers all its taps: a block's at once would be a megabyte, 50 times a second
GROUP = 16  # outputs of one matrix product; whole ones make 10 ms at 8 and 16 kHz, so that no frame waits for others


class StreamResampler:
    """Converts a stream from one rate to another with a windowed-sinc polyphase filter.

    soxr's streams work in blocks and hold samples back for up to 160 ms at 48 kHz, which is the whole budget of a
    spoken answer; this filter holds back half its length, `delay_s`, about 5 ms. Output does not depend on how the
    input is cut into blocks.

    Where the rates share so small a divisor that their filters would not fit in `MAX_TAPS`, filters between those of an
    even grid are interpolated: the grid is so fine that they differ by 1e-7, which is float32's own step. Positions are
    whole numbers all the same, so no stream drifts.

    Args:
        orig_sample_rate: Hz, of the input.
        sample_rate: Hz, of the output.

    Attributes:
        delay_s: how long after a sample has come in the output at its time can be computed.

    Raises:
        AudioError: if a rate is not one that speech can have, or no whole number.

    Source: Kaiser window design, Oppenheim and Schafer, Discrete-Time Signal Processing, section 7.6.
    """

    def __init__(self, orig_sample_rate: int, sample_rate: int):
        for rate in (orig_sample_rate, sample_rate):
            check_sample_rate(rate)
            if rate != int(rate):  # a fraction cut off would move the times of hours
                raise AudioError(f"sample rate is {rate!r}, expected a whole number in Hz")
        divisor = gcd(int(orig_sample_rate), int(sample_rate))
        self._up, self._down = int(sample_rate) // divisor, int(orig_sample_rate) // divisor
        lower = min(orig_sample_rate, sample_rate) / 2  # Hz
        # Kaiser's formula for the length: (A - 8) / (2.285 * slope in radians per sample), A = 63 dB.
        self._half = ceil((63 - 8) / (2.285 * 2 * np.pi * TRANSITION * lower / orig_sample_rate) / 2)
        self.delay_s = 0.0 if self._up == self._down else self._half / orig_sample_rate
        cutoff = 2 * lower * (1 - TRANSITION / 4) / orig_sample_rate  # middle of the slope, in cycles per two samples
        self._is_exact = self._up * 2 * self._half <= MAX_TAPS
        self._n_phases = self._up if self._is_exact else max(1, MAX_TAPS // (2 * self._half) - 1)
        # One filter per fractional position of an output sample between two input samples, (n_phases, 2 half); on a
        # grid one more, so that every position has a filter on both sides.
        phases = np.arange(self._n_phases + (not self._is_exact))
        offsets = phases[:, None] / self._n_phases + self._half - 1 - np.arange(2 * self._half)[None, :]
        window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (offsets / self._half) ** 2, 0, None)))
        filters = np.sinc(cutoff * offsets) * window
        self._filters = (filters / filters.sum(axis=1, keepdims=True)).astype(np.float32)
        # One filter, as of 48 to 8 kHz, needs no matrix, and of odd rates they would be too many.
        self._n_groups = self._up // gcd(GROUP, self._up)  # until positions between samples come again
        n_weights = self._n_groups * GROUP * (2 * self._half + GROUP * self._down // self._up)
        self._matrices = self._group_matrices() if self._up > 1 and n_weights <= MAX_TAPS else []
        self.reset()

    def _group_matrices(self) -> list[np.ndarray]:
        """For each group the matrix that computes GROUP outputs from the samples below them."""
        matrices = []
        for group in range(self._n_groups):
            positions = (group * GROUP + np.arange(GROUP)) * self._down
            starts = positions // self._up - positions[0] // self._up
            matrix = np.zeros((GROUP, starts[-1] + 2 * self._half), np.float32)
            for row, start, phase in zip(matrix, starts, positions % self._up, strict=True):
                row[start : start + 2 * self._half] = self._filters[phase]
            matrices.append(matrix)
        return matrices

    def reset(self) -> None:
        """Forget the stream so far."""
        self._buffer = np.zeros(self._half - 1, dtype=np.float32)
        self._position = 0  # of the next output's first tap in the buffer, in units of 1 / up input samples
        self._group = 0  # of the next outputs

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take (T,) float32 at the original rate, return what can be computed at the new one."""
        if self._up == self._down:
            return samples
        outputs = [self._push_chunk(samples[i : i + MAX_CHUNK]) for i in range(0, samples.size, MAX_CHUNK)]
        return np.concatenate(outputs) if outputs else np.zeros(0, dtype=np.float32)

    def flush(self) -> np.ndarray:
        """Return what the delay still held back."""
        if self._up == self._down:
            return np.zeros(0, dtype=np.float32)
        if not self._matrices:
            return self._push_chunk(np.zeros(self._half, dtype=np.float32))
        count = self._n_outputs(self._buffer.size + self._half)
        whole_group = max(matrix.shape[1] for matrix in self._matrices)
        return self._push_chunk(np.zeros(self._half + whole_group, dtype=np.float32))[:count]

    def _n_outputs(self, n_samples: int) -> int:
        """How many can be computed from so many samples in the buffer."""
        starts_available = n_samples - 2 * self._half + 1
        return max(0, -(-(starts_available * self._up - self._position) // self._down))

    def _push_chunk(self, samples: np.ndarray) -> np.ndarray:
        self._buffer = np.concatenate((self._buffer, samples), dtype=np.float32, casting="unsafe")
        count = self._n_outputs(self._buffer.size)
        if self._matrices:
            count -= count % GROUP
        output = np.empty(count, dtype=np.float32)
        if count:
            # A view as of sliding_window_view, which interns strings at each call until their table is a megabyte.
            step = self._buffer.itemsize
            shape = self._buffer.size - 2 * self._half + 1, 2 * self._half
            taps = np.ndarray(shape, np.float32, self._buffer, strides=(step, step))
            if self._up == 1:
                np.einsum("ij,j->i", taps[self._position :: self._down][:count], self._filters[0], out=output)
            elif self._matrices:
                self._multiply_groups(output)
            else:
                self._filter_each(taps, output)
        self._position += count * self._down
        used = min(self._position // self._up, self._buffer.size)
        self._buffer = self._buffer[used:]
        self._position -= used * self._up
        return output

    def _multiply_groups(self, output: np.ndarray) -> None:
        """Fill `output` (n,), whole groups: nothing is gathered, and a group is the same in blocks of any size."""
        for first in range(0, output.size, GROUP):
            matrix = self._matrices[self._group]
            start = (self._position + first * self._down) // self._up
            np.dot(matrix, self._buffer[start : start + matrix.shape[1]], out=output[first : first + GROUP])
            self._group = (self._group + 1) % self._n_groups

    def _filter_each(self, taps: np.ndarray, output: np.ndarray) -> None:
        """Fill `output` (n,) from `taps` (m, 2 half), each sample with the filter of its position."""
        positions = self._position + np.arange(output.size) * self._down
        for first in range(0, output.size, OUTPUTS_AT_ONCE):
            part = slice(first, first + OUTPUTS_AT_ONCE)
            starts, phases = positions[part] // self._up, positions[part] % self._up
            np.einsum("ij,ij->i", taps[starts], self._filters_at(phases), out=output[part])

    def _filters_at(self, phases: np.ndarray) -> np.ndarray:
        """Filters (n, 2 half) for phases (n,), in units of 1 / up input samples."""
        if self._is_exact:
            return self._filters[phases]
        below, rest = np.divmod(phases * self._n_phases, self._up)
        filters = self._filters[below]
        return filters + (rest / self._up).astype(np.float32)[:, None] * (self._filters[below + 1] - filters)
