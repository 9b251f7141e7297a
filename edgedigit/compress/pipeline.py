"""From a trained student to its pruned and its INT8 version, on every track of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import softmax

from edgedigit import config as configuration
from edgedigit.compress.prune import fold, folded_parameters, parameter_targets, prune_to
from edgedigit.compress.quantize import calibration_indices
from edgedigit.config import CompressConfig, Config, FitConfig
from edgedigit.data.dataset import as_arrays
from edgedigit.data.recording import ARTIFICIAL, SYNTH
from edgedigit.errors import ConfigError, ModelError
from edgedigit.labels import NON_DIGIT
from edgedigit.models import WaveformModel
from edgedigit.provenance import note_commit
from edgedigit.train.checkpoints import build_model, describe, load_checkpoint, save_checkpoint
from edgedigit.train.devices import set_up_torch
from edgedigit.train.observers import Observer
from edgedigit.train.pipeline import (
    Material,
    Track,
    label_bias,
    load_student,
    load_teachers,
    make_batches,
    progress_bar,
)
from edgedigit.train.scoring import fit_temperature, predict_logits
from edgedigit.train.trainer import Trainer

SUMMARY_FILE = "compressed.json"
KEPT_OF_CORRECT = 0.99  # the rejection threshold lets this share of right answers through


def pruned_phase(compress: CompressConfig, track: str) -> str:
    """Name of the last fine-tuning: its best checkpoint is the pruned student."""
    return f"{track}-qat" if compress.qat_epochs else f"{track}-pruned"


def prune_track(
    config: Config,
    material: Material,
    track: Track,
    run_dir: Path,
    resume: bool = False,
    say: Callable[[str], None] = print,
    bars: bool = True,
    observers: Sequence[Observer] = (),
) -> WaveformModel:
    """Prune a track's student in equal steps, recovering by distillation after each; then train it for eight bits.

    With a target sparsity of 0 the student is taken as it is, so that it can be quantised alone. With `qat_epochs` the
    pruned net, branches folded, is fine-tuned once more with INT8's roundings.

    Returns:
        The pruned student, also in `<track>-pruned.best.pt` or, with `qat_epochs`, `<track>-qat.best.pt`.
        The summary of a former compression goes before any of its nets is replaced.
    """
    compress = config.compress.of_weights()
    config = replace(config, compress=compress)
    # Pruning does not depend on what comes after it, so that eight bits can be tried on a pruned net.
    pruning = replace(config, compress=replace(compress, qat_epochs=0).of_weights())
    model = load_student(config, run_dir, track.name)
    teacher = load_teachers(config, run_dir, track.name)
    recovery = replace(config.fit_student, lr=compress.lr, epochs=compress.epochs_per_step, patience=10**6)
    phase = pruned_phase(pruning.compress, track.name)

    def recover(model: WaveformModel, fit: FitConfig, phase: str, step: int, quantized: bool = False) -> WaveformModel:
        """Fine-tune; all epochs, the averaged weights of the last."""
        set_up_torch(config.seed + step, config.threads, config.device)
        with progress_bar(bars, phase) as progress:
            trainer = Trainer(
                model.requires_grad_(True),
                make_batches(config, track, fit, material.noises, config.seed + 1000 * step, teacher is not None),
                None,
                fit,
                config.augment,
                teacher,
                config.distill,
                precision=config.student_precision,
                device=config.device,
                folder=run_dir,
                phase=phase,
                resolved=configuration.training_settings(config if quantized else pruning),
                progress=progress,
                quantized=quantized,
                observers=observers,
            )
            if resume:
                trainer.resume()
            if not trainer.done:
                (run_dir / SUMMARY_FILE).unlink(missing_ok=True)
                note_commit(run_dir)
            return trainer.run()

    if compress.target_sparsity == 0:
        for former in (run_dir / SUMMARY_FILE, run_dir / f"{phase}.last.pt"):
            former.unlink(missing_ok=True)
        values = {
            "model": describe(model),
            "state": model.state_dict(),
            "config": configuration.training_settings(pruning),
        }
        save_checkpoint(run_dir / f"{phase}.best.pt", values)
    else:
        targets = parameter_targets(folded_parameters(model), compress.target_sparsity, compress.pruning_steps)
        for step, max_params in enumerate(targets, start=1):
            name = f"{track.name}-prune{step}"
            model = recover(prune_to(model, max_params, compress.round_to), recovery, name, step)
            say(f"  {name}: {folded_parameters(model)} parameters, channels {model.network.channels}")
        model = recover(model, replace(recovery, epochs=compress.final_epochs), phase, len(targets) + 1)
    if compress.qat_epochs:
        rounding = replace(recovery, lr=compress.qat_lr, epochs=compress.qat_epochs)
        phase = pruned_phase(compress, track.name)
        model = recover(fold(model), rounding, phase, compress.pruning_steps + 2, quantized=True)
        say(f"  {phase}: {compress.qat_epochs} epochs with INT8's roundings")
    return model


def load_pruned(compress: CompressConfig, run_dir: Path, track: str) -> WaveformModel:
    """The pruned student of a track.

    Raises:
        ModelError: if its fine-tuning has not finished, or was of other settings.
    """
    phase = pruned_phase(compress, track)
    saved = load_checkpoint(run_dir / f"{phase}.best.pt")
    last = run_dir / f"{phase}.last.pt"  # without fine-tuning there is none
    if last.exists() and not load_checkpoint(last)["done"]:
        raise ModelError(f"{run_dir}: training of {phase} has not finished; run prune_and_quantize.py --resume")
    if configuration.from_stored(saved["config"]).compress.of_weights() != compress.of_weights():
        raise ModelError(f"{run_dir}: {phase} was compressed with other settings; run prune_and_quantize.py again")
    return build_model(saved)


def load_summary(run_dir: Path) -> dict:
    """What prune_and_quantize.py found: calibration, default format, calibration clips.

    Raises:
        ConfigError: if it has not run here.
    """
    path = run_dir / SUMMARY_FILE
    again = f"run prune_and_quantize.py --run-dir {run_dir}"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; {again} first") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON ({error}); {again} --resume") from None
    if not isinstance(summary, dict) or not summary.keys() >= {"compress", "calibration", "default", "int8_passed"}:
        raise ConfigError(f"{path} is not what the script writes; {again} --resume")
    return summary


def int8_remedy(compress: CompressConfig, run_dir: Path) -> str:
    """What to do about INT8 that differs too much from fp32."""
    return (
        f"to have INT8 too, run prune_and_quantize.py --run-dir {run_dir} --resume --set "
        f"compress.qat_epochs={2 * compress.qat_epochs or 8}, which trains for eight bits, or raise "
        "compress.calibration_clips, and export again"
    )


def calibrate(config: Config, track: Track, model: WaveformModel) -> dict:
    """Temperature and rejection threshold from a track's validation speakers.

    Returns:
        `temperature`, `reject_below` (probability), `n` clips they rest on; temperature 1 and no
        rejection where the track has no validation. `label_bias` rests on none.
    """
    bias = label_bias(config)
    if not track.validation:
        return {"temperature": 1.0, "reject_below": 0.0, "n": 0, "label_bias": bias}
    waveforms, targets = as_arrays(track.validation, config.data.labels, model.spec.n_samples)
    logits = predict_logits(model, waveforms)
    temperature = fit_temperature(logits, targets)
    scores = logits / temperature + (bias or 0.0)
    confidence = softmax(scores, axis=1).max(axis=1)
    right = scores.argmax(axis=1) == targets
    labels = config.data.labels
    if NON_DIGIT in labels:  # what is right there is answered with nothing in any case
        right &= targets != labels.index(NON_DIGIT)
    reject_below = float(np.quantile(confidence[right], 1 - KEPT_OF_CORRECT)) if right.any() else 0.0
    calibration = {"temperature": temperature, "reject_below": round(reject_below, 4), "n": len(targets)}
    return {**calibration, "label_bias": bias}


def calibration_note(track: Track) -> str:
    """What to know about temperature and threshold of `calibrate` where no person was heard; else empty."""
    if not track.validation or any(recording.source not in ARTIFICIAL for recording in track.validation):
        return ""
    heard = "synthetic voices" if track.validation[0].source == SYNTH else "simulated EMG"
    return (
        f"temperature and rejection threshold are fitted to {heard} alone; do not trust either with people before "
        "python -m edgedigit.evaluate has measured the probabilities on recordings of some"
    )


def calibration_clips(config: Config, track: Track) -> tuple[np.ndarray, list[str]]:
    """Waveforms (n, n_samples) that INT8 ranges are taken from, and the names of their recordings."""
    rows = calibration_indices(track.train, config.compress.calibration_clips, config.seed)
    chosen = [track.train[row] for row in rows]
    waveforms, _ = as_arrays(chosen, config.data.labels, config.data.signal.n_samples)
    return waveforms, [recording.name for recording in chosen]
