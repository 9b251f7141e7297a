"""All feature geometry in one frozen dataclass, shared by training, export and deployment."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from edgedigit.errors import ConfigError

KINDS = ("log_mel", "mfcc", "spectrogram", "raw")


@dataclass(frozen=True)
class FrontendSpec:
    """How a waveform becomes features.

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
    power_floor: float = 1e-4  # added to power after level normalisation: keeps silence bounded

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
