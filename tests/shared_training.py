"""One process of small trainings; tests start several, each with the words TRAININGS [FATE STEP].

TRAININGS is a JSON object, the settings of each by its folder; they follow one another. A fate befalls the last process
after a step: the signal of that name.
"""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

from tiny_training import GENTLE, LABELS, N_SAMPLES, make_trainer, small_model, tones

from edgedigit.compress.prune import fold
from edgedigit.config import DistillConfig
from edgedigit.data.dataset import as_arrays
from edgedigit.train import distributed
from edgedigit.train.trainer import Ensemble


def main(argv):
    trainings = json.loads(argv[0])
    fate, fatal_step = (argv[1], int(argv[2])) if len(argv) > 1 else (None, 0)
    last = int(os.environ.get("RANK", 0)) == int(os.environ.get("WORLD_SIZE", 1)) - 1
    timeout_s = max(settings.pop("timeout_s", 300) for settings in trainings.values())

    def progress(step, n_steps, text):
        if last and fate and step == fatal_step:
            os.kill(os.getpid(), getattr(signal, fate))

    with distributed.joined(timeout_s=timeout_s):
        for folder, settings in trainings.items():
            train(Path(folder), progress, settings)
    return 0


def train(folder, progress, settings):
    teacher = Ensemble([small_model(seed=9)], "fp32") if settings.pop("distilled", False) else None
    held = as_arrays(tones(17, seed=1), LABELS, N_SAMPLES)
    model = small_model(settings.pop("model", "student_dscnn"), **settings.pop("kwargs", {}))
    settings["augment"] = replace(GENTLE, copies=settings.pop("copies", 0))
    settings["distill"] = DistillConfig(feature_weight=settings.pop("feature_weight", 0.0))
    if settings.get("quantized"):
        model = fold(model).requires_grad_(True)
    trainer = make_trainer(folder, validation=held, teacher=teacher, model=model, progress=progress, **settings)
    trainer.resume()
    trained = trainer.run()
    total = sum(value.double().sum().item() for value in trained.state_dict().values())
    print(json.dumps({"epoch": trainer.epoch, "total": total, "best": trainer.best["epoch"]}))
