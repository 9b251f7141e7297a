"""The facts that travel inside every exported file and in its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from edgedigit import __version__
from edgedigit.config import Config
from edgedigit.data.recording import Recording
from edgedigit.labels import NON_DIGIT
from edgedigit.models import WaveformModel
from edgedigit.runtime import VadOptions

LICENCE = "Apache-2.0"


def model_facts(config: Config, model: WaveformModel, calibration: dict, recordings: Sequence[Recording]) -> dict:
    """Metadata of an exported model.

    Args:
        config: of the run that made the model.
        calibration: temperature and rejection threshold, from validation.
        recordings: what the model was trained on.

    Returns:
        Plain values: labels, sample_rate (Hz), n_samples, version, thresholds, training_data, licence, frontend; and
        signal, where it is not audio, and reject_label, where one of the labels means that nothing is answered.
    """
    signal = model.spec.signal
    thresholds = {"reject_below": calibration["reject_below"]}
    thresholds |= {"vad": asdict(VadOptions())} if signal.kind == "audio" else {}
    return {
        "labels": list(config.data.labels),
        "sample_rate": model.spec.sample_rate,
        "n_samples": model.spec.n_samples,
        "version": __version__,
        "thresholds": thresholds,
        "temperature": calibration["temperature"],
        "training_data": {
            "split": config.data.split,
            "recordings": dict(sorted(Counter(recording.source for recording in recordings).items())),
        },
        "licence": LICENCE,
        "frontend": model.spec.to_dict(),
        **({"signal": asdict(signal)} if signal.kind != "audio" else {}),
        **({"reject_label": NON_DIGIT} if NON_DIGIT in config.data.labels else {}),
    }
