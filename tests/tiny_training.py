"""A task that is learnt in a second: which of two tones, by models of a thousand parameters."""

import numpy as np
import soundfile

from edgedigit.config import AugmentConfig, FitConfig
from edgedigit.data.dataset import TrainingBatches
from edgedigit.data.recording import Recording
from edgedigit.models import create_model
from edgedigit.train.devices import set_up_torch
from edgedigit.train.trainer import Trainer

SAMPLE_RATE = N_SAMPLES = 8000
LABELS = ("low", "high")
TONE_HZ = {"low": 400, "high": 1600}
GENTLE = AugmentConfig(room_probability=0.0, vocoder_probability=0.0, snr_db=(20.0, 30.0))
KINDS = {"deviations": {"deviations": True}, "maps": {"deviations": True, "maps": [4, 6], "stem_kernel": 1}}
SMALL = {"widths": [8, 12], "depths": [1, 1], "kernels": [5, 5]}


def tones(n, seed=0):
    """`n` recordings, every other one low."""
    rng = np.random.default_rng(seed)
    recordings = []
    for i in range(n):
        label = LABELS[i % 2]
        time_s = np.arange(int(rng.integers(2400, 6000))) / SAMPLE_RATE
        frequency_hz = TONE_HZ[label] * rng.uniform(0.9, 1.1)
        waveform = rng.uniform(0.05, 0.5) * np.sin(2 * np.pi * frequency_hz * time_s)
        recordings.append(
            Recording(waveform.astype(np.float32), SAMPLE_RATE, label, f"tones:{i % 4}", "tones", f"tones/{seed}/{i}")
        )
    return recordings


def write_tones(folder):
    """A corpus `folder:PATH` of two digits, each a tone, by four speakers with two recordings of each."""
    folder.mkdir(parents=True)
    time_s = np.arange(2400) / SAMPLE_RATE
    lines = ["file,label,speaker,source"]
    for digit, frequency_hz in enumerate(TONE_HZ.values()):
        for pitch, speaker in enumerate(("ann", "bob", "cid", "dan")):
            for take in range(2):
                name = f"{digit}_{speaker}_{take}.wav"
                wave = 0.3 * np.sin(2 * np.pi * (frequency_hz + 20 * pitch) * time_s)
                soundfile.write(folder / name, wave, SAMPLE_RATE)
                lines.append(f"{name},{digit},{speaker},tones")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


def small_model(name="student_dscnn", seed=0, **kwargs):
    set_up_torch(seed)
    return create_model(name, len(LABELS), **(kwargs or SMALL))


def make_trainer(
    folder=None, epochs=3, validation=None, teacher=None, augment=GENTLE, model=None, recordings=None, **kwargs
):
    """A Trainer on 32 tones, everything seeded; `kwargs` that FitConfig has go there, the others to Trainer."""
    fit_options = {key: kwargs.pop(key) for key in list(kwargs) if key in FitConfig.__dataclass_fields__}
    fit = FitConfig(**{"epochs": epochs, "lr": 1e-2, "batch_size": 8, "ema_decay": 0.7, **fit_options})
    model = model or small_model()
    quiet = kwargs.pop("quiet", False)
    batches = TrainingBatches(
        recordings or tones(32),
        LABELS,
        augment,
        N_SAMPLES,
        SAMPLE_RATE,
        fit.batch_size,
        fit.samples_per_epoch,
        quiet=quiet,
    )
    return Trainer(model, batches, validation, fit, augment, teacher, folder=folder, phase="tiny", **kwargs)


def trained_model(**kwargs):
    """A small student that tells the tones apart."""
    return make_trainer(epochs=4, model=small_model(**kwargs)).run()
