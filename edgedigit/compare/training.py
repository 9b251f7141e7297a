"""Train what a comparison needs and has not trained yet."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

from edgedigit import config as configuration
from edgedigit.compare.plan import MODEL_FILE, Task
from edgedigit.compress.prune import count_macs, folded_parameters
from edgedigit.config import Config, DataConfig
from edgedigit.data.dataset import as_arrays
from edgedigit.errors import ConfigError, EdgedigitError
from edgedigit.labels import NON_DIGIT
from edgedigit.manifest import source_commit, write_json
from edgedigit.metrics import accuracy_row
from edgedigit.train import pipeline, scoring
from edgedigit.train.devices import resolved
from edgedigit.train.pipeline import RESULT_FILE


def is_finished(task: Task) -> bool:
    """Whether the folder of a task holds its result.

    Raises:
        ConfigError: if it holds that of a training with other settings.
    """
    if not (task.folder / RESULT_FILE).exists():
        return False
    before, now = (
        configuration.training_settings(config)
        for config in (pipeline.load_run_config(task.folder), configuration.from_dict(task.settings))
    )
    if before != now:
        differing = ", ".join(key for key in now if before[key] != now[key])
        raise ConfigError(
            f"{task.folder} was trained with other settings ({differing}); remove it or choose another --run-dir"
        )
    return True


def run_task(task: Task, data_dir: str | None) -> str:
    """Train one model on one split, unless that has been done; a line that says how well it does on the test part.

    Raises:
        ConfigError: if the folder holds a training with other settings.
    """
    path = task.folder / RESULT_FILE
    if is_finished(task):
        return ""
    config = configuration.from_dict(task.settings)
    started = time.perf_counter()
    material = _material(config, data_dir)
    pipeline.prepare_run(config, task.folder, True, material.tracks)
    students = pipeline.train_all(config, material, task.folder, resume=True, say=_silent, bars=False)
    model = students[pipeline.FINAL]
    seconds = time.perf_counter() - started
    waveforms, targets = as_arrays(material.test, config.data.labels, model.spec.n_samples)
    predictions = scoring.predict_logits(model, waveforms).argmax(axis=1)
    answers = scoring.answer_rows(pipeline.FINAL, "student", "test", material.test, predictions, config.data.labels)
    scoring.write_answers(task.folder / "answers.csv", answers)
    _export(config, model, material, task.folder / MODEL_FILE)
    heard = {r.speaker for track in material.tracks for r in track.train}
    counted = [r.label != NON_DIGIT for r in material.test]  # architectures are compared on digits
    group = task.split + pipeline.origin(material.test)
    row = accuracy_row(group, int((predictions == targets)[counted].sum()), sum(counted))
    log = (task.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    write_json(
        path,
        {
            "model": task.label,
            "protocol": task.protocol,
            "split": task.split,
            "unseen_speakers": not heard & {r.speaker for r in material.test},
            "n_params": folded_parameters(model),
            "macs": count_macs(model),
            "epochs": json.loads(log[-1])["epoch"],
            "seconds": round(seconds, 1),
            "device": config.device,
            "precision": resolved(config.student_precision, config.device),
            "commit": source_commit(),
            "seed": config.seed,
            "accuracy": row,
        },
    )
    run = f"{task.label}, {task.protocol}, {group}, seed {task.seed}"
    return f"{run}: {100 * row['accuracy']:.2f} % of {row['n']}, {seconds:.0f} s"


def _silent(*_) -> None:
    pass


def _export(config: Config, model, material: pipeline.Material, path: Path) -> None:
    from edgedigit.export.exportable import Exportable
    from edgedigit.export.facts import model_facts
    from edgedigit.export.onnx_file import export_onnx, finish_onnx

    export_onnx(Exportable(model, 1.0), path)
    uncalibrated = {"temperature": 1.0, "reject_below": 0.0}
    finish_onnx(path, model.spec, model_facts(config, model, uncalibrated, material.tracks[-1].train))


@cache
def _recordings(data: DataConfig, data_dir: str | None):
    return pipeline.read_recordings(data, data_dir, progress=False)


def _material(config: Config, data_dir: str | None) -> pipeline.Material:
    """Recordings are read once a process, however many trainings it runs."""
    data = config.data
    read = DataConfig(
        sources=data.sources,
        noises=data.noises,
        noise_part=data.noise_part,
        labels=data.labels,
        signal=data.signal,
    )
    return pipeline.divide(data, *_recordings(read, data_dir))


def _end_with_parent() -> None:
    """Should this process be left alone, end it: started again, the command would train in the same folders."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _work(task: Task, data_dir: str | None) -> str:
    try:
        return run_task(task, data_dir)
    except EdgedigitError as error:
        raise EdgedigitError(f"{task.label}, {task.split}: {error}") from None


def train(tasks: Sequence[Task], data_dir: str | None, n_jobs: int) -> None:
    """Train what is not finished yet, several models at a time; each takes one thread."""
    waiting = [task for task in tasks if not is_finished(task)]
    finished = f"{len(tasks)} trainings, {len(tasks) - len(waiting)} of them finished"
    others = f"; training {len(waiting)}, --read-only would compare what is finished" if waiting else ""
    print(finished + others, flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started below
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_jobs, mp_context=context, initializer=_end_with_parent) as pool:
        futures = [pool.submit(_work, task, data_dir) for task in waiting]
        try:
            for i, future in enumerate(futures):
                print(f"[{i + 1}/{len(waiting)}] {future.result()}", flush=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # one that fails, or Ctrl-C, ends those that wait
