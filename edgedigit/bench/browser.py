"""End of the word to the digit drawn on the page, in Chromium, whose fake microphone plays the words.

The clock is the page's own. Chromium stamps every block with the moment at which its device handed it over, and the
fake device hands over 10 ms of the file at once. A real device would do so when the last of them had been spoken, so
that is when the last is taken to be spoken here, and the first 10 ms before: the wait for the device's block is in
every time, as is whatever lies between the device and the page. Which sample of the file a block begins with is told by
content. The line through the earliest blocks is what counts, looked at from each block on: a block that alone was late
makes no answer seem sooner, and where the device falls behind for good the rest of the file is spoken later. An answer
counts when it has been drawn: in the first task after the animation frame that follows its row. What the compositor and
a screen need on top is in no figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgedigit.audio import SAMPLE_RATE, resample
from edgedigit.bench.answers import Answered, answer_row, answered_offline
from edgedigit.bench.in_page import DEVICE_RATE, Heard, hear
from edgedigit.errors import DeviceError
from edgedigit.metrics import latency_summary
from edgedigit.runtime import Event, Prediction, Recognizer
from edgedigit.serve.chromium import check_chromium
from edgedigit.serve.site import site_files
from edgedigit.word_stream import Answer, Clip, WordStream, build_stream, score

BROWSER = "in Chromium"
ARRIVAL = "Chromium's fake microphone: the last sample of a block to the page"
DRAWING = "the page in Chromium: a row in the document to its drawing"
NOTE = (
    "In Chromium: the page of edgedigit.serve hears the words from the browser's fake microphone at "
    f"{DEVICE_RATE} Hz, in real time, and an answer counts once its row has been drawn; the device's blocks of 10 ms, "
    "what lies between device and page, and the drawing are in every time."
)
OPENING_S = 5.0  # of the file, at most, are over when the page begins to listen
PLACED_BLOCKS = 50  # tell where in the file the first begins
SAME = 3 / 2**15  # of two samples, one of them rounded to 16 bits
MOST_EARLY_MS = 1.0  # that a block may be seen before its stamp, which browsers round
PIECE_S = 1.0  # of what the page has heard, looked for in what was played
MOVED_S = 0.25  # by which a piece may lie elsewhere than the one before it
SILENT = 1e-4  # of full scale: less than the noise between words, more than a resampler leaves of zeros
FOUND = 0.5  # correlation of a piece with where it lies; less, and there is nothing to hear


def check_browser(model: Path) -> None:
    """Raise what would keep `run_browser` from beginning: no Chromium, no playwright, no manifest, a missing file."""
    check_chromium()
    site_files(model)


def run_browser(
    model: Path, clips: Sequence[Clip], budget_ms: float, seed: int, say: Callable[[str], None]
) -> tuple[list[dict], Answered]:
    """The rows of what the device and the drawing take, and that of end of word -> answer.

    Raises:
        DeviceError: if Chromium fails, or sound was lost between its device and the clock.
        GateError: if no word was answered.
        InputError: if Chromium or a file of the page is missing.
    """
    recognizer = Recognizer(model)
    stream = build_stream(clips, DEVICE_RATE, seed=seed)
    say(f"playing {stream.duration_s / 60:.1f} minutes into Chromium's fake microphone")
    heard = hear(model, stream)
    clock = Clock(heard, stream)
    measured = score(stream.words, clock.answers())
    row = answer_row(browser_name(model, len(clips)), measured, answered_offline(recognizer, stream), budget_ms)
    asides = [
        {"name": ARRIVAL, **latency_summary(clock.arrivals_ms())},
        {"name": DRAWING, **latency_summary(np.array([shown["drawnMs"] - shown["shownMs"] for shown in heard.rows]))},
    ]
    return asides, Answered(row, BROWSER, measured.decided_ms)


def browser_name(model: Path, n_words: int) -> str:
    """Name of the row of end of word -> answer."""
    return f"{model.name}: end of word to answer, {n_words} words {BROWSER}"


class Clock:
    """When the sound of a stream was spoken, and what of it the page heard when.

    Raises:
        DeviceError: if the blocks were stamped by another clock, or are not what was played.
    """

    def __init__(self, heard: Heard, stream: WordStream):
        if heard.sample_rate != stream.sample_rate:
            got = f"hears at {heard.sample_rate} Hz, not at {stream.sample_rate} Hz"
            raise DeviceError(f"Chromium's fake microphone {got}; measure with another version")
        self._heard, self._rate = heard, stream.sample_rate
        handed_ms, seen_ms, n_samples, firsts = heard.blocks.T
        block_ms = 1000 * n_samples.max() / self._rate
        soonest_ms = (seen_ms - handed_ms).min()
        if not -MOST_EARLY_MS <= soonest_ms < block_ms:
            got = f"the soonest came {soonest_ms:.1f} ms after its stamp, expected less than a block, {block_ms:.1f} ms"
            raise DeviceError(f"Chromium stamps the microphone's blocks by another clock: {got}; use another version")
        self._ends = np.cumsum(n_samples.astype(int))
        starts = self._ends - n_samples.astype(int)
        place = place_of(firsts, starts, stream.waveform)
        self._ends += place
        zero_ms = handed_ms - 1000 * self._ends / self._rate
        self._zero_ms = np.minimum.accumulate(zero_ms[::-1])[::-1]
        self._lies_at = lies_at(heard.waveform, resample(stream.waveform, stream.sample_rate, SAMPLE_RATE))

    def spoken_ms(self, position_s: np.ndarray | float) -> np.ndarray:
        """When what lies there in the stream was spoken, by the page's clock."""
        block = np.searchsorted(self._ends / self._rate, position_s)
        return self._zero_ms[np.minimum(block, self._zero_ms.size - 1)] + 1000 * np.asarray(position_s)

    def position_s(self, page_s: np.ndarray | float) -> np.ndarray:
        """Where in the stream lies what the page heard so many seconds after it began to listen."""
        piece = np.minimum(np.asarray(page_s) // PIECE_S, self._lies_at.size - 1).astype(int)
        return page_s + self._lies_at[piece] / SAMPLE_RATE

    def arrivals_ms(self) -> np.ndarray:
        """From the last sample of each block to the page's having it, resampled: (M,) ms.

        Raises:
            DeviceError: if the page has sound that was not spoken yet: some of it was lost before, within a piece.
        """
        came_ms, n_samples = self._heard.audio.T
        ends_s = self.position_s((np.cumsum(n_samples) - 1) / SAMPLE_RATE)
        heard = (ends_s >= 0) & (ends_s < self._ends[-1] / self._rate)  # not the silence before the first sample
        after_ms = (came_ms - self.spoken_ms(ends_s))[heard]
        if after_ms.min() < 0:
            raise DeviceError(
                "sound was lost between Chromium's fake microphone and the page; close other programs and measure again"
            )
        return after_ms

    def answers(self) -> list[Answer]:
        """The rows of the page in the time of the stream, each answered when it was drawn.

        `answered_s` is the word's place in the stream and what has passed since it was spoken.
        """
        answers = []
        for row in self._heard.rows:
            start_s, end_s = (float(self.position_s(float(text))) for text in row["seconds"].split("–"))
            after_ms = row["drawnMs"] - float(self.spoken_ms(end_s))
            kind = "digit" if row["label"] else "rejected"
            probability, compute_ms = float(row["probability"]), float(row["computeMs"])
            prediction = Prediction(row["best"], probability, {}, kind == "rejected", compute_ms)
            answers.append(Answer(Event(kind, end_s, start_s, end_s, prediction), end_s + after_ms / 1000))
        return answers


def place_of(firsts: np.ndarray, starts: np.ndarray, waveform: np.ndarray) -> int:
    """Where in a file (T,) the first of its blocks begins.

    Args:
        firsts: (N,) first sample of each block.
        starts: (N,) samples from the first block's beginning to each block's.
        waveform: of the file.

    Raises:
        DeviceError: if the blocks are nowhere in it, or not all of them.
    """
    known, begin = firsts[:PLACED_BLOCKS], starts[:PLACED_BLOCKS]
    n_places = min(round(OPENING_S * DEVICE_RATE), waveform.size - int(begin[-1]))
    distance = sum(np.abs(waveform[at : at + n_places] - first) for at, first in zip(begin, known, strict=True))
    place = int(np.argmin(distance))
    inside = place + starts < waveform.size
    differ = int((np.abs(waveform[place + starts[inside]] - firsts[inside]) > SAME).sum())
    if differ:
        raise DeviceError(
            f"{differ} of {inside.sum()} blocks of Chromium's fake microphone are not what was played; "
            "close other programs and measure again"
        )
    return place


def lies_at(heard: np.ndarray, played: np.ndarray) -> np.ndarray:
    """By how many samples each piece of what was heard (T,) lies later in what was played: (T / PIECE,) int.

    Negative where the page hears silence before the first sample comes. A piece in which nothing can be found, as after
    the end, lies as the one before it does; silence before the first that is found lies as that does.

    Raises:
        DeviceError: if the first piece that is not silent is not within `OPENING_S` of its place, or there is no such
            piece.
    """
    piece, reach = round(PIECE_S * SAMPLE_RATE), round(MOVED_S * SAMPLE_RATE)
    if heard.size < piece:
        raise DeviceError(
            f"the page heard {heard.size / SAMPLE_RATE:.2f} s, expected all that was played; measure again"
        )
    lead = round(OPENING_S * SAMPLE_RATE)
    played = np.pad(played, (lead, 0))  # the silence before it, in which a page may begin
    offsets: list[int | None] = []
    known = None
    for start in range(0, heard.size - piece + 1, piece):
        lowest, highest = (-lead, lead) if known is None else (known - reach, known + reach)
        begin = max(-lead, start + lowest)
        at, correlation = find(heard[start : start + piece], played[begin + lead : start + highest + piece + lead])
        if correlation >= FOUND:
            known = begin + at - start
        elif known is None and np.abs(heard[start : start + piece]).max() > SILENT:
            raise DeviceError(f"the page does not hear what was played (correlation {correlation:.2f}); measure again")
        offsets.append(known)
    if known is None:
        raise DeviceError("the page hears nothing but silence; measure again")
    first = next(offset for offset in offsets if offset is not None)
    return np.array([first if offset is None else offset for offset in offsets])


def find(piece: np.ndarray, sound: np.ndarray) -> tuple[int, float]:
    """Where a piece (n,) fits best into a sound, and how well: Pearson's correlation without means, 0 where none fits.

    Source: fast normalised cross-correlation, J. P. Lewis, Vision Interface 1995.
    """
    n_places = sound.size - piece.size + 1
    if n_places < 1:
        return 0, 0.0
    n_fft = 1 << (sound.size + piece.size).bit_length()
    product = np.fft.irfft(np.fft.rfft(sound, n_fft) * np.conj(np.fft.rfft(piece, n_fft)), n_fft)[:n_places]
    energy = np.cumsum(np.concatenate([[0.0], np.square(sound, dtype=np.float64)]))
    scale = np.sqrt((energy[piece.size :] - energy[:n_places]) * np.square(piece, dtype=np.float64).sum())
    correlation = np.divide(product, scale, out=np.zeros(n_places), where=scale > 1e-9)
    best = int(np.argmax(correlation))
    return best, float(correlation[best])
