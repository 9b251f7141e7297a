"""What a sensor delivers and how it becomes features: two frozen dataclasses, shared by training and deployment."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

from edgedigit.errors import ConfigError

SIGNALS = ("audio", "emg")
KINDS = ("log_mel", "mfcc", "spectrogram", "raw", "emg")
N_TIME_FEATURES = 4  # of an EMG window beside its bands, see edgedigit.emg_features
MAX_SAMPLE = 1e12  # no scale goes further, 32-bit integers to 2.1e9; far beyond it energies overflow in float32

EMG_WINDOW_S, EMG_HOP_S = 0.256, 0.128  # 256 and 128 samples at 1 kHz
EMG_BAND_HZ = (20.0, 450.0)  # below lie movement and drift, above hardly any power (SENIAM: Hermens et al. 2000)
NYQUIST_SHARE = 0.9  # of Nyquist, where slower recordings end the band: a filter needs room to fall


@dataclass(frozen=True)
class Signal:
    """What a sensor delivers: the one window that all models of an experiment take.

    The defaults are one second of audio. Audio is mono and its windows are (n_samples,); EMG keeps its channels, and
    its windows are (n_channels, n_samples), in microvolts or in steps of the converter.

    Raises:
        ConfigError: if there is no such signal.
    """

    kind: str = "audio"  # or emg
    sample_rate: int = 8000  # Hz
    n_samples: int = 8000  # of the window
    n_channels: int = 1  # audio is averaged to one
    mains_hz: float = field(default=50.0, compare=False)  # of the place, 50 or 60; EMG is filtered of it, 0: it is not

    def __post_init__(self):
        if self.kind not in SIGNALS:
            raise ConfigError(f"signal kind {self.kind!r} is unknown; choose one of {', '.join(SIGNALS)}")
        for name in ("sample_rate", "n_samples", "n_channels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"signal {name} is {getattr(self, name)}, expected 1 or more")
        if self.kind == "audio" and self.n_channels != 1:
            raise ConfigError(f"audio has one channel here, got signal n_channels {self.n_channels}; set kind to emg")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one window."""
        return (self.n_samples,) if self.kind == "audio" else (self.n_channels, self.n_samples)

    @property
    def input_name(self) -> str:
        """Of an exported model's input."""
        return "waveform" if self.kind == "audio" else "emg"

    def frontend(self) -> dict:
        """Settings of `FrontendSpec` in which every model of this signal differs from the model's own: none for audio.

        Windows last as long at every rate, and the band ends below Nyquist.
        """
        if self.kind == "audio":
            return {}
        f_min, f_max = EMG_BAND_HZ
        nyquist_hz = self.sample_rate / 2
        win_length = max(2, round(EMG_WINDOW_S * self.sample_rate))
        return {
            "kind": "emg",
            "sample_rate": self.sample_rate,
            "n_samples": self.n_samples,
            "n_channels": self.n_channels,
            "win_length": win_length,
            "hop_length": max(1, round(EMG_HOP_S * self.sample_rate)),
            "n_fft": 1 << (win_length - 1).bit_length(),
            "f_min": f_min,
            "f_max": min(f_max, NYQUIST_SHARE * nyquist_hz),
            "mains_hz": self.mains_hz if self.mains_hz < nyquist_hz else 0.0,
            "preemphasis": 0.0,
            "level_normalize": False,
            "power_floor": 1.0,
        }


@dataclass(frozen=True)
class FrontendSpec:
    """How a window of a signal becomes features.

    The defaults are those of the shipped student: 25 ms Hamming windows every 10 ms over one second
    at 8 kHz, so features are (B, 1, 40, 99).

    Raises:
        ConfigError: if the geometry is impossible (unknown kind, window longer than the DFT, ...).

    Source: framing, mel filters and cepstra follow python_speech_features (HTK mel scale).
    """

    kind: str = "log_mel"
    sample_rate: int = 8000  # Hz
    n_samples: int = 8000  # window of the model: 1 s
    win_length: int = 200  # samples, 25 ms
    hop_length: int = 80  # samples, 10 ms
    n_fft: int = 256  # smallest power of two that holds a window
    n_mels: int = 40
    f_min: float = 0.0  # Hz
    f_max: float = 4000.0  # Hz, Nyquist
    preemphasis: float = 0.97
    n_mfcc: int = 13
    lifter: int = 22  # sinusoidal liftering of cepstra, HTK's default
    n_deltas: int = 2  # MFCC only: 0 none, 1 delta, 2 delta and delta-delta
    delta_width: int = 2  # frames either side in the regression of deltas
    level_normalize: bool = True  # divide by the clip's RMS, so recording gain does not matter
    power_floor: float = 1e-4  # added to power after level normalisation: keeps silence bounded; EMG: 1 uV or step, ^2
    n_channels: int = 1  # electrodes of EMG
    n_bands: int = 12  # EMG: evenly spaced from f_min to f_max
    filter_order: int = 4  # EMG: of the band-pass from f_min to f_max, half of it at each edge
    mains_hz: float = 0.0  # EMG: notch; 0 for none
    notch_q: float = 8.0  # EMG: mains_hz over the notch's width; a narrower notch rings longer

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ConfigError(f"frontend kind {self.kind!r} is unknown; choose one of {', '.join(KINDS)}")
        if not 0 < self.win_length <= self.n_fft:
            raise ConfigError(f"win_length {self.win_length} must be between 1 and n_fft {self.n_fft}")
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ConfigError(
                f"f_min {self.f_min} and f_max {self.f_max} Hz must satisfy "
                f"0 <= f_min < f_max <= {self.sample_rate / 2}"
            )
        if self.hop_length < 1 or self.n_samples < self.win_length:
            raise ConfigError(f"hop_length {self.hop_length} or n_samples {self.n_samples} is too small")
        if self.kind == "emg":
            self._check_emg()
        elif self.n_channels != 1:
            raise ConfigError(f"frontend kind {self.kind} is for one channel, got {self.n_channels}; use kind emg")
        if not 0 <= self.n_deltas <= 2:
            raise ConfigError(f"n_deltas {self.n_deltas} must be 0, 1 or 2")
        if self.delta_width < 1:
            raise ConfigError(f"delta_width {self.delta_width} must be 1 frame or more")
        if self.n_mels < 1:
            raise ConfigError(f"n_mels {self.n_mels} must be 1 or more")
        if self.kind == "mfcc" and not 1 <= self.n_mfcc <= self.n_mels:
            raise ConfigError(f"n_mfcc {self.n_mfcc} must be between 1 and n_mels {self.n_mels}: more say nothing new")
        if not self.power_floor >= 0:
            raise ConfigError(f"power_floor {self.power_floor} must be 0 or more")

    def _check_emg(self):
        nyquist_hz = self.sample_rate / 2
        if not 0 < self.f_min < self.f_max < nyquist_hz:
            raise ConfigError(
                f"f_min {self.f_min} and f_max {self.f_max} Hz of EMG must satisfy 0 < f_min < f_max < {nyquist_hz}"
            )
        if not 0 <= self.mains_hz < nyquist_hz:
            raise ConfigError(f"mains_hz is {self.mains_hz}, expected 0 (no notch) or less than {nyquist_hz}, Nyquist")
        if self.filter_order < 2 or self.filter_order % 2:
            raise ConfigError(f"filter_order is {self.filter_order}, expected an even number from 2")
        if self.n_channels < 1 or self.n_bands < 1 or not self.notch_q > 0:
            raise ConfigError(
                f"n_channels {self.n_channels}, n_bands {self.n_bands} and notch_q {self.notch_q} must all be positive"
            )
        if not self.power_floor > 0:
            raise ConfigError(f"power_floor is {self.power_floor}, expected more than 0: a flat channel has no power")

    @property
    def signal(self) -> Signal:
        """What the features are computed from."""
        kind = "emg" if self.kind == "emg" else "audio"
        return Signal(kind, self.sample_rate, self.n_samples, self.n_channels)

    @property
    def n_frames(self) -> int:
        """Frames in one window; the last frame is zero-padded, as python_speech_features does."""
        return 1 + -(-(self.n_samples - self.win_length) // self.hop_length)

    @property
    def n_bins(self) -> int:
        """Frequency bins of the one-sided spectrum."""
        return self.n_fft // 2 + 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Features of one clip: (channels C, features F, frames N)."""
        if self.kind == "raw":
            return (1, 1, self.n_samples)
        if self.kind == "emg":
            return (self.n_channels, self.n_bands + N_TIME_FEATURES, self.n_frames)
        if self.kind == "mfcc":
            return (1 + self.n_deltas, self.n_mfcc, self.n_frames)
        return (1, self.n_bins if self.kind == "spectrogram" else self.n_mels, self.n_frames)

    def to_dict(self) -> dict:
        """Plain values, for checkpoints and manifests."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> FrontendSpec:
        """Inverse of `to_dict`.

        Raises:
            ConfigError: if a key is unknown.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(f"unknown frontend settings: {', '.join(sorted(unknown))}")
        return cls(**values)


# Three views of one second in 32 windows of 50 ms, so that a large model can be compared on each of them.
LOG_MEL_64X32 = FrontendSpec(win_length=400, hop_length=250, n_fft=512, n_mels=64)
MFCC_13X32 = FrontendSpec(kind="mfcc", win_length=400, hop_length=250, n_fft=512)
SPECTROGRAM_513X32 = FrontendSpec(kind="spectrogram", win_length=400, hop_length=250, n_fft=1024)

EMG_8X1000 = FrontendSpec(**Signal("emg", 1000, 1024, 8).frontend())  # 16 features of each channel: 128 of a window
