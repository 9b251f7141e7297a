"""What a run's product answers to each clip, and its students between pruning steps; needs the recordings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from scipy.special import softmax

from edgedigit.compress.pipeline import load_pruned, pruned_phase
from edgedigit.compress.prune import count_macs, folded_parameters
from edgedigit.config import Config
from edgedigit.data.dataset import as_arrays
from edgedigit.data.recording import SYNTH, Recording
from edgedigit.labels import NON_DIGIT
from edgedigit.metrics import accuracy_row
from edgedigit.models import WaveformModel
from edgedigit.report.runs import Run
from edgedigit.train.checkpoints import build_model, load_checkpoint
from edgedigit.train.pipeline import Material, label_bias, load_material, load_student
from edgedigit.train.scoring import predict_logits, predict_onnx


@dataclass(frozen=True, eq=False)
class Clip:
    """One recording and what the product answered.

    Attributes:
        part: as in `Material.evaluations`.
        recording: with its waveform.
        answer: label of the highest probability.
        probability: of the answer.
        label_probability: of the true label.
    """

    part: str
    recording: Recording
    answer: str
    probability: float
    label_probability: float

    @property
    def right(self) -> bool:
        return self.answer == self.recording.label

    def as_answer(self) -> dict:
        """What scripts write to answers.csv of it, as far as tables need it."""
        r = self.recording
        return {
            "part": self.part,
            "name": r.name,
            "label": r.label,
            "speaker": r.speaker,
            "source": r.source,
            "answer": self.answer,
        }


def load_evaluations(config: Config, data_dir: str | Path | None) -> Material:
    """The recordings of a run, divided as when it was trained; nothing is downloaded, rendered or augmented.

    Raises:
        DataError: if they are not there.
    """
    real = tuple(source for source in config.data.sources if source.partition(":")[0] != SYNTH)
    # Synthetic voices only train, and splits deal real speakers: the others are divided alike without them.
    data = replace(config.data, sources=real or config.data.sources, noises="")
    return load_material(replace(config, data=data), data_dir, progress=False, download=False)


def answer_clips(run: Run, material: Material) -> list[Clip]:
    """What the product of a run answers to its validation and test recordings.

    Raises:
        ModelError: if a model of the run is missing or damaged.
    """
    labels = run.config.data.labels
    clips = []
    for part, track, recordings in material.evaluations():
        if not recordings:
            continue
        waveforms, targets = as_arrays(recordings, labels, run.config.data.signal.n_samples)
        if run.stage == "student":
            logits = predict_logits(load_student(run.config, run.folder, track), waveforms)
            probabilities = softmax(logits + (run.student.get("label_bias") or 0.0), axis=1)
        else:
            probabilities = predict_onnx(run.folder / f"{track}-{run.stage}.onnx", waveforms)
        answers = probabilities.argmax(axis=1)
        for recording, row, target, answer in zip(recordings, probabilities, targets, answers, strict=True):
            clips.append(Clip(part, recording, labels[answer], float(row[answer]), float(row[target])))
    return clips


def hardest(clips: list[Clip], n: int) -> list[Clip]:
    """The `n` clips that say most about a model: wrong answers, the surest first, then the least sure right ones."""
    return sorted(clips, key=lambda clip: (clip.right, clip.label_probability if clip.right else -clip.probability))[:n]


def pruning_points(run: Run, material: Material) -> list[dict]:
    """Size and accuracy on validation of the student, after each pruning step and after the last fine-tuning: of
    digits, as in every table, or of all clips where none is a digit.

    Returns:
        Rows as `metrics.accuracy_row` with `n_params` and `macs`; empty without validation recordings, as the test
        part is not there to be looked at so often.
    """
    track = material.tracks[0]
    if not track.validation or not run.compressed:
        return []
    counted = [recording for recording in track.validation if recording.label != NON_DIGIT] or track.validation
    labels = run.config.data.labels
    models: dict[str, WaveformModel] = {"student": load_student(run.config, run.folder, track.name)}
    for phase in run.fine_tuning(track.name):
        name = phase.removeprefix(f"{track.name}-")
        if phase != pruned_phase(run.compress, track.name):
            models[name.replace("prune", "step ")] = build_model(load_checkpoint(run.folder / f"{phase}.best.pt"))
    models["fine-tuned"] = load_pruned(run.compress, run.folder, track.name)
    rows = []
    bias = label_bias(replace(run.config, compress=run.compress)) or 0.0
    for name, model in models.items():
        waveforms, targets = as_arrays(counted, labels, model.spec.n_samples)
        right = int(((predict_logits(model, waveforms) + bias).argmax(axis=1) == targets).sum())
        sizes = {"n_params": folded_parameters(model), "macs": count_macs(model)}
        rows.append({**accuracy_row(name, right, len(targets)), **sizes})
    return rows
