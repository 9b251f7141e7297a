"""Run folders as the scripts leave them: one written by hand, one trained on tones."""

import json

import numpy as np
import soundfile

from edgedigit.config import Config, apply_overrides, to_dict
from edgedigit.metrics import accuracy_row
from edgedigit.train.scoring import write_answers

SPEAKERS = ("ann", "bob", "cid")
SETTINGS = (
    'data.noises=""',
    "data.validation_fraction=0.3",
    "data.refit=false",
    "augment.enabled=false",
    "teachers=[]",
    "student={name: student_dscnn, kwargs: {widths: [8, 12], depths: [1, 1], kernels: [5, 5]}}",
    "fit_student.epochs=1",
    "fit_student.ema_decay=0.5",
    "threads=1",
)
LATENCY = {"n": 10, "latency_ms_p50": 0.25, "latency_ms_p95": 0.3, "latency_ms_p99": 0.4}


def write_log(folder, records):
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def log_of(phase, n_epochs, validated=True):
    """Records of a phase that gets better; 6 s an epoch."""
    for epoch in range(1, n_epochs + 1):
        record = {"phase": phase, "epoch": epoch, "loss": 2 / epoch, "lr": 1e-3, "seconds": 6.0}
        if validated:
            record |= {"validation_accuracy": 1 - 0.5 / epoch, "validation_loss": 1 / epoch}
        yield record


def begun(folder, split="fsdd_official"):
    """A run whose teacher is trained and whose student is not."""
    folder.mkdir(parents=True)
    config = apply_overrides(Config(), [f"data.split={split}"])
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    write_log(folder, [*log_of("final-resnet_se", 3), *log_of("final-student_dscnn", 2)])
    return folder


def finished(folder, split="fsdd_official", wrong=2):
    """A run to its end, without its checkpoints: 40 clips of each part, `wrong` of them wrong after quantisation."""
    begun(folder, split)
    records = [*log_of("final-resnet_se", 3), *log_of("final-student_dscnn", 5), *log_of("final-prune1", 1, False)]
    write_log(folder, [*records, *log_of("final-prune2", 1, False), *log_of("final-pruned", 4, False)])
    answers, stages = [], []
    for stage, n_params, n_wrong in (("student", 2000, 0), ("pruned", 1200, 1), ("int8", 1200, wrong)):
        rows = []
        for part in ("validation, unseen speakers", "test"):
            for i in range(40):
                label, speaker = str(i % 10), f"fsdd:{SPEAKERS[i % 3]}"
                answer = "9" if i < n_wrong else label
                answers.append(("final", stage, part, f"fsdd/<{part}>{i}.wav", label, speaker, "fsdd", answer))
            rows.append(accuracy_row(part, 40 - n_wrong, 40))
        stages.append(
            {
                "track": "final",
                "stage": stage,
                "n_params": n_params,
                "macs": 3 * n_params,
                "size_bytes": 5 * n_params,
                "latency": LATENCY,
                "accuracy": rows,
            }
        )
    write_answers(folder / "answers.csv", answers)
    (folder / "student.json").write_text(json.dumps({"accuracy": stages[0]["accuracy"], "seconds": 48}))
    (folder / "compressed.json").write_text(json.dumps({"default": "int8", "stages": stages}))
    return folder


def compared(folder):
    """A training as edgedigit.compare leaves it, without its checkpoints: 40 clips of strangers, one wrong."""
    begun(folder, "kfold:5:0")
    config = apply_overrides(Config(), ["data.split=kfold:5:0", "teachers=[]", "student=student_dscnn"])
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    write_log(folder, log_of("final-student_dscnn", 5, False))
    digits = [str(i % 10) for i in range(40)]
    write_answers(
        folder / "answers.csv",
        [
            ("final", "student", "test", f"fsdd/{i}.wav", digit, f"fsdd:{SPEAKERS[i % 3]}", "fsdd", digit if i else "9")
            for i, digit in enumerate(digits)
        ],
    )
    result = {
        "model": "student_dscnn",
        "protocol": "strangers",
        "split": "kfold:5:0",
        "n_params": 2000,
        "macs": 1230000,
    }
    (folder / "result.json").write_text(json.dumps({**result, "accuracy": accuracy_row("kfold:5:0", 39, 40)}))
    return folder


def tones_of_digits(data_dir):
    """Recordings in FSDD's layout, every digit a tone; the first of each speaker and digit is FSDD's test part."""
    folder = data_dir / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    time_s = np.arange(2400) / 8000
    for digit in range(10):
        for pitch, speaker in enumerate(SPEAKERS):
            for index in (0, 5, 6):
                wave = 0.3 * np.sin(2 * np.pi * (300 + 200 * digit + 20 * pitch) * time_s)
                soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", wave, 8000)
    return data_dir
