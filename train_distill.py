"""Train teacher networks on spoken digits, then distil them into the depthwise-separable student.

    python train_distill.py                                    # FSDD's training part, all defaults
    python train_distill.py --config configs/shipped.yaml      # the shipped model: every corpus at hand
    python train_distill.py --model bc_resnet:tau=3            # one architecture alone; --list-models names them
    python train_distill.py --data folder:my_recordings --labels yes,no,up,down  # your own words, see docs/own_words.md
    python train_distill.py --data synth --labels yes,no,up,down                 # from nothing but their spelling
    python train_distill.py --teachers resnet_se effnet --epochs 20 --resume

torchrun --nproc-per-node 2 train_distill.py [...] trains the same in several processes that share each batch.
Writes checkpoints, `log.jsonl`, curves and confusion matrices to --run-dir; prune_and_quantize.py goes on from there,
`python -m edgedigit.report RUN_DIR` makes a page of it, and --tensorboard or --wandb follow it while it runs.
"""

from __future__ import annotations

if __name__ == "__main__":  # first of all, since Ctrl-C may come while the rest is imported
    from edgedigit.interrupt import leave_on_interrupt

    leave_on_interrupt()

import json
import time
from pathlib import Path

from edgedigit.cli import ArgumentParser, leave, print_json, run_main
from edgedigit.labels import label_of


def parse_args(argv):
    parser = ArgumentParser(prog="train_distill.py", description=__doc__)
    parser.add_argument("--config", help="YAML or JSON that states differences from the defaults")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as fit_student.lr=3e-3")
    parser.add_argument("--model", metavar="NAME[:KEY=VALUE,...]", help="train this one alone, without teachers")
    parser.add_argument("--list-models", action="store_true", help="say which there are, and stop")
    parser.add_argument("--student", metavar="NAME[:...]", help="that learns from the teachers (student_dscnn)")
    parser.add_argument("--teachers", nargs="*", metavar="NAME[:...]", help="whose mean is taught; none: labels alone")
    parser.add_argument(
        "--teachers-from", nargs="+", metavar="RUN", help="folders of runs that have trained them on the same data"
    )
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="SOURCE",
        help="fsdd, synth, synth:300:de, folder:PATH, …, divided as they are marked",
    )
    parser.add_argument("--labels", nargs="+", metavar="WORD", help="what to tell apart, such as yes,no,_unknown_")
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument("--run-dir", default="runs/default", help="folder of this run (%(default)s)")
    parser.add_argument("--epochs", type=int, help="of teachers and student alike")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--temperature", type=float, help="of the soft targets")
    parser.add_argument("--alpha", type=float, help="weight of the soft targets; 1 - alpha on the labels")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--resume", action="store_true", help="continue the run in --run-dir")
    parser.add_argument("--tensorboard", action="store_true", help="events for TensorBoard in RUN_DIR/tensorboard")
    parser.add_argument("--wandb", action="store_true", help="follow in Weights & Biases; WANDB_MODE=offline holds")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args(argv)
    if args.model is not None and (args.student or args.teachers):
        parser.error("--model trains one alone; name a --student to have it learn from --teachers")
    if args.model is not None:
        args.student, args.teachers = args.model, []
    return args


def overrides(args) -> list[str]:
    """The named flags as --set overrides, before the explicit ones."""

    def as_yaml(value):  # where JSON's escapes of what lies beyond 16 bits would be two characters
        return None if value is None else json.dumps(value, ensure_ascii=False)

    labels = args.labels and [label_of(word) for word in listed(args.labels)]
    named = {
        "data.sources": as_yaml(args.data and listed(args.data)),
        "data.split": None if args.data is None else "auto",
        "data.labels": as_yaml(labels),
        "student": args.student,
        "teachers": as_yaml(args.teachers),
        "teachers_from": as_yaml(args.teachers_from),
        "fit_teacher.epochs": args.epochs,
        "fit_student.epochs": args.epochs,
        "fit_teacher.batch_size": args.batch_size,
        "fit_student.batch_size": args.batch_size,
        "distill.temperature": args.temperature,
        "distill.alpha": args.alpha,
        "seed": args.seed,
    }
    return [f"{key}={value}" for key, value in named.items() if value is not None] + args.set


def listed(words) -> list[str]:
    """The parts of `a,b c` and `a, b` alike; spaces within a part belong to it."""
    return [part.strip() for word in words for part in word.split(",") if part.strip()]


def main(argv=None) -> int:
    args = parse_args(argv)
    if args.list_models:
        return list_models()
    started = time.perf_counter()

    # 1. What to do: defaults, changed by the file, changed by the flags.
    from edgedigit.compress.prune import count_macs, folded_parameters
    from edgedigit.config import load_config, to_dict
    from edgedigit.data.dataset import as_arrays
    from edgedigit.errors import GateError
    from edgedigit.figures import confusion_figure, save_png
    from edgedigit.manifest import write_json
    from edgedigit.metrics import confusion_matrix
    from edgedigit.report.plots import plot_curves
    from edgedigit.train import distributed, pipeline, scoring
    from edgedigit.train.observers import open_observers

    config = load_config(args.config, overrides(args))
    pipeline.check_models(config)  # before minutes are spent on recordings
    run_dir = Path(args.run_dir)

    with distributed.joined(config.device):
        first = distributed.rank() == 0
        bars = first and not args.quiet
        observers = (
            open_observers(run_dir, config.data.labels, to_dict(config), args.tensorboard, args.wandb) if first else []
        )

        # 2. Recordings, divided before anything is trained; on several machines each has its own.
        with distributed.first_of_each_machine_first():
            material = pipeline.load_material(config, args.data_dir, progress=bars)
        notes = [*pipeline.data_notes(material), *pipeline.label_issue_notes(config.data, material)]
        pipeline.check_processes(config, material, args.resume)
        distributed.from_first(lambda: pipeline.prepare_run(config, run_dir, args.resume, material.tracks))
        say = print if first else str  # the first process speaks for all
        say(f"run folder {run_dir}: {len(material.test)} test recordings set aside, {len(material.noises)} noises")
        for note in notes:
            say(note)

        # 3. Teachers, then the student, on each track.
        students = pipeline.train_all(config, material, run_dir, args.resume, say, bars, observers)
        for observer in observers:
            observer.close()
    if not first:
        return 0

    # 4. Student and teachers on strangers (validation speakers) and on the test part, with pictures of the student's.
    rows, teacher_rows, answers = [], [], []
    labels, bias = config.data.labels, pipeline.label_bias(config)
    for part, track, recordings in material.evaluations():
        if not recordings:
            continue
        waveforms, targets = as_arrays(recordings, labels, students[track].spec.n_samples)
        predictions = (scoring.predict_logits(students[track], waveforms) + (bias or 0.0)).argmax(axis=1)
        rows += scoring.accuracy_rows(part, recordings, predictions, labels)
        answers += scoring.answer_rows(track, "student", part, recordings, predictions, labels)
        counts = confusion_matrix(targets, predictions, len(labels))
        save_png(confusion_figure(counts, labels, part), run_dir / f"confusion_{part.split(',')[0]}.png")
        teachers = pipeline.load_teachers(config, run_dir, track)
        if teachers is not None:
            predictions = (scoring.predict_logits(teachers, waveforms) + (bias or 0.0)).argmax(axis=1)
            teacher_rows.append(scoring.accuracy_rows(part, recordings, predictions, labels)[0])
            answers += scoring.answer_rows(track, pipeline.TEACHERS, part, recordings, predictions, labels)
    scoring.write_answers(run_dir / pipeline.STUDENT_ANSWERS_FILE, answers)
    plot_curves(run_dir / "log.jsonl", run_dir / "curves.png")
    if teacher_rows:
        print("teachers together:" if len(config.teachers) > 1 else f"teacher, {config.teachers[0].label}:")
        print(scoring.accuracy_table(teacher_rows))
    print("student, fp32:")
    print(scoring.accuracy_table(rows) if rows else "  neither validation nor test recordings")

    summary = {"run_dir": str(run_dir), "seconds": round(time.perf_counter() - started), "accuracy": rows}
    final = students[material.tracks[-1].name]  # the one that is exported
    summary |= {"teachers": teacher_rows, "n_params": folded_parameters(final), "macs": count_macs(final)}
    summary["label_bias"] = bias  # of all these answers
    summary["drawn_from"] = pipeline.drawn_from(config.data, material.noises)
    write_json(run_dir / pipeline.STUDENT_FILE, summary)
    print_json(summary)
    limit = config.gates.min_validation_accuracy
    if material.tracks[0].validation and rows[0]["accuracy"] < limit:
        raise GateError(
            f"the student reaches {100 * rows[0]['accuracy']:.1f} % on validation, {100 * limit:.1f} % are needed; "
            "train for more epochs or on more recordings"
        )
    return 0


def list_models() -> int:
    """Print every registered architecture with its size and what it is."""
    from edgedigit import models
    from edgedigit.compress.prune import count_macs, folded_parameters

    rows = []
    for name in models.list_models():
        model = models.create_model(name)
        rows.append({"name": name, "n_params": folded_parameters(model), "macs": count_macs(model)})
        about = models.summary(name)
        print(f"{name:<20} {rows[-1]['n_params']:>9,} parameters {rows[-1]['macs'] / 1e6:>8.2f} M MACs  {about}")
    print_json({"models": rows})
    return 0


if __name__ == "__main__":
    leave(run_main(main))
