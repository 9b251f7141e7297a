"""Simulated surface EMG of words: motor units that fire, fibres that carry potentials, electrodes that shift.

Nothing here was recorded from anybody. It is for tests, for trying a recipe without electrodes, and for asking what a
net can do when the truth is known; a figure from it says nothing about people, and says that it is simulated.

A word is a few gestures; a gesture drives some of eight muscles for a while. Each muscle is a pool of motor units,
recruited in order of size and firing faster the stronger the drive. A unit's fibres carry an action potential from
the middle to both ends, and what the skin sees of it depends on how deep and how far from an electrode they lie.

Source: recruitment and rate coding, Fuglevand et al. 1993; action potential along a fibre, Rosenfalck 1969; potential
at a distance from a line of current in an anisotropic conductor, as reviewed by Merletti and Parker 2004, chapter 4;
electrodes over the muscles of the face and neck, schematic, after Schultz and Wand 2010.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter1d

from edgedigit.data.progress import progress_bar
from edgedigit.data.recording import SIMULATED, Recording
from edgedigit.errors import ConfigError
from edgedigit.spec import Signal

N_PER_WORD = 240
REST = "REST"
"""The word that drives no muscle."""

MUSCLES = {  # on the left half of face and neck seen from the front: x, y of the middle in mm, fibre angle in degrees
    "zygomaticus major": (35, 20, 55),
    "levator labii": (18, 32, 80),
    "orbicularis oris": (8, 8, 5),
    "depressor anguli oris": (24, -12, 75),
    "mentalis": (6, -18, 85),
    "masseter": (55, 0, 70),
    "anterior digastric": (10, -40, 60),
    "sternohyoid": (8, -75, 88),
}
UNITS = 24  # of a muscle; those of the face have more, the electrode hears no more than so many well
RECRUITMENT_RANGE = 30.0  # threshold of the last unit over that of the first
SIZE_RANGE = 20.0  # amplitude of the last unit over that of the first
MIN_RATE_HZ = 8.0  # of a unit that is just recruited
PEAK_RATE_HZ = (35.0, 25.0)  # of the first unit and of the last
RATE_GAIN_HZ = 1.0  # per unit of drive above threshold
INTERVAL_CV = 0.2  # of the intervals between a unit's discharges
TONE = 0.03  # drive of a muscle at rest, as a share of the largest

VELOCITY_M_S = (3.5, 4.5)  # along the fibre
FIBRE_MM = (30.0, 50.0)
DEPTH_MM = (4.0, 10.0)  # of a unit below the electrode
TERRITORY_MM = 5.0  # standard deviation of units around the middle of their muscle
ANISOTROPY = 5.0  # conductivity along the fibre over that across
STEP_MM = 0.5  # along the fibre
MUAP_S = 0.032
END_PLATE_MM = 4.0  # standard deviation of where along a unit its fibres are excited: their potentials do not coincide
OVERSAMPLING = 4  # of potentials, before that spread takes away what the sample rate could not hold
LARGEST_MUAP_UV = 600.0  # peak of the largest unit under the electrode that sees it best
POLE_DISTANCE_MM = 20.0  # between the two electrodes of a channel
MIN_SAMPLE_RATE = 1000  # Hz; potentials reach to 450 Hz


@dataclass(frozen=True)
class Simulation:
    """What differs between people, sessions and trials, and what is no muscle."""

    n_subjects: int = 6
    n_sessions: int = 2  # of each subject
    shift_mm: float = 3.0  # standard deviation of where electrodes sit from session to session
    rotation_deg: float = 4.0  # likewise, of the whole array
    contact_db: float = 2.0  # standard deviation of a channel's gain
    habit: float = 0.25  # standard deviation of the logarithm of how strongly a subject uses a muscle in a gesture
    variability: float = 0.15  # likewise, from trial to trial
    effort: tuple[float, float] = (0.6, 1.2)  # of a trial: how strongly all muscles are driven
    hum_uv: float = 6.0  # amplitude of the mains at each channel, up to
    drift_uv: float = 60.0  # standard deviation of the baseline, below 5 Hz
    noise_uv: float = 4.0  # standard deviation of what skin and amplifier add


@dataclass(frozen=True)
class Pool:
    """All motor units of a subject; arrays over units, U = muscles * UNITS."""

    threshold: np.ndarray  # of drive, in units of the first unit's threshold
    peak_rate_hz: np.ndarray
    size: np.ndarray  # of the potential, the first unit's is 1
    middle_mm: np.ndarray  # (U, 2)
    direction: np.ndarray  # (U, 2), along the fibre, of length 1
    depth_mm: np.ndarray
    half_fibre_mm: np.ndarray
    velocity_m_s: np.ndarray

    @property
    def max_drive(self) -> float:
        """At which the last unit reaches its peak rate."""
        return float(self.threshold[-1] + (self.peak_rate_hz[-1] - MIN_RATE_HZ) / RATE_GAIN_HZ)


def make_pool(rng: np.random.Generator) -> Pool:
    """The motor units of one subject."""
    rank = np.tile(np.arange(UNITS) / (UNITS - 1), len(MUSCLES))  # 0 the smallest, 1 the largest
    n = len(rank)
    first, last = PEAK_RATE_HZ
    placed = np.repeat(np.array(list(MUSCLES.values()), float), UNITS, axis=0)  # (U, 3)
    angle = np.radians(placed[:, 2] + rng.normal(0, 5, len(MUSCLES)).repeat(UNITS))
    threshold = RECRUITMENT_RANGE**rank
    return Pool(
        threshold=threshold,
        peak_rate_hz=first - (first - last) * threshold / RECRUITMENT_RANGE,
        size=SIZE_RANGE**rank,
        middle_mm=placed[:, :2] + rng.normal(0, TERRITORY_MM, (n, 2)),
        direction=np.stack([np.cos(angle), np.sin(angle)], axis=1),
        depth_mm=rng.uniform(*DEPTH_MM, n),
        half_fibre_mm=rng.uniform(*FIBRE_MM, n) / 2,
        velocity_m_s=rng.uniform(*VELOCITY_M_S, n),
    )


def electrode_poles(n_channels: int) -> np.ndarray:
    """Places of the two poles of each channel, in mm: (n_channels, 2, 2), in turn over the muscles."""
    muscles = np.array([list(MUSCLES.values())[channel % len(MUSCLES)] for channel in range(n_channels)], float)
    angle = np.radians(muscles[:, 2])
    half = POLE_DISTANCE_MM / 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    middle = muscles[:, :2] + 8.0 * (np.arange(n_channels) // len(MUSCLES))[:, None]
    middle = middle + 5.0 * half / np.linalg.norm(half, axis=1, keepdims=True)  # off the end plates, where poles cancel
    return np.stack([middle - half, middle + half], axis=1)


def move_electrodes(poles: np.ndarray, settings: Simulation, rng: np.random.Generator) -> np.ndarray:
    """The same array put on once more: turned as a whole, and every channel a little elsewhere."""
    angle = np.radians(rng.normal(0, settings.rotation_deg))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = poles @ turn.T + rng.normal(0, settings.shift_mm, 2)
    return moved + rng.normal(0, settings.shift_mm / 2, (len(poles), 1, 2))


def action_potentials(pool: Pool, poles: np.ndarray, sample_rate: int) -> np.ndarray:
    """What each channel sees of one discharge of each unit: (U, n_channels, MUAP_S * sample_rate) microvolts."""
    share = np.linspace(-1, 1, 1 + round(2 * FIBRE_MM[1] / STEP_MM))
    along_mm = share * pool.half_fibre_mm[:, None]  # (U, Z) from the end plate
    time_ms = np.arange(round(MUAP_S * sample_rate) * OVERSAMPLING) / (OVERSAMPLING * sample_rate) * 1000
    behind_mm = pool.velocity_m_s[:, None, None] * time_ms - np.abs(along_mm)[:, :, None]  # (U, Z, L)
    current = membrane_current(behind_mm)
    current -= current.mean(axis=1, keepdims=True)  # what enters a fibre leaves it
    offset = poles[None] - pool.middle_mm[:, None, None]  # (U, C, 2 poles, 2)
    lengthwise = (offset * pool.direction[:, None, None]).sum(-1)  # (U, C, 2)
    across = np.sqrt(np.maximum((offset**2).sum(-1) - lengthwise**2, 0.0) + pool.depth_mm[:, None, None] ** 2)
    distance = np.sqrt(
        (lengthwise[..., None] - along_mm[:, None, None]) ** 2 + ANISOTROPY * across[..., None] ** 2
    )  # (U, C, 2, Z)
    weight = 1 / distance[:, :, 0] - 1 / distance[:, :, 1]  # the channel is the difference of its poles
    seen = (weight @ current) * (pool.half_fibre_mm * pool.size)[:, None, None]
    spread_s = END_PLATE_MM / 1000 / np.mean(VELOCITY_M_S)
    seen = gaussian_filter1d(seen, spread_s * OVERSAMPLING * sample_rate, axis=2, mode="constant")[:, :, ::OVERSAMPLING]
    return seen * LARGEST_MUAP_UV / np.abs(seen).max()


def membrane_current(behind_mm: np.ndarray) -> np.ndarray:
    """Second derivative of Rosenfalck's action potential z^3 exp(-z), z mm behind its front; 0 before it."""
    z = np.maximum(behind_mm, 0.0)
    return ((z - 6) * z + 6) * z * np.exp(-z)


def discharge(drive: np.ndarray, pool: Pool, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Discharges of every unit under a drive of its muscle.

    Args:
        drive: (n_muscles, T) as a share of `Pool.max_drive`.

    Returns:
        (U, T) counts.
    """
    excess = (drive * pool.max_drive).repeat(UNITS, axis=0) - pool.threshold[:, None]  # (U, T)
    rate = np.minimum(MIN_RATE_HZ + RATE_GAIN_HZ * excess, pool.peak_rate_hz[:, None])
    expected = np.cumsum(np.where(excess >= 0, rate, 0.0), axis=1) / sample_rate  # discharges so far, were they even
    n_most = 2 + int(1.5 * expected[:, -1].max())
    intervals = np.maximum(rng.normal(1, INTERVAL_CV, (len(expected), n_most)), 0.3)
    intervals[:, 0] *= rng.random(len(expected))  # units do not start together
    due = np.cumsum(intervals, axis=1)
    trains = np.zeros(expected.shape)
    for train, progress, times in zip(trains, expected, due, strict=True):
        np.add.at(train, np.searchsorted(progress, times[times <= progress[-1]]), 1.0)
    return trains


def gestures(word: str) -> list[tuple[float, float, np.ndarray]]:
    """How a word is said: of each gesture its middle and width in seconds from the onset, and drives (n_muscles,)."""
    if word == REST:
        return []
    rng = np.random.default_rng(zlib.crc32(word.encode()))
    said = []
    for i in range(3):
        drives = np.zeros(len(MUSCLES))
        active = rng.choice(len(MUSCLES), 3, replace=False)
        drives[active] = rng.uniform(0.1, 0.6, 3)
        said.append((0.08 + 0.16 * i + rng.uniform(0, 0.08), rng.uniform(0.05, 0.09), drives))
    return said


def envelope(
    word: str, habit: np.ndarray, settings: Simulation, signal: Signal, rng: np.random.Generator
) -> np.ndarray:
    """Drive of each muscle in one trial: (n_muscles, n_samples), a share of the largest.

    Args:
        habit: (3, n_muscles), how strongly this subject uses each muscle in each gesture.
    """
    time_s = np.arange(signal.n_samples) / signal.sample_rate
    drive = np.full((len(MUSCLES), signal.n_samples), TONE)
    onset_s = rng.uniform(0.05, 0.2) * signal.n_samples / signal.sample_rate
    tempo, effort = rng.uniform(0.85, 1.15), rng.uniform(*settings.effort)
    for (middle_s, width_s, drives), used in zip(gestures(word), habit, strict=False):
        varied = drives * used * np.exp(rng.normal(0, settings.variability, len(drives)))
        place = onset_s + tempo * middle_s + rng.normal(0, 0.01)
        drive += effort * varied[:, None] * np.exp(-0.5 * ((time_s - place) / (tempo * width_s)) ** 2)
    return np.minimum(drive, 1.0)


def contaminate(emg: np.ndarray, settings: Simulation, signal: Signal, rng: np.random.Generator) -> np.ndarray:
    """Add what is no muscle to (n_channels, T): mains, drift of the baseline, noise. Microvolts."""
    shape = emg.shape
    time_s = np.arange(shape[1]) / signal.sample_rate
    phase = rng.uniform(0, 2 * np.pi, (shape[0], 1))
    hum = rng.uniform(0.3, 1, (shape[0], 1)) * np.sin(2 * np.pi * signal.mains_hz * time_s + phase)
    knots = rng.standard_normal((shape[0], 2 + int(5 * time_s[-1])))
    position = np.linspace(0, knots.shape[1] - 1, shape[1])
    drift = np.stack([np.interp(position, np.arange(knots.shape[1]), row) for row in knots])
    noise = rng.standard_normal(shape)
    return emg + settings.hum_uv * hum + settings.drift_uv * drift + settings.noise_uv * noise


def render(
    words: Sequence[str],
    n_per_word: int,
    signal: Signal,
    settings: Simulation | None = None,
    seed: int = 0,
    progress: bool = False,
) -> list[Recording]:
    """Simulate each word `n_per_word` times, subjects in turn, then their sessions; a function of its arguments alone.

    Returns:
        Recordings of source "emg_simulated", word by word, in microvolts.

    Raises:
        ConfigError: if there are no trials, or the rate is below what muscles need.
    """
    settings = settings or Simulation()
    if n_per_word < 1:
        raise ConfigError(f"{SIMULATED}:{n_per_word} asks for no trials; write {SIMULATED}:N with at least 1 of a word")
    if signal.sample_rate < MIN_SAMPLE_RATE:
        raise ConfigError(
            f"EMG is simulated at {MIN_SAMPLE_RATE} Hz or more, got {signal.sample_rate}; set data.signal.sample_rate"
        )
    size = fft.next_fast_len(signal.n_samples + round(MUAP_S * signal.sample_rate), real=True)
    recordings = []
    bar = progress_bar(None, progress, total=settings.n_subjects, desc="simulating EMG", unit="subject")
    for subject in range(min(settings.n_subjects, n_per_word)):
        rng = np.random.default_rng([seed, subject])
        pool = make_pool(rng)
        habits = {word: np.exp(rng.normal(0, settings.habit, (3, len(MUSCLES)))) for word in words}
        responses = []  # of each session, (U, n_channels, bins)
        for session in range(settings.n_sessions):
            rng = np.random.default_rng([seed, subject, session])
            poles = move_electrodes(electrode_poles(signal.n_channels), settings, rng)
            contact = 10 ** (rng.normal(0, settings.contact_db, (signal.n_channels, 1)) / 20)
            responses.append(fft.rfft(contact * action_potentials(pool, poles, signal.sample_rate), size))
        for number, word in enumerate(words):
            for trial in range(subject, n_per_word, settings.n_subjects):
                session = trial // settings.n_subjects % settings.n_sessions
                rng = np.random.default_rng([seed, subject, session, number, trial])
                drive = envelope(word, habits[word], settings, signal, rng)
                trains = fft.rfft(discharge(drive, pool, signal.sample_rate, rng), size)  # (U, bins)
                emg = fft.irfft((trains[:, None] * responses[session]).sum(axis=0), size)[:, : signal.n_samples]
                emg = contaminate(emg, settings, signal, rng).astype(np.float32)
                recordings.append(
                    Recording(
                        emg,
                        signal.sample_rate,
                        word,
                        f"{SIMULATED}:{subject:02d}",
                        SIMULATED,
                        f"{SIMULATED}/{word}/{trial:05d}",
                        session=f"{SIMULATED}/{subject:02d}/{session}",
                    )
                )
        bar.update()
    bar.close()
    return sorted(recordings, key=lambda recording: recording.name)


def load(words: Sequence[str], n_per_word: int, signal: Signal, progress: bool = False) -> list[Recording]:
    """As `render`, with the default settings and seed."""
    return render(words, n_per_word, signal, progress=progress)
