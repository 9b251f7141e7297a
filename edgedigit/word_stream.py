"""Words streamed to a recogniser as a microphone would, and when each was answered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgedigit.audio import frame_energies, resample
from edgedigit.config import BenchConfig
from edgedigit.errors import GateError, InputError
from edgedigit.metrics import latency_summary
from edgedigit.runtime import Event, StreamingRecognizer

MICROPHONE_RATE = 48000  # Hz; what most devices deliver, so that resampling is part of what is measured
BLOCK_MS = 20.0  # what a device hands over at once
GAP_S = (0.6, 1.2)  # silence between words
NOISE_DB = -65.0  # dBFS, of the noise under the whole stream: a quiet room
SETTLE_S = 1.5  # noise before the first word and after the last
END_DROP_DB = 35.0  # a word ends with its last frame that is no further below its loudest
WITHIN_MS = BenchConfig().budget_answer_ms  # an answer later than this is late
OTHER_DROPS_DB = (25.0, 30.0, 40.0)  # the figure depends on this choice, so it is also given for others
END_FRAME_MS = 10


@dataclass(frozen=True, eq=False)
class Clip:
    """One spoken digit: waveform (T,) float32 in [-1, 1] at `sample_rate` Hz."""

    waveform: np.ndarray
    sample_rate: int
    label: str
    group: str = ""  # whose words these are, where a stream holds several kinds
    speaker: str = ""  # "": not known


@dataclass(frozen=True)
class Word:
    """Where a clip lies in a stream, in seconds from the stream's beginning."""

    label: str
    start_s: float
    end_s: float  # of the word, by `end_of_word`
    clip_end_s: float
    other_ends_s: tuple[float, ...] = ()  # by `end_of_word` with each of OTHER_DROPS_DB
    group: str = ""  # of its clip


@dataclass(frozen=True, eq=False)
class WordStream:
    """Words with noise between them: waveform (T,) float32 at `sample_rate` Hz."""

    waveform: np.ndarray
    sample_rate: int
    words: tuple[Word, ...]

    @property
    def duration_s(self) -> float:
        """Length."""
        return self.waveform.size / self.sample_rate

    def clip_of(self, word: Word) -> np.ndarray:
        """What the stream holds where a word's clip lies, noise included: (T,)."""
        return self.waveform[round(word.start_s * self.sample_rate) : round(word.clip_end_s * self.sample_rate)]


@dataclass(frozen=True)
class Answer:
    """An event and the time, in seconds of the stream, at which the program had it."""

    event: Event
    answered_s: float


@dataclass(frozen=True, eq=False)
class StreamScore:
    """What became of each word of a stream.

    Attributes:
        words: those of the stream.
        labels: first digit answered for each, None where there was none.
        latency_ms: (n_words,) from the end of the word to that answer, NaN where there was none; negative where the
            answer came before the end.
        rejected_ms: (n_words,) from the end of the word to the moment at which the recogniser first said that it was
            not sure, where it said nothing else; NaN for all other words.
        n_extra: further digits: a second one for the same word, or one where there was no word.
    """

    words: tuple[Word, ...]
    labels: tuple[str | None, ...]
    latency_ms: np.ndarray
    rejected_ms: np.ndarray
    n_extra: int

    @property
    def n_correct(self) -> int:
        """Words whose first answer was right."""
        return sum(self.right)

    @property
    def right(self) -> list[bool]:
        """Whether the first answer to each word was right."""
        return [label == word.label for word, label in zip(self.words, self.labels, strict=True)]

    @property
    def n_rejected(self) -> int:
        """Words for which the recogniser only said that it was not sure."""
        return int(np.isfinite(self.rejected_ms).sum())

    @property
    def decided_ms(self) -> np.ndarray:
        """(n_words,) from the end of the word to its answer or, where there was none, its rejection; NaN: neither."""
        return np.where(np.isnan(self.latency_ms), self.rejected_ms, self.latency_ms)

    def row(self, name: str, within_ms: float = WITHIN_MS, **more: object) -> dict:
        """A row for the table of results; answers that came before the end of the word count as 0 ms.

        Percentiles are of the words with an answer. `n_within`, of all words, are those that were answered or rejected
        within so many ms: a word of which nothing was said is late. `n_right_within` are those with the right digit.

        Raises:
            GateError: if no word was answered.
        """
        answered = np.isfinite(self.latency_ms)
        heard = self.latency_ms[answered]
        if heard.size == 0:
            raise GateError(f"{name}: none of {len(self.words)} words was answered; check the model with infer.py")
        p95_by_drop = {END_DROP_DB: float(np.percentile(np.maximum(heard, 0.0), 95))}
        for i, drop_db in enumerate(OTHER_DROPS_DB if self.words[0].other_ends_s else ()):
            moved = np.array([1000 * (word.end_s - word.other_ends_s[i]) for word in self.words])
            p95_by_drop[drop_db] = float(np.percentile(np.maximum(heard + moved[answered], 0.0), 95))
        return {
            "name": name,
            **latency_summary(np.maximum(heard, 0.0)),
            "latency_ms_p95_by_end_drop_db": {f"{drop:g}": p95 for drop, p95 in sorted(p95_by_drop.items())},
            "n_clips": len(self.words),
            "n_correct": self.n_correct,
            "n_missed": len(self.words) - int(heard.size),
            "n_rejected": self.n_rejected,
            "n_extra": self.n_extra,
            "n_before_end": int((heard < 0).sum()),
            "within_ms": within_ms,
            "n_within": int((self.decided_ms <= within_ms).sum()),
            "n_right_within": int((np.array(self.right) & (self.latency_ms <= within_ms)).sum()),
            **more,
        }


def end_of_word(waveform: np.ndarray, sample_rate: int, drop_db: float = END_DROP_DB) -> int:
    """Number of samples up to the end of the word in a clip (T,).

    The word ends with the last frame of 10 ms whose energy is no more than `drop_db` below that of the loudest. It
    knows nothing of the recogniser's own endpointing. In a clip whose noise is louder than that, the word ends where
    the clip does.
    """
    frame_length = sample_rate * END_FRAME_MS // 1000
    energies = frame_energies(waveform, frame_length)
    last = np.flatnonzero(energies >= energies.max() * 10 ** (-drop_db / 10))[-1]
    return min((int(last) + 1) * frame_length, waveform.size)


def build_stream(
    clips: Sequence[Clip],
    sample_rate: int = MICROPHONE_RATE,
    gap_s: tuple[float, float] = GAP_S,
    noise_db: float = NOISE_DB,
    seed: int = 0,
    bed: np.ndarray | None = None,
) -> WordStream:
    """Put clips one after the other with random gaps, over one steady noise.

    Args:
        clips: words, all at one sample rate.
        sample_rate: Hz, of the stream.
        gap_s: shortest and longest gap; drawn evenly.
        noise_db: level of the white noise, dBFS.
        seed: of gaps and noise.
        bed: a further noise (T,) at the clips' rate under all of it, begun anew where it ends.

    Raises:
        InputError: if there are no clips, or their rates differ.
    """
    rates = {clip.sample_rate for clip in clips}
    if len(rates) != 1:
        raise InputError(f"got {len(clips)} clips at {sorted(rates)} Hz, expected some at one rate")
    (rate,) = rates
    rng = np.random.default_rng(seed)
    parts, words, position = [], [], 0

    def add(samples: np.ndarray) -> None:
        nonlocal position
        parts.append(samples)
        position += samples.size

    add(np.zeros(round(SETTLE_S * rate), np.float32))
    for clip in clips:
        ends_s = [(position + end_of_word(clip.waveform, rate, db)) / rate for db in (END_DROP_DB, *OTHER_DROPS_DB)]
        clip_end_s = (position + clip.waveform.size) / rate
        words.append(Word(clip.label, position / rate, ends_s[0], clip_end_s, tuple(ends_s[1:]), clip.group))
        add(clip.waveform)
        add(np.zeros(round(rng.uniform(*gap_s) * rate), np.float32))
    add(np.zeros(round(SETTLE_S * rate), np.float32))
    waveform = np.concatenate(parts) + rng.normal(0, 10 ** (noise_db / 20), position).astype(np.float32)
    if bed is not None:
        waveform += np.resize(bed, position)
    return WordStream(np.clip(resample(waveform, rate, sample_rate), -1, 1), sample_rate, tuple(words))


def play(
    stream: WordStream,
    engine: StreamingRecognizer,
    block_ms: float = BLOCK_MS,
    realtime: bool = False,
    progress: bool = False,
) -> list[Answer]:
    """Feed a stream to a recogniser as a microphone would, and note when the program has each answer.

    A block is handed over when its last sample has been spoken. In real time this function sleeps until then. On the
    virtual clock it does not sleep: the clock jumps to that moment, unless the recogniser is still behind, and moves on
    by the time that `accept` really took, which prints too where the engine does; an engine that is too slow falls
    behind there as it would live.

    Args:
        stream: what is spoken.
        engine: the recogniser, made for the stream's sample rate.
        block_ms: length of a block.
        realtime: sleep instead of jumping.
        progress: show a bar.
    """
    block = max(1, round(stream.sample_rate * block_ms / 1000))
    answers, now_s, started = [], 0.0, time.perf_counter()
    starts = range(0, stream.waveform.size, block)
    if progress:
        from tqdm import tqdm

        starts = tqdm(starts, leave=False, unit="block", disable=None)
    for start in starts:
        samples = stream.waveform[start : start + block]
        spoken_s = (start + samples.size) / stream.sample_rate
        if realtime:
            time.sleep(max(0.0, spoken_s - (time.perf_counter() - started)))
            events = engine.accept(samples)
            now_s = time.perf_counter() - started
        else:
            began = time.perf_counter()
            events = engine.accept(samples)
            now_s = max(now_s, spoken_s) + time.perf_counter() - began
        answers += [Answer(event, now_s) for event in events]
    return answers + [Answer(event, now_s) for event in engine.flush()]


def score(words: Sequence[Word], answers: Sequence[Answer]) -> StreamScore:
    """Match digits to words: an event belongs to the word with which its speech overlaps most.

    The first digit of a word is its answer; every other digit is extra, and so is one that overlaps no word.
    """
    labels: list[str | None] = [None] * len(words)
    latency_ms = np.full(len(words), np.nan)
    rejected_ms = np.full(len(words), np.nan)
    n_extra = 0
    for answer in answers:
        event = answer.event
        if event.kind not in ("digit", "rejected"):
            continue
        overlaps = [min(event.end_s, word.clip_end_s) - max(event.start_s, word.start_s) for word in words]
        best = int(np.argmax(overlaps))
        within = overlaps[best] > 0
        after_ms = 1000 * (answer.answered_s - words[best].end_s)
        if event.kind == "rejected":
            if within and np.isnan(rejected_ms[best]):
                rejected_ms[best] = after_ms
        elif within and labels[best] is None:
            labels[best], latency_ms[best] = event.label, after_ms
        else:
            n_extra += 1
    rejected_ms[np.isfinite(latency_ms)] = np.nan  # who is unsure and then sure has answered
    return StreamScore(tuple(words), tuple(labels), latency_ms, rejected_ms, n_extra)
