"""Prune a trained student in steps, fine-tuning by distillation in between, then quantise it to INT8.

    python prune_and_quantize.py                                        # goes on from runs/default
    python prune_and_quantize.py --target_sparsity 0.4 --pruning_steps 8
    python prune_and_quantize.py --run-dir runs/shipped --resume

Prints parameters, MACs, size, accuracy and latency of every stage; ends with exit code 1 if INT8 costs too much, which
export_models.py then leaves out.
"""

from __future__ import annotations

if __name__ == "__main__":  # first of all, since Ctrl-C may come while the rest is imported
    from edgedigit.interrupt import leave_on_interrupt

    leave_on_interrupt()

import sys
import time
from dataclasses import asdict
from pathlib import Path

from edgedigit.cli import ArgumentParser, print_json, refuse_torchrun, run_main


def parse_args(argv):
    parser = ArgumentParser(prog="prune_and_quantize.py", description=__doc__)
    parser.add_argument("--run-dir", default="runs/default", help="run of train_distill.py (%(default)s)")
    parser.add_argument("--target-sparsity", type=float, help="share of the parameters that leave (0.4)")
    parser.add_argument("--pruning-steps", type=int, help="steps in which they leave (8)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as compress.lr=5e-4")
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument("--resume", action="store_true", help="keep the pruning steps that are finished")
    parser.add_argument("--tensorboard", action="store_true", help="events for TensorBoard in RUN_DIR/tensorboard")
    parser.add_argument("--wandb", action="store_true", help="follow in Weights & Biases; WANDB_MODE=offline holds")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    refuse_torchrun()
    started = time.perf_counter()

    # 1. The run's own configuration; only compression and gates may differ from training.
    from edgedigit.bench.inference import time_artifacts
    from edgedigit.compress import pipeline as compression
    from edgedigit.compress.prune import count_macs, folded_parameters
    from edgedigit.compress.quantize import quantize
    from edgedigit.config import apply_overrides, to_dict
    from edgedigit.data.dataset import as_arrays
    from edgedigit.errors import GateError
    from edgedigit.export.exportable import Exportable
    from edgedigit.export.facts import model_facts
    from edgedigit.export.onnx_file import export_onnx, finish_onnx
    from edgedigit.export.parity import allowed_clips
    from edgedigit.manifest import write_json
    from edgedigit.train import pipeline, scoring
    from edgedigit.train.observers import open_observers

    named = {"target_sparsity": args.target_sparsity, "pruning_steps": args.pruning_steps}
    changes = [f"compress.{key}={value}" for key, value in named.items() if value is not None] + args.set
    run_dir = Path(args.run_dir)
    config = apply_overrides(
        pipeline.load_run_config(run_dir), changes, only=("compress", "gates", "threads", "device")
    )
    labels = config.data.labels
    observers = open_observers(run_dir, labels, to_dict(config), args.tensorboard, args.wandb)
    material = pipeline.load_material(config, args.data_dir, progress=not args.quiet)
    drawn_from = pipeline.drawn_from(config.data, material.noises)
    pipeline.check_recordings(config, run_dir, material.tracks, drawn_from)

    # 2. Every track: student, pruned student, INT8. The first track's validation speakers calibrate.
    stages, answers, calibration = [], [], None
    for track in material.tracks:
        print(f"[{track.name}] pruning {config.compress.target_sparsity:.0%} of the parameters away")
        student = pipeline.load_student(config, run_dir, track.name)
        pruned = compression.prune_track(
            config, material, track, run_dir, args.resume, bars=not args.quiet, observers=observers
        )
        (run_dir / compression.SUMMARY_FILE).unlink(missing_ok=True)  # of the files that are replaced now
        calibration = calibration or compression.calibrate(config, track, pruned)
        clips, clip_names = compression.calibration_clips(config, track)
        files = {stage: run_dir / f"{track.name}-{stage}.onnx" for stage in ("student", "pruned", "int8")}
        export_onnx(Exportable(student, 1.0, calibration["label_bias"]), files["student"])
        calibrated = Exportable(pruned, calibration["temperature"], calibration["label_bias"])
        export_onnx(calibrated, files["pruned"])
        quantize(files["pruned"], files["int8"], clips)
        uncalibrated = {**calibration, "temperature": 1.0}
        finish_onnx(files["student"], student.spec, model_facts(config, student, uncalibrated, track.train))
        for stage in ("pruned", "int8"):
            finish_onnx(files[stage], pruned.spec, model_facts(config, pruned, calibration, track.train))
        for (stage, path), latency in zip(
            files.items(), time_artifacts(list(files.values()), config.data.signal), strict=True
        ):
            model = student if stage == "student" else pruned
            row = {"track": track.name, "stage": stage, "n_params": folded_parameters(model)}
            row |= {"macs": count_macs(model), "size_bytes": path.stat().st_size, "latency": latency, "accuracy": []}
            row["label_bias"] = calibration["label_bias"]
            for part, name, recordings in material.evaluations():
                if name == track.name and recordings:
                    waveforms, _ = as_arrays(recordings, labels, model.spec.n_samples)
                    predictions = scoring.predict_onnx(path, waveforms).argmax(axis=1)
                    row["accuracy"] += scoring.accuracy_rows(part, recordings, predictions, labels)
                    answers += scoring.answer_rows(track.name, stage, part, recordings, predictions, labels)
            stages.append(row)
    for observer in observers:
        observer.close()
    scoring.write_answers(run_dir / "answers.csv", answers)
    print(stage_table(stages))
    if note := compression.calibration_note(material.tracks[0]):
        print(note)

    # 3. Gates: INT8 against fp32 on strangers, and which of the two is faster here.
    final = {row["stage"]: row for row in stages if row["track"] == material.tracks[-1].name}
    ratio = final["pruned"]["latency"]["latency_ms_p50"] / final["int8"]["latency"]["latency_ms_p50"]
    default = "int8" if ratio > 1 else "fp32"
    print(f"INT8 is {ratio:.2f} times as fast as fp32 here")
    lost, n = validation_loss(stages, material.tracks[0].name)
    if not n:
        print("INT8 is not held to its gate: the run keeps no validation speakers (data.validation_fraction)")
    loss, may_lose = lost / n if n else None, allowed_clips(config.gates.max_int8_loss, n)
    summary = {"run_dir": str(run_dir), "default": default, "int8_speedup": ratio, "int8_loss": loss}
    summary |= {"calibration": calibration, "seconds": round(time.perf_counter() - started)}
    passed = lost <= may_lose
    if not passed:
        summary["default"] = "fp32"
    details = {"compress": asdict(config.compress), "stages": stages, "calibration_clips": clip_names}
    write_json(run_dir / compression.SUMMARY_FILE, {**summary, "int8_passed": passed, **details})
    print_json({**summary, "stages": [{key: row[key] for key in ("track", "stage", "n_params")} for row in stages]})
    if not passed:
        raise GateError(
            f"INT8 loses {100 * loss:.2f} points on validation, {100 * config.gates.max_int8_loss:.2f} are allowed "
            f"({lost} of {n} clips, {may_lose} may be lost); export_models.py writes fp32 and TorchScript without it; "
            + compression.int8_remedy(config.compress, run_dir)
        )
    return 0


def validation_loss(stages, track) -> tuple[int, int]:
    """How many right answers on validation INT8 loses against the pruned fp32 model, and of how many clips."""
    rows = {row["stage"]: row["accuracy"] for row in stages if row["track"] == track}
    right = {
        stage: next(((r["n_correct"], r["n"]) for r in found if r["group"].startswith("validation")), (0, 0))
        for stage, found in rows.items()
    }
    return right["pruned"][0] - right["int8"][0], right["int8"][1]


def stage_table(stages) -> str:
    """One line a stage, and under it one line a group of recordings."""
    from edgedigit.labels import NON_DIGIT
    from edgedigit.train.scoring import accuracy_table

    lines = []
    for row in stages:
        latency = row["latency"]
        lines.append(
            f"{row['track']} {row['stage']:<8} {row['n_params']:>7} parameters {row['macs'] / 1e6:6.2f} M MACs "
            f"{row['size_bytes'] / 1000:6.1f} kB  p50 {latency['latency_ms_p50']:.3f} ms "
            f"p99 {latency['latency_ms_p99']:.3f} ms"
        )
        if row["accuracy"]:
            others = [one for one in row["accuracy"] if one["group"].endswith(NON_DIGIT)]
            lines.append(accuracy_table([row["accuracy"][0], *others[:1]]))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_main(main))
