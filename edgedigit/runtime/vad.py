"""Which frames of a stream are speech: a detector of voices and an energy gate over an adaptive noise floor."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Protocol

import numpy as np

from edgedigit.errors import ConfigError, MissingDependencyError

DETECTORS = ("webrtc", "silero")
WEBRTC_RATES_HZ = (8000, 16000, 32000, 48000)
MAX_DB = 200.0  # of a level or a difference of two, far beyond what 16 bits or an ear can tell
MAX_THRESHOLD = 1e6  # of any unit, 17 minutes in ms: beyond lie infinity and slips, and no memory for the past

AT_LEAST_A_FRAME = (
    "tail_ms",
    "peak_ms",
    "floor_assumed_ms",
    "mirrored_ms",
    "stable_silence_ms",
    "stable_ms",
    "lasting_ms",
    "rest_ms",
    "running_pause_ms",
    "running_speech_ms",
    "partial_ms",
)
AT_LEAST_0 = ("pre_roll_ms", "min_speech_ms", "lasting_drop_db", "lasting_above_db", "faded_db", "detector_gain_db")
FROM_0_BELOW_1 = ("floor_quantile", "voiced_correlation")


def is_threshold(value: object) -> bool:
    """Whether a value from a model's metadata is a number that a threshold can be: finite, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool) and -MAX_THRESHOLD <= value <= MAX_THRESHOLD


@dataclass(frozen=True)
class VadOptions:
    """Every threshold of endpointing. Times in milliseconds are rounded to whole frames.

    Raises:
        ConfigError: if a value cannot work.
    """

    detector: str = "webrtc"  # of voices; or silero, which brings its own ONNX file
    frame_ms: int = 10  # 10, 20 or 30, what webrtcvad takes
    aggressiveness: int = 1  # of webrtcvad: 0 takes the most for speech, 3 the least
    detector_floor_db: float = -55.0  # detectors depend on level: the noise floor is brought up to this, in dBFS,
    detector_gain_db: float = 30.0  # but by no more than this
    silero_probability: float = 0.5  # of speech, from which Silero says so; its authors' value
    silero_release: float = 0.15  # below it, where speech, once found, is over; its authors' value
    voiced_correlation: float = 0.5  # of neighbouring samples, above which a frame of speech has a voice
    gate_db: float = 6.0  # speech stands this far above the noise floor
    gate_share: float = 0.5  # and by this share of the height of the loudest recent frame above the floor: noise that
    gate_max_db: float = 12.0  # rises a little keeps no word open; a share asks for no more than this
    peak_drop_db: float = 30.0  # and no further than this below the loudest recent frame
    peak_ms: int = 500  # how recent that frame is
    floor_window_ms: int = 3000  # past from which the noise floor is taken
    floor_quantile: float = 0.1  # of its frames: the quietest tenth is noise
    floor_min_db: float = -75.0  # dBFS; the floor is never lower, and before any frame is heard it is this
    floor_assumed_ms: int = 100  # of the past that is taken for it then; the quietest tenth for 0.9 s
    # RMS about the mean, dBFS, up to which a frame holds no sound: a little more than one step of 16 bits, which zeros,
    # a bare offset and dither in place of zeros do not reach. It is 15 dB below floor_min_db: what a microphone hears
    # there is no louder to the gate than silence anyway.
    no_sound_db: float = -90.3
    onset_ms: int = 30  # speech must last this long before a word starts
    pre_roll_ms: int = 400  # audio before the onset that is kept: soft beginnings, and the noise that the model expects
    mirrored_ms: int = 100  # of its beginning, there and back, fills the model's window before it
    stable_silence_ms: int = 40  # silence after which a word is answered if the model is sure and has been for long
    stable_ms: int = 80  # how long; it had chosen the same label before the word's end came, as surely
    early_ms: int = 80  # silence after which a word is answered if the model is sure
    early_probability: float = 0.9  # how sure; above 1: never early
    hangover_ms: int = 100  # silence after which a word is over in any case; the 150 ms budget contains it
    lasting_ms: int = 120  # while sound goes on a word is answered if the model has been sure of one label so long,
    lasting_drop_db: float = 3.0  # in which all was so far below its loudest frame: what follows a word, not the word
    lasting_above_db: float = 45.0  # and if that frame is less than this above the noise floor: in quiet speech goes on
    faded_db: float = 20.0  # below its loudest frame: where it is then taken to have ended, for its latency alone
    rest_ms: int = 250  # what then still goes on is the same word's; after so long a rise of its level is another's
    min_speech_ms: int = 60  # speech in a word; less is a click
    tail_ms: int = 300  # after a digit as much of voice is asked for: tails of stops have none
    max_speech_ms: int = 1500  # a word is cut here
    running_pause_ms: int = 500  # silence that ends running speech, such as a sentence
    running_speech_ms: int = 600  # more of rejected words than of digits, without such a pause: the speech is running
    running_probability: float = 0.99  # of a digit amid running speech; above 1: none is answered there
    running_above_db: float = 4.0  # a word this far above all of it is no part of it, but nearer, or the rest is noise
    partial_ms: int = 40  # between posteriors while a word goes on, of which lasting_ms needs some

    def __post_init__(self):
        if self.detector not in DETECTORS:
            raise ConfigError(f"detector is {self.detector!r}, expected one of {', '.join(DETECTORS)}")
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name != "detector" and not is_threshold(value):
                limit = f"{MAX_THRESHOLD:.0f}"
                raise ConfigError(f"VAD threshold {option.name} is {value!r}, expected a number, -{limit} to {limit}")
            if option.name.endswith("_db") and abs(value) > MAX_DB:
                raise ConfigError(f"{option.name} is {value}, expected -{MAX_DB:.0f} to {MAX_DB:.0f}")
        if not 0 < self.silero_probability < 1:
            raise ConfigError(f"silero_probability is {self.silero_probability}, expected more than 0 and below 1")
        if not 0 <= self.silero_release < self.silero_probability:
            raise ConfigError(
                f"silero_release is {self.silero_release}, expected 0 or more and below silero_probability, "
                f"{self.silero_probability}"
            )
        for name in FROM_0_BELOW_1:
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 0 or more and below 1")
        if self.frame_ms not in (10, 20, 30):
            raise ConfigError(f"frame_ms is {self.frame_ms}, expected 10, 20 or 30")
        if self.aggressiveness not in (0, 1, 2, 3):
            raise ConfigError(f"aggressiveness is {self.aggressiveness}, expected 0, 1, 2 or 3")
        for name in ("frame_ms", "aggressiveness"):  # JSON may say 10.0, and webrtcvad takes no floats
            object.__setattr__(self, name, int(getattr(self, name)))
        if not self.frame_ms <= self.onset_ms < self.max_speech_ms:
            raise ConfigError(
                f"onset_ms {self.onset_ms} and max_speech_ms {self.max_speech_ms} must satisfy "
                f"{self.frame_ms} <= onset_ms < max_speech_ms"
            )
        if not self.frame_ms <= self.early_ms <= self.hangover_ms:
            raise ConfigError(
                f"early_ms {self.early_ms} and hangover_ms {self.hangover_ms} must satisfy "
                f"{self.frame_ms} <= early_ms <= hangover_ms"
            )
        for name in AT_LEAST_A_FRAME:
            if not getattr(self, name) >= self.frame_ms:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected {self.frame_ms} or more")
        if self.partial_ms > self.lasting_ms:
            raise ConfigError(f"partial_ms is {self.partial_ms}, expected no more than lasting_ms, {self.lasting_ms}")
        for name in AT_LEAST_0:
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 0 or more")
        if self.floor_window_ms < 10 * self.frame_ms:
            raise ConfigError(f"floor_window_ms is {self.floor_window_ms}, expected {10 * self.frame_ms} or more")

    @classmethod
    def from_dict(cls, values: Mapping) -> VadOptions:
        """From the `vad` part of a model's thresholds; what it leaves out keeps its default.

        Raises:
            ConfigError: if it is no mapping, a name is unknown or a value cannot work.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"VAD thresholds are {values!r}, expected names with values; run export_models.py again")
        known = [option.name for option in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"unknown VAD thresholds {', '.join(unknown)}; known are {', '.join(known)}")
        return cls(**_of_older_models(values), **values)

    def frames(self, duration_ms: float) -> int:
        """Whole frames in a duration, at least one."""
        return max(1, round(duration_ms / self.frame_ms))


def _of_older_models(values: Mapping) -> dict:
    """Fields that a model is older than and whose defaults would not do, or would change what it hears."""
    added = {}
    partial_ms, window_ms, frame_ms = (values.get(name) for name in ("partial_ms", "floor_window_ms", "frame_ms"))
    if "lasting_ms" not in values and is_threshold(partial_ms):  # may ask more seldom
        added["lasting_ms"] = max(VadOptions.lasting_ms, partial_ms)
    if "lasting_ms" in values and "lasting_above_db" not in values:  # answered while sound goes on in quiet, too
        added["lasting_above_db"] = MAX_DB
    if "floor_assumed_ms" not in values and is_threshold(window_ms):  # had a thirtieth of the window
        frame_ms = frame_ms if is_threshold(frame_ms) and frame_ms > 0 else VadOptions.frame_ms
        added["floor_assumed_ms"] = frame_ms * max(1, round(window_ms / frame_ms) // 30)
    return added


class VoiceActivity(Protocol):
    """Anything that tells speech frames from others, one after the other."""

    def is_speech(self, frame: np.ndarray) -> bool:
        """Whether the next frame, float32 (frame_length,), is speech."""

    def reset(self) -> None:
        """Forget the stream so far."""

    # And, where it knows, `noise_floor_db`: present noise floor in dBFS.


class EnergyGate:
    """Which frames stand out of the noise, at any level.

    A detector of voices goes on saying "speech" after a word, webrtcvad for up to 140 ms; this gate ends a word within
    a frame. It follows the noise floor, so recordings of any gain are treated alike.

    Frames without any sound (lost blocks, a muted microphone, a noise gate) say nothing about the noise: before the
    first sound they count for nothing, later as the floor that was known. They do not stay out of the past altogether,
    since words with digital silence between them would then be taken for noise.

    Args:
        options: thresholds.
    """

    def __init__(self, options: VadOptions):
        self._options = options
        self._last_sample = np.float32(0)
        # Everything but offset, and the difference of neighbours, in which faint hiss stands out.
        self._bands = (_Band(options), _Band(options))
        self._has_begun = False

    @property
    def noise_floor_db(self) -> float:
        """Present noise floor in dBFS."""
        return self._bands[0].floor_db

    @property
    def gain(self) -> float:
        """What a detector's input is multiplied by, since detectors depend on level."""
        missing_db = self._options.detector_floor_db - self.noise_floor_db
        return 10 ** (min(max(missing_db, 0.0), self._options.detector_gain_db) / 20)

    def is_open(self, frame: np.ndarray) -> bool:
        """Whether the next frame, float32 (frame_length,), stands out."""
        samples = np.empty(frame.size + 1)
        samples[0], samples[1:] = self._last_sample, frame
        self._last_sample = frame[-1]
        power = (_variance(samples[1:]), _variance(samples[1:] - samples[:-1]))
        has_sound = power[0] > 10 ** (self._options.no_sound_db / 10)
        self._has_begun = self._has_begun or has_sound
        if not self._has_begun:
            return False
        pairs = zip(self._bands, power, strict=True)
        return any([band.stands_out(10 * math.log10(of_band + 1e-12), has_sound) for band, of_band in pairs])


class _Band:
    """The noise floor of a band and what stands out of it; plain numbers, since arrays of two take longer."""

    def __init__(self, options: VadOptions):
        self.floor_db = options.floor_min_db
        self._options = options
        n_frames = options.frames(options.floor_window_ms)
        self._n_assumed = min(options.frames(options.floor_assumed_ms), n_frames - 1)
        self._past_db = [options.floor_min_db] * self._n_assumed + [math.inf] * (n_frames - self._n_assumed)
        self._sorted_db = sorted(self._past_db)
        self._peaks_db = [-math.inf] * options.frames(options.peak_ms)
        self._n_heard = 0

    def stands_out(self, energy_db: float, has_sound: bool) -> bool:
        """Take the next frame's energy into the past, and say whether it is above what noise has."""
        options = self._options
        self._peaks_db[self._n_heard % len(self._peaks_db)] = energy_db
        n_frames, i = len(self._past_db), (self._n_assumed + self._n_heard) % len(self._past_db)
        del self._sorted_db[bisect_left(self._sorted_db, self._past_db[i])]
        self._past_db[i] = energy_db if has_sound else self.floor_db
        insort(self._sorted_db, self._past_db[i])
        self._n_heard += 1
        k = int(options.floor_quantile * min(self._n_assumed + self._n_heard, n_frames))
        self.floor_db = max(self._sorted_db[k], options.floor_min_db)
        peak_db = max(self._peaks_db)
        share_db = min(options.gate_share * (peak_db - self.floor_db), options.gate_max_db)
        above_db = max(options.gate_db, share_db)
        return energy_db > max(self.floor_db + above_db, peak_db - options.peak_drop_db)


def _variance(samples: np.ndarray) -> float:
    """Of float64 (n,), n > 0; numpy's own takes three times as long for a frame, mostly in checking arguments."""
    mean = float(np.add.reduce(samples)) / samples.size
    return max(0.0, float(samples @ samples) / samples.size - mean * mean)


class WebRtcActivity:
    """Speech is what webrtcvad takes for speech and what stands out of the noise.

    Args:
        options: thresholds.
        sample_rate: Hz; 8000, 16000, 32000 or 48000.

    Raises:
        ConfigError: if webrtcvad cannot work at the rate.
        MissingDependencyError: if webrtcvad is not installed.
    """

    def __init__(self, options: VadOptions, sample_rate: int):
        if sample_rate not in WEBRTC_RATES_HZ:
            raise ConfigError(f"webrtcvad works at {WEBRTC_RATES_HZ} Hz, got {sample_rate}")
        self.options = options
        self.sample_rate = sample_rate
        self.reset()

    def reset(self) -> None:
        """Forget the stream so far."""
        try:
            import webrtcvad
        except ImportError:
            raise MissingDependencyError.of("webrtcvad", "runtime") from None
        self._webrtc = webrtcvad.Vad(self.options.aggressiveness)
        self._gate = EnergyGate(self.options)

    @property
    def noise_floor_db(self) -> float:
        """Present noise floor in dBFS."""
        return self._gate.noise_floor_db

    def is_speech(self, frame: np.ndarray) -> bool:
        """Whether the next frame, float32 (frame_length,), is speech."""
        is_open = self._gate.is_open(frame)
        pcm = np.minimum(np.maximum(frame * (self._gate.gain * 32768), -32768), 32767).astype("<i2").tobytes()
        return self._webrtc.is_speech(pcm, self.sample_rate) and is_open


def is_voiced(frame: np.ndarray, correlation: float) -> bool:
    """Whether a speech frame (frame_length,) is mainly low-frequency, as vowels are and hiss and clicks are not.

    The measure is the correlation of neighbouring samples, which does not depend on level.
    """
    centered = frame - np.add.reduce(frame) / frame.size
    return bool(centered[1:] @ centered[:-1] > correlation * (centered @ centered))
