"""Words out of a stream: blocks of any size and rate in, events out, the same however the stream is cut."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgedigit.audio import check_waveform
from edgedigit.errors import ModelError
from edgedigit.runtime.predictor import Prediction, Recognizer
from edgedigit.runtime.resampler import StreamResampler
from edgedigit.runtime.vad import VadOptions, VoiceActivity, WebRtcActivity, is_voiced
from edgedigit.runtime.word import Frame, Word, fill_window


@dataclass(frozen=True)
class Event:
    """Something that happened in the stream. Times are seconds since its beginning."""

    kind: str
    """`speech_start`; `partial`: what the word seems to be so far, where asked for; `digit`: a word was recognised;
    `rejected`: a word, but none of the model's, or not surely; `speech_end`: the word is over, after every
    `speech_start`: silence, or another word begins in what goes on."""
    time_s: float
    """When it was decided."""
    start_s: float
    """First frame of the speech."""
    end_s: float | None = None
    """End of the last frame of the speech so far, which a `digit` need not wait for; None for `speech_start`."""
    prediction: Prediction | None = None
    """The model's answer; of `digit`, `rejected` and `partial` only."""
    latency_ms: float | None = field(default=None, compare=False)
    """From `end_s` to the answer in the stream's own time: filter delay, silence waited for, features and network.
    For a word answered while sound goes on, from its last frame within `faded_db` of its loudest: an estimate, since
    noise may hide the end. The block that a device hands over, and how long it has waited before `accept`, come on
    top."""

    @property
    def label(self) -> str | None:
        """The likeliest label, if there is an answer."""
        return self.prediction.label if self.prediction else None

    @property
    def probability(self) -> float | None:
        """Its probability, if there is an answer."""
        return self.prediction.probability if self.prediction else None


@dataclass
class _Ask:
    """A time at which the model may be asked about a word that goes on."""

    n_frames: int  # of the word
    is_running: bool  # it is amid running speech
    prediction: Prediction | None = None  # the answer, once it was asked


class StreamingRecognizer:
    """Finds the words in a stream and recognises each.

    Frames of `frame_ms` are speech or not (`VoiceActivity`). `onset_ms` of speech opens a word, whose audio begins
    `pre_roll_ms` earlier. After `stable_silence_ms` of silence the model is asked what the word is and what it was
    `stable_ms` ago; if it is sure of the same label both times, that is the answer. Else it is asked again after
    `early_ms`, when being sure suffices, and after `hangover_ms`, when the word is over in any case; speech that
    resumes before the answer belongs to the same word. While sound goes on it answers once it has been as sure of
    one label for `lasting_ms`, at each `partial_ms` of it, and all of it is `lasting_drop_db` below the word's
    loudest frame: noise can keep a word open long after its end. In quiet, where that frame is `lasting_above_db`
    above the noise, it waits for the silence: what goes on there is speech. What still goes on then belongs to the
    same word, until it is silent, as loud as the word again, or louder after `rest_ms` than when it was answered.
    What resumes within `tail_ms` of a digit is a new word only if it holds `min_speech_ms` of voiced speech: the
    /t/ of "eight" and the /ks/ of "six" after their closures do not. A model without `_unknown_`, which takes any
    hiss for a word, is asked about voiced words alone. Of what is rejected with less voice than that, nothing is
    said. After `running_speech_ms` more of rejected words than of digits without a pause of `running_pause_ms`
    somebody is talking, and a digit is answered only from `running_probability` on, unless it is `running_above_db`
    louder than all of these. Everything is decided frame by frame, so the answers do not depend on how the stream
    is cut into blocks. Instances are independent and need constant memory.

    Args:
        recognizer: the model.
        options: thresholds; None: those in the model's metadata, else the defaults.
        sample_rate: Hz, of the blocks.
        activity: another voice activity detector, working on frames of `options.frame_ms` at the model's rate; None:
            the one that `options.detector` names.
        silero_model: Silero's ONNX file, where `options.detector` is silero; None: the one in the package silero-vad.
        partials: also give `partial` events, every `options.partial_ms` of a word. They change no other event.

    Raises:
        ConfigError: if the model's thresholds are unknown or cannot work.
        ModelError: if the model takes something else than audio.

    Example:
        >>> stream = StreamingRecognizer(Recognizer(), sample_rate=48000)
        >>> for block in blocks:
        ...     for event in stream.accept(block):
        ...         print(event.kind, event.label)
    """

    def __init__(
        self,
        recognizer: Recognizer,
        options: VadOptions | None = None,
        sample_rate: int = 8000,
        activity: VoiceActivity | None = None,
        silero_model: str | os.PathLike | None = None,
        partials: bool = False,
    ):
        if recognizer.info.signal.kind != "audio":
            raise ModelError(f"{recognizer.path.name} takes {recognizer.info.signal.kind}; streams are of audio alone")
        self.recognizer = recognizer
        self.options = options or VadOptions.from_dict(recognizer.info.thresholds.get("vad", {}))
        self._rate = recognizer.info.sample_rate
        self._frame_length = self._rate * self.options.frame_ms // 1000
        self._activity = activity or _make_activity(self.options, self._rate, silero_model)
        self._resampler = StreamResampler(sample_rate, self._rate)
        self._onset = self.options.frames(self.options.onset_ms)
        self._knows_others = recognizer.info.reject_label is not None
        self._partials = partials
        self.reset()

    @property
    def time_s(self) -> float:
        """Seconds of the stream that have been decided on."""
        return self._seconds(self._position)

    def reset(self) -> None:
        """Begin a new stream at time zero."""
        self._resampler.reset()
        self._activity.reset()
        self._pending = np.zeros(0, dtype=np.float32)  # less than a frame
        self._position = 0  # frames handled
        # While there is no word: the recent past, from which a word takes its beginning.
        self._past: deque[Frame] = deque(maxlen=self.options.frames(self.options.pre_roll_ms) + self._onset)
        self._word: Word | None = None
        self._word_start = 0  # first speech frame of the word
        self._asks: list[_Ask] = []  # while the word goes on, since the model was last unsure or of another label
        self._answered = 0  # frame at which it was answered while it goes on; 0: not yet
        self._rest_db = -np.inf  # how loud it still was then
        self._silence = 0  # frames since the word's last speech
        self._running = 0  # frames of rejected words less those of digits, since the last pause
        self._running_db = -np.inf  # the loudest frame of the rejected words
        self._last_end = 0  # of the last word's speech
        self._digit_end = -math.inf  # likewise, of the last that was answered

    def accept(self, samples: np.ndarray | Sequence[float]) -> list[Event]:
        """Take the next block, mono (T,) float in [-1, 1] or int16, of any length.

        Raises:
            AudioError: if the samples are not one channel of finite numbers.
        """
        samples = np.asarray(samples)
        if samples.size == 0:
            return []
        return self._accept(self._resampler.push(check_waveform(samples, "block")))

    def flush(self) -> list[Event]:
        """End the stream: answer for a word that is still open, then begin anew."""
        events = self._accept(self._resampler.flush())
        if self._pending.size:
            events += self._accept(np.zeros(self._frame_length - self._pending.size, dtype=np.float32))
        if self._word:
            events += self._close([] if self._answered else self._answer())
        self.reset()
        return events

    def _accept(self, samples: np.ndarray) -> list[Event]:
        samples = np.concatenate((self._pending, samples))
        n_whole = samples.size // self._frame_length * self._frame_length
        self._pending = samples[n_whole:].copy()  # a view would keep the whole block alive
        events = []
        for frame in samples[:n_whole].reshape(-1, self._frame_length):
            events += self._accept_frame(frame.copy())
        return events

    def _accept_frame(self, samples: np.ndarray) -> list[Event]:
        active = self._activity.is_speech(samples)
        energy = max(0.0, float(samples @ samples) - float(np.add.reduce(samples)) ** 2 / samples.size)
        frame = Frame(samples, active, active and is_voiced(samples, self.options.voiced_correlation), energy)
        self._position += 1
        if self._word:
            self._word.append(frame)
            self._silence = 0 if active else self._silence + 1
            return self._end_of_word()
        self._past.append(frame)
        if len(self._past) < self._onset or not all(past.active for past in list(self._past)[-self._onset :]):
            return []
        self._word_start = max(self._position - self._onset, self._last_end)
        self._word = Word(self._past, len(self._past) - (self._position - self._word_start))
        self._silence = 0
        self._asks, self._answered = [], 0
        if self._word_start - self._last_end >= self.options.frames(self.options.running_pause_ms):
            self._running, self._running_db = 0, -np.inf
        return [Event("speech_start", self._seconds(self._position), self._seconds(self._word_start))]

    def _end_of_word(self) -> list[Event]:
        """Answer if the word is over, or seems to be and the model is sure."""
        options = self.options
        too_long = self._position - self._word_start >= options.frames(options.max_speech_ms)
        if self._answered:
            silent = self._silence >= options.frames(options.stable_silence_ms)
            return self._close([]) if silent or too_long or self._begins_anew() else []
        if too_long or self._silence == options.frames(options.hangover_ms):
            return self._close(self._answer())
        early = self._silence == options.frames(options.early_ms)
        if early or self._silence == options.frames(options.stable_silence_ms):
            answer = self._answer(stable_ms=None if early else options.stable_ms, sure=options.early_probability)
            if answer:
                return self._close(answer)
        return self._while_it_lasts()

    def _answer(self, stable_ms: float | None = None, sure: float = 0.0) -> list[Event]:
        """Ask the model about the word so far; no answer for what holds too little speech to be a word.

        What is rejected and holds little voice is a click, a breath or the tail of a stop: nothing is said of it.

        Args:
            stable_ms: no answer either, unless it was the same this long ago.
            sure: nor one that is less probable, or rejected; 0: any.
        """
        n_stable = 0 if stable_ms is None else self.options.frames(stable_ms)
        if not self._is_word() or self._position - self._word_start <= n_stable:
            return []
        start = time.perf_counter()
        is_running = self._is_running_speech()
        prediction = self._predict(self._word.frames, is_running)
        if sure and not self._is_sure(prediction, sure):
            return []
        if n_stable:
            before = self._predict(self._word.frames[:-n_stable], is_running)
            if before.label != prediction.label or not self._is_sure(before, sure):
                return []
        if prediction.rejected and not self._is_voiced():
            return []
        return [self._decision("rejected" if prediction.rejected else "digit", prediction, start, self._silence)]

    def _while_it_lasts(self) -> list[Event]:
        """What the word seems to be, at its times, and its answer if that has been the same for long."""
        options = self.options
        due = self._silence == 0 and (self._position - self._word_start) % options.frames(options.partial_ms) == 0
        if not due or not self._is_word():
            return []
        ask = _Ask(len(self._word.frames), self._is_running_speech())
        self._asks.append(ask)
        start = time.perf_counter()
        level_db = self._word.level_db(options.frames(options.lasting_ms))
        has_faded = level_db <= self._word.level_db() - options.lasting_drop_db
        if has_faded and self._is_in_noise() and self._has_lasted():
            self._answered, self._rest_db = self._position, level_db
            return [self._decision("digit", self._answer_to(ask), start, self._word.n_since(options.faded_db))]
        return [self._event("partial", self._answer_to(ask))] if self._partials else []

    def _is_in_noise(self) -> bool:
        """Whether noise may keep the word open; it may where nothing says how loud it is."""
        floor_db = getattr(self._activity, "noise_floor_db", math.inf)
        return self._word.level_db() - floor_db < self.options.lasting_above_db

    def _has_lasted(self) -> bool:
        """Ask whether the model is sure of a label and has been sure of the same for `lasting_ms`.

        The latest time is asked about first, and none before one that had no such answer: what comes out is as if the
        model had been asked each time, but where it is seldom sure it is asked a third as often.
        """
        asks, self._asks = self._asks, []  # a model that fails leaves none, so that it is not asked the same again
        last, n_lasting = asks[-1], self.options.frames(self.options.lasting_ms)
        has_lasted = False
        if last.n_frames - asks[0].n_frames >= n_lasting:
            for i, ask in reversed(list(enumerate(asks))):
                prediction = self._answer_to(ask)
                is_sure = self._is_sure(prediction, self.options.early_probability)
                if not is_sure or prediction.label != self._answer_to(last).label:
                    asks = asks[i + 1 :]
                    break
                if last.n_frames - ask.n_frames >= n_lasting:
                    has_lasted = True
                    break
        self._asks = asks
        return has_lasted

    def _answer_to(self, ask: _Ask) -> Prediction:
        """What the model says of the word so far as it was then, said once."""
        if ask.prediction is None:
            ask.prediction = self._predict(self._word.frames[: ask.n_frames], ask.is_running)
        return ask.prediction

    def _begins_anew(self) -> bool:
        """Whether another word seems to begin in what goes on after an answer; the same one would only fade."""
        n_since = self._position - self._answered
        level_db = self._word.level_db(min(self._onset, n_since))
        loud = level_db > self._word.level_db() - self.options.lasting_drop_db
        rested = n_since >= self.options.frames(self.options.rest_ms)
        return loud or (rested and level_db > self._rest_db)

    def _decision(self, kind: str, prediction: Prediction, start: float, n_waited: int) -> Event:
        """An answer that has been computed since `start`, of `time.perf_counter`, so many frames after the word."""
        waited_s = self._seconds(n_waited) + self._resampler.delay_s
        return self._event(kind, prediction, (waited_s + time.perf_counter() - start) * 1000)

    def _is_word(self) -> bool:
        is_tail = self._word_start - self._digit_end < self.options.frames(self.options.tail_ms)
        if is_tail or not self._knows_others:
            return self._is_voiced()
        return self._lasts(self._word.n_active)

    def _is_voiced(self) -> bool:
        return self._lasts(self._word.n_voiced)

    def _lasts(self, n_frames: int) -> bool:
        """Whether so many frames last as long as a word."""
        return n_frames * self.options.frame_ms >= self.options.min_speech_ms

    @staticmethod
    def _is_sure(prediction: Prediction, probability: float) -> bool:
        return not prediction.rejected and prediction.probability >= probability

    def _is_running_speech(self) -> bool:
        is_running = self._running >= self.options.frames(self.options.running_speech_ms)
        return is_running and self._word.level_db() < self._running_db + self.options.running_above_db

    def _predict(self, frames: Sequence[Frame], is_running: bool) -> Prediction:
        """Amid running speech the model must be surer: there its digits are mostly syllables of other words."""
        n_mirrored = self.options.frames(self.options.mirrored_ms)
        window = fill_window(frames, self.recognizer.info.n_samples, n_mirrored)
        prediction = self.recognizer.predict(window, self._rate)
        if is_running and prediction.probability < self.options.running_probability:
            return replace(prediction, rejected=True)
        return prediction

    def _close(self, answer: list[Event]) -> list[Event]:
        """The answer and the end of the word; the silence after it is the past of the next."""
        events = [*answer, self._event("speech_end")]
        self._last_end = self._position - self._silence
        n_frames = (self._answered or self._last_end) - self._word_start
        is_digit = self._answered > 0 or any(event.kind == "digit" for event in answer)
        self._running = max(0, self._running + (-n_frames if is_digit else n_frames))
        if is_digit:
            self._digit_end = self._answered or self._last_end
        else:
            self._running_db = max(self._running_db, self._word.level_db())
        self._past.clear()
        silent = self._silence >= self.options.frames(self.options.stable_silence_ms)
        n_kept = self._position - self._answered if self._answered and not silent else self._silence
        self._past.extend(self._word.frames[len(self._word.frames) - n_kept :])
        self._word, self._answered = None, 0
        return events

    def _event(self, kind: str, prediction: Prediction | None = None, latency_ms: float | None = None) -> Event:
        end = self._position - self._silence
        times_s = (self._seconds(frames) for frames in (self._position, self._word_start, end))
        return Event(kind, *times_s, prediction, latency_ms)

    def _seconds(self, frames: int) -> float:
        return frames * self.options.frame_ms / 1000


def _make_activity(options: VadOptions, sample_rate: int, silero_model: str | os.PathLike | None) -> VoiceActivity:
    if options.detector == "silero":
        from edgedigit.runtime.silero import SileroActivity

        return SileroActivity(options, sample_rate, silero_model)
    return WebRtcActivity(options, sample_rate)
