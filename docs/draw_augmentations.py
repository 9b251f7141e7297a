"""Draw docs/augmentation.md and its pictures from the code: every augmentation on a synthetic word.

python docs/draw_augmentations.py

The word is our own, rendered by espeak-ng; strengths in the text are the defaults of `AugmentConfig`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgedigit.audio import fix_length
from edgedigit.config import AugmentConfig
from edgedigit.data import augment

FOLDER = Path(__file__).resolve().parent
SAMPLE_RATE = N_SAMPLES = 8000
RANGE_DB = 70.0  # of the pictures, below the loudest point of the word
CONFIG = AugmentConfig()


@dataclasses.dataclass(frozen=True)
class Picture:
    """One augmentation: its section in the document, and how it is shown.

    Attributes:
        name: of the PNG file.
        title: of the section.
        meaning: one sentence on what it stands for.
        strength: how often and how strong by default.
        shown: what the picture shows.
        apply: waveform (N_SAMPLES,) and seeded generator to waveform of any length, or, for masks, to the same.
    """

    name: str
    title: str
    meaning: str
    strength: str
    shown: str
    apply: Callable[[np.ndarray, np.random.Generator], np.ndarray]


def percent(share: float) -> str:
    return f"{100 * share:g} %"


def filtered(waveform: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return augment.filter_spectrum(waveform[None], gain[None])[0]


def with_noise(waveform: np.ndarray, noise: np.ndarray, snr_db: float = 10.0) -> np.ndarray:
    return augment.add_at_snr(waveform[None], noise[None], np.array([snr_db]))[0]


def equalize(waveform, rng):
    knots = rng.normal(0, CONFIG.equalizer_db, 9)
    return filtered(waveform, np.interp(np.linspace(0, 8, 33), np.arange(9), knots))


def color(waveform, rng):
    return with_noise(waveform, augment.colored_noise((1, N_SAMPLES), np.ones(1), rng)[0])


def babble(waveform, rng):
    voices = [np.roll(word(digit), int(rng.integers(N_SAMPLES))) for digit in ("1", "3", "4", "9")]
    return with_noise(waveform, np.sum(voices, axis=0))


def machine(waveform, rng):
    """A fan of our own making stands for a recorded noise."""
    time_s = np.arange(N_SAMPLES) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * 120 * k * time_s + k) / k for k in (1, 2, 3, 5, 8, 13, 21))
    air = augment.colored_noise((1, N_SAMPLES), np.full(1, 1.5), rng)[0]
    return with_noise(waveform, (hum * (1 + 0.5 * np.sin(2 * np.pi * 9 * time_s)) + 0.5 * air).astype(np.float32))


def blend(waveform, rng):
    pair = np.stack([waveform, fix_length(word("3"), N_SAMPLES)])
    level = augment.active_rms(pair)
    return 0.65 * pair[0] + 0.35 * pair[1] * level[0] / level[1]


PICTURES = (
    Picture(
        "speed",
        "Speed",
        "Children, women and men, fast and slow: pitch, formants and tempo move together, as on a tape.",
        f"{percent(CONFIG.speed_probability)} of the clips, up to {percent(CONFIG.speed_range)} faster or slower",
        f"{percent(CONFIG.speed_range)} faster",
        lambda x, rng: augment.change_speed(x, 1 + CONFIG.speed_range),
    ),
    Picture(
        "tempo",
        "Tempo",
        "The same person in a hurry or at leisure: the pitch stays.",
        f"{percent(CONFIG.vocoder_probability)} of the clips, up to {percent(CONFIG.tempo_range)} faster or slower",
        f"{percent(CONFIG.tempo_range)} slower",
        lambda x, rng: augment.stretch_and_warp(x, tempo=1 - CONFIG.tempo_range),
    ),
    Picture(
        "vocal_tract",
        "Vocal tract length",
        "A speaker with a shorter or longer vocal tract: formants move, the pitch stays.",
        f"the same clips as tempo, up to {percent(CONFIG.vtlp_range)} shorter or longer",
        f"formants {percent(CONFIG.vtlp_range)} higher",
        lambda x, rng: augment.stretch_and_warp(x, warp=1 + CONFIG.vtlp_range),
    ),
    Picture(
        "shift",
        "Time shift",
        "Endpointing that cuts early or late, so that the word is not in the middle.",
        f"every clip, up to {CONFIG.shift_ms:g} ms either way",
        f"{CONFIG.shift_ms:g} ms later",
        lambda x, rng: augment.shift(x, int(CONFIG.shift_ms * SAMPLE_RATE / 1000)),
    ),
    Picture(
        "equalizer",
        "Microphone",
        "Microphones, cases and distances colour the spectrum.",
        f"80 % of the clips, a random curve with a standard deviation of {CONFIG.equalizer_db:g} dB",
        "one such curve",
        equalize,
    ),
    Picture(
        "room",
        "Room",
        "Walls answer: sounds run into each other and their ends are smeared.",
        f"{percent(CONFIG.room_probability)} of the clips, one of {CONFIG.n_rooms} simulated rooms, "
        "reverberation time 0.15 to 0.6 s, talker 0.2 to 2 m away",
        "one such room",
        lambda x, rng: augment.filter_spectrum(x[None], np.zeros((1, 33)), augment.room_bank(8, SAMPLE_RATE)[3:4])[0],
    ),
    Picture(
        "colored_noise",
        "Coloured noise",
        "Hiss, wind and traffic, between white and brown.",
        f"{percent(CONFIG.noise_probability)} of the clips at {CONFIG.snr_db[0]:g} to {CONFIG.snr_db[1]:g} dB, the "
        f"others at {CONFIG.clean_snr_db:g} dB, since even clean recordings have a noise floor; "
        "the kind of noise that is left when the next two are not drawn",
        "pink noise at 10 dB",
        color,
    ),
    Picture(
        "babble",
        "Babble",
        "Other people talking.",
        f"{percent(CONFIG.babble_share)} of the noises, three to eight other training clips",
        "four other words at 10 dB",
        babble,
    ),
    Picture(
        "recorded_noise",
        "Recorded noise",
        "Real places, where recordings of them are at hand (`data.noises`). Half of them, by origin, is kept for "
        "`python -m edgedigit.robustness` unless `data.noise_part` is `all`.",
        f"{percent(CONFIG.recorded_share)} of the noises",
        "a fan of our own making at 10 dB",
        machine,
    ),
    Picture(
        "overdrive",
        "Overdrive",
        "A microphone that is turned up too far cuts off the peaks, of speech and noise alike.",
        f"{percent(CONFIG.overdrive_probability)} of the clips (the shipped recipe asks for more); peaks are cut "
        f"{CONFIG.overdrive_db[0]:g} to {CONFIG.overdrive_db[1]:g} dB below the loudest sample",
        "cut 20 dB below the peak",
        lambda x, rng: augment.overdrive(x[None], np.array([20.0]))[0],
    ),
    Picture(
        "gate",
        "Noise suppression",
        "Laptops and telephones mute whatever is faint: pauses, room, and the beginnings of /s/ and /f/ with them.",
        f"{percent(CONFIG.gate_probability)} of the clips (the shipped recipe asks for more); what is "
        f"{CONFIG.gate_db[0]:g} to {CONFIG.gate_db[1]:g} dB below the loudest 10 ms is turned "
        f"down by {CONFIG.gate_depth_db[0]:g} to {CONFIG.gate_depth_db[1]:g} dB",
        "what is 20 dB below, turned down by 60 dB",
        lambda x, rng: augment.noise_gate(x[None], np.array([20.0]), np.array([60.0]))[0],
    ),
    Picture(
        "telephone",
        "Telephone band",
        "Telephones and cheap radios pass a narrow band only, of speech and noise alike.",
        f"{percent(CONFIG.band_probability)} of the clips, from 100-350 Hz to 2.8-3.8 kHz, 24 dB an octave outside",
        "300 Hz to 3 kHz",
        lambda x, rng: filtered(x, augment.band_gain(300, 3000, 33)),
    ),
    Picture(
        "codec",
        "Codec",
        "G.711 and its like keep few levels: faint sounds get a hoarse edge.",
        f"{percent(CONFIG.codec_probability)} of the clips, mu-law with 64 or 256 levels",
        "64 levels",
        lambda x, rng: augment.mu_law(x, 64),
    ),
    Picture(
        "gain",
        "Gain",
        "Loud and soft recordings; the model normalises levels, so this moves only what clips and what drowns.",
        f"every clip, up to {CONFIG.gain_db:g} dB either way",
        f"{CONFIG.gain_db:g} dB softer",
        lambda x, rng: x * np.float32(10 ** (-CONFIG.gain_db / 20)),
    ),
    Picture(
        "mixup",
        "Mixup",
        "Two words at once with both as targets, so that the model's certainty falls with the evidence.",
        f"{percent(CONFIG.mixup_probability)} of the clips, shares drawn from Beta({CONFIG.mixup_alpha:g}, "
        f"{CONFIG.mixup_alpha:g})",
        "65 % six and 35 % three",
        blend,
    ),
    Picture(
        "masks",
        "SpecAugment",
        "Sounds that a cough, a gap or a narrow-band noise hides: the rest must do.",
        f"every clip, {CONFIG.time_masks} masks of up to {CONFIG.time_mask_ms:g} ms and {CONFIG.frequency_masks} of "
        f"up to {percent(CONFIG.frequency_mask_share)} of the feature rows",
        "one draw, on log-mel features",
        lambda x, rng: x,
    ),
)


def word(label: str = "6", voice: str = "espeak:en-us") -> np.ndarray:
    """A synthetic digit in the middle of a second of silence: (N_SAMPLES,)."""
    from edgedigit.data.synth import render

    (recording,) = render([label], n_per_word=1, seed=1, voices=[voice], sample_rate=SAMPLE_RATE)
    return fix_length(recording.waveform, N_SAMPLES)


def document() -> str:
    """docs/augmentation.md."""
    parts = [
        "# Augmentation\n",
        "What training does to a recording before the model sees it (`edgedigit/data/augment.py`). Every draw follows "
        "from seed, epoch and step, so an interrupted run meets the same clips again. Strengths are the defaults of "
        "`AugmentConfig`; `--set augment.room_probability=0.5` changes one. They are applied in this order.\n",
        "Left is always the same synthetic *six*, right what became of it: one second, 0 to 4 kHz, "
        f"{RANGE_DB:g} dB from white to black. "
        "This page and its pictures are made by `python docs/draw_augmentations.py`.\n",
    ]
    for picture in PICTURES:
        parts.append(f"## {picture.title}\n")
        parts.append(f"{picture.meaning} Default: {picture.strength}.\n")
        parts.append(f"![{picture.title}: before, and {picture.shown}](augmentation/{picture.name}.png)\n")
    return "\n".join(parts)


def spectrogram(waveform: np.ndarray) -> np.ndarray:
    """Power in dB, (129 bins, frames), 32 ms windows every 8 ms."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(waveform, 128), 256)[::64] * np.hanning(256)
    return 10 * np.log10(np.abs(np.fft.rfft(frames, axis=1)).T ** 2 + 1e-12)


def masked_features(waveform: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel features (F, N) before and after SpecAugment, in dB."""
    from edgedigit import features
    from edgedigit.spec import FrontendSpec

    spec = FrontendSpec()
    plane = features.compute(waveform[None], spec)
    keep = augment.spec_augment(
        plane.shape,
        rng,
        CONFIG.time_masks,
        round(CONFIG.time_mask_ms / 1000 * SAMPLE_RATE / spec.hop_length),
        CONFIG.frequency_masks,
        round(CONFIG.frequency_mask_share * spec.n_mels),
    )
    decibel = 10 / np.log(10)
    return decibel * plane[0, 0], decibel * np.where(keep, plane, plane.mean())[0, 0]


def draw(picture: Picture, waveform: np.ndarray, path: Path) -> None:
    """Spectrograms before and after, side by side."""
    from matplotlib.figure import Figure

    rng = np.random.default_rng(4)
    if picture.name == "masks":
        planes = masked_features(waveform, rng)
    else:
        planes = spectrogram(waveform), spectrogram(fix_length(picture.apply(waveform, rng), N_SAMPLES))
    loudest = planes[0].max()
    figure = Figure(figsize=(5.2, 1.9), layout="constrained")
    for axes, plane, title in zip(figure.subplots(1, 2), planes, ("before", picture.shown), strict=True):
        axes.imshow(plane, origin="lower", aspect="auto", cmap="gray_r", vmin=loudest - RANGE_DB, vmax=loudest)
        axes.set_title(title, fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(path, dpi=80, metadata={"Software": None}, pil_kwargs={"optimize": True})


def main() -> int:
    folder = FOLDER / "augmentation"
    folder.mkdir(exist_ok=True)
    waveform = word()
    for picture in PICTURES:
        draw(picture, waveform, folder / f"{picture.name}.png")
    (FOLDER / "augmentation.md").write_text(document(), encoding="utf-8")
    size_bytes = sum(path.stat().st_size for path in folder.glob("*.png"))
    print(f"{len(PICTURES)} pictures, {size_bytes / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
