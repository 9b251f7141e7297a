"""Cross-validate a recipe over speakers or over seeds: the scripts once a fold, then one table over all folds.

    python -m edgedigit.crossval loso --config configs/fsdd_loso.yaml --results docs/results/fsdd_loso.json
    python -m edgedigit.crossval kfold:5 --config configs/shipped.yaml --results docs/results/strangers.json
    python -m edgedigit.crossval --folds 5 --stage student --model bc_resnet:tau=1 --jobs 2
    python -m edgedigit.crossval --folds 5 --config configs/emg.yaml --set data.fold_by=session
    python -m edgedigit.crossval seeds:5 --results docs/results/fsdd_official.json

Every fold runs train_distill.py and, unless --stage is student, prune_and_quantize.py in a folder of its own and is
evaluated once, at the end, on its test: speakers that it never met, or what the recipe's own split sets aside for all
seeds. A fold that is finished is kept and one that was cut short is taken up again by --resume.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from edgedigit.cli import ArgumentParser, file_ending, print_json, run_main
from edgedigit.compress.pipeline import SUMMARY_FILE
from edgedigit.config import DataConfig, apply_overrides, load_config, training_settings
from edgedigit.data import load_recordings
from edgedigit.data.dataset import as_arrays
from edgedigit.data.recording import SIMULATED
from edgedigit.errors import ConfigError, EdgedigitError, GateError
from edgedigit.figures import confusion_figure, save_png
from edgedigit.labels import NON_DIGIT, kind_of
from edgedigit.manifest import source_commit, write_json
from edgedigit.metrics import accuracy_row, confusion_matrix, macro_row, probability_figures, wilson_interval
from edgedigit.provenance import commits_of, load_run_config, trained_at
from edgedigit.train.checkpoints import OTHER_MATERIAL, changed_material
from edgedigit.train.pipeline import (
    FINAL,
    STUDENT_ANSWERS_FILE,
    STUDENT_FILE,
    TEACHERS,
    check_models,
    check_recordings,
    drawn_from,
    label_issues,
    load_material,
    load_noises,
    make_model,
    split_of,
)
from edgedigit.train.scoring import (
    accuracy_table,
    confusion_table,
    over_speakers,
    predict_onnx,
    read_answers,
)

STAGES = {  # what is counted: the file that says a fold is finished, and that of its answers
    "int8": (SUMMARY_FILE, "answers.csv"),
    "student": (STUDENT_FILE, STUDENT_ANSWERS_FILE),
}
MOST_NAMED = 12  # speakers that have rows of their own
SEEDS = "seeds"  # the protocol whose folds differ in the seed alone
OTHER_STAGES = {TEACHERS: "teachers together, fp32", "student": "student, fp32", "pruned": "pruned, fp32"}
SCRIPTS = Path(__file__).resolve().parents[1]  # the scripts stand beside the package in a checkout


def folds_of(protocol: str, config, data_dir: str | None) -> list[str]:
    """Names of the folds of a protocol: the splits of `loso` or `kfold:N`, or `seed:0`, … of `seeds:N`.

    Raises:
        ConfigError: if the protocol is unknown.
    """
    kind, _, count = protocol.partition(":")
    if kind == "loso" and not count:
        data = config.data
        recordings = load_recordings(data.sources, data_dir, labels=data.labels, signal=data.signal)
        speakers = sorted({r.speaker for r in recordings if r.source == "fsdd"})
        if not speakers:
            raise ConfigError(
                f"loso leaves FSDD's speakers out, got sources {', '.join(config.data.sources)}; add fsdd"
            )
        return [f"loso:{speaker}" for speaker in speakers]
    if kind in ("kfold", SEEDS) and count.isdecimal() and int(count) >= 2:
        return [f"seed:{n}" if kind == SEEDS else f"{protocol}:{n}" for n in range(int(count))]
    raise ConfigError(f"protocol {protocol!r} is unknown; choose loso, kfold:N or seeds:N with N of 2 or more")


def run_fold(fold: str, run_dir: Path, args: argparse.Namespace) -> list[dict]:
    """Train one fold in subprocesses, to the stage that is asked for; its answers on the test speakers.

    Raises:
        EdgedigitError: if a script fails; its output is in `<run_dir>/output.txt`.
    """
    finished, answers = (run_dir / name for name in STAGES[args.stage])
    if (run_dir / "config.json").exists() and not args.resume:
        raise ConfigError(f"{run_dir} already holds a fold; go on with --resume or choose another --run-dir")
    if not (args.resume and _is_finished(fold, run_dir, args)):
        run_dir.mkdir(parents=True, exist_ok=True)
        finished.unlink(missing_ok=True)
        train = [
            "train_distill.py",
            "--run-dir",
            run_dir,
            "--quiet",
            *(["--config", args.config] if args.config else []),
        ]
        train += [word for setting in _settings(fold, run_dir, args) for word in ("--set", setting)]
        compress = ["prune_and_quantize.py", "--run-dir", run_dir, "--quiet"]
        common = ["--data-dir", args.data_dir] if args.data_dir else []
        environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
        with open(run_dir / "output.txt", "a", encoding="utf-8") as output:
            for words in (train, compress) if args.stage == "int8" else (train,):
                started = (run_dir / "config.json").exists()
                words = [*words, *common, *(["--resume"] if args.resume and started else [])]
                command = [sys.executable, SCRIPTS / words[0], *words[1:]]
                done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
                if done.returncode not in (0, GateError.exit_code):  # a gate judges a product, a fold is a figure
                    said = (run_dir / "output.txt").read_text(encoding="utf-8").strip().rpartition("\n")[2]
                    raise EdgedigitError(
                        f"fold {fold}: {words[0]} ended with code {done.returncode} ({said}); "
                        f"see {run_dir / 'output.txt'}"
                    )
        if not finished.exists():  # a crash ends with the code of a gate
            raise EdgedigitError(f"fold {fold}: {finished.name} was not written; see {run_dir / 'output.txt'}")
    told = read_answers(answers)
    # The file of INT8 knows nothing of teachers; a fold of an earlier version has no other.
    if args.stage == "int8" and (run_dir / STUDENT_ANSWERS_FILE).exists():
        told += [row for row in read_answers(run_dir / STUDENT_ANSWERS_FILE) if row["stage"] == TEACHERS]
    return [row for row in told if row["part"].split(",")[0] == "test"]


def _settings(fold: str, run_dir: Path, args: argparse.Namespace) -> list[str]:
    """Overrides of a fold: the model, what the command line sets, its split or seed, its teachers elsewhere."""
    taken = [f"teachers_from={args.teachers_from / run_dir.name}"] if args.teachers_from else []
    kind, _, value = fold.partition(":")
    own = f"seed={value}" if kind == "seed" else f"data.split={fold}"
    return [*model_settings(args), *args.set, own, *taken]


def model_settings(args: argparse.Namespace) -> list[str]:
    """Overrides that --model stands for: this one alone, as in train_distill.py."""
    return [f"student={args.model}", "teachers=[]"] if args.model else []


def _is_finished(fold: str, run_dir: Path, args: argparse.Namespace) -> bool:
    """Whether a fold has been trained to its end with the present recipe.

    Raises:
        ConfigError: if it was trained with another, or with other noises or label issues.
    """
    if not (run_dir / STAGES[args.stage][0]).exists():
        return False
    wanted = load_config(args.config, _settings(fold, run_dir, args))
    if training_settings(load_run_config(run_dir)) != training_settings(wanted):
        raise ConfigError(f"{run_dir} holds a fold of another recipe; choose another --run-dir")
    stored = _summary(run_dir / STUDENT_FILE).get("drawn_from")
    if stored:  # folds of earlier versions do not say
        changed = changed_material(stored, drawn_from(wanted.data, load_noises(wanted.data, args.data_dir)))
        if changed:
            raise ConfigError(
                f"{run_dir} holds a fold with {' and '.join(OTHER_MATERIAL[what] for what in changed)}; "
                "go on with the same, or choose another --run-dir"
            )
    return True


def _summary(path: Path) -> dict:
    """What a script found at its end; empty before."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def at_training_odds(run_dir: Path, stage: str) -> set[str]:
    """Stages of a finished fold of which nothing says that they expect `_unknown_` as often as exported models do.

    Those are the student and its teachers, where an earlier version counted their answers: such a net expects
    `_unknown_` as often as training drew it.

    Args:
        stage: "int8" or "student", to which the fold was trained.
    """
    trained, compressed = _summary(run_dir / STUDENT_FILE), _summary(run_dir / SUMMARY_FILE)
    students = [trained]
    if stage == "int8":
        students = [row for row in compressed.get("stages", []) if row["stage"] == "student"]
    told = {TEACHERS: [trained], "student": students}
    return {one for one, summaries in told.items() if not all("label_bias" in summary for summary in summaries)}


def over_folds(folds: Mapping[str, Sequence[dict]], stage: str) -> dict:
    """Accuracy of every fold, and its mean and standard deviation (n - 1) over them, each fold counting alike.

    Args:
        folds: answers of each, by the name of its split.
        stage: "int8", "pruned" or "student".

    Returns:
        `of`, what they are: "folds" or "seeds"; `rows` as `metrics.accuracy_row` makes them; `accuracy_mean` and
        `accuracy_sd`.
    """
    counted = {
        name: [row for row in answers if row["stage"] == stage and row["label"] != NON_DIGIT]
        for name, answers in folds.items()
    }
    of = SEEDS if all(name.startswith("seed:") for name in counted) else "folds"
    rows = [_row(f"{of[:-1]} {name.removeprefix('seed:')}", answers) for name, answers in counted.items()]
    accuracies = [row["accuracy"] for row in rows]
    return {"of": of, "rows": rows, "accuracy_mean": mean(accuracies), "accuracy_sd": stdev(accuracies)}


def seed_tables(folds: Mapping[str, Sequence[dict]], stage: str) -> list[dict]:
    """Rows of a result over seeds: their mean at this stage and at the others, then each seed; then `_unknown_`.

    All seeds answer the same clips. n of a mean is their number, and its interval is Wilson's for one answer to each:
    what other clips would give, not what other seeds would, which the standard deviation over seeds says.

    Args:
        folds: answers of each, by the name of its fold.
        stage: "int8", "pruned" or "student".
    """
    every = [row for rows in folds.values() for row in rows]
    spoken = [row for row in every if row["label"] != NON_DIGIT]

    def mean_row(title: str, one: str, answers: Sequence[dict]) -> list[dict]:
        told = [row for row in answers if row["stage"] == one]
        return [_mean_row(f"mean of {len(folds)} seeds{title}", told)] if told else []

    rows = mean_row("", stage, spoken)
    for other, title in OTHER_STAGES.items():
        rows += mean_row(f", {title}", other, spoken) if other != stage else []
    others = mean_row(f", label {NON_DIGIT}", stage, [row for row in every if row["label"] == NON_DIGIT])
    return rows + over_folds(folds, stage)["rows"] + others


def probabilities_of(fold_dir: Path, data_dir: str | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Probabilities (n, n_labels) of a fold's INT8 file for the digits of its test, and their labels (n,).

    None where there is no such file, or no validation, on which it would have been calibrated.

    Raises:
        DataError, ModelError: if the recordings that the fold was trained on are not those at hand.
    """
    path = fold_dir / f"{FINAL}-int8.onnx"
    if not path.exists():
        return None
    config = load_run_config(fold_dir)
    material = load_material(config, data_dir, progress=False)
    check_recordings(config, fold_dir, material.tracks)
    if not material.tracks[0].validation:
        return None
    spoken = [recording for recording in material.test if recording.label != NON_DIGIT]
    waveforms, targets = as_arrays(spoken, config.data.labels, config.data.signal.n_samples)
    return predict_onnx(path, waveforms), targets


def pooled_confusion(answers: Sequence[dict], stage: str, labels: Sequence[str]) -> np.ndarray:
    """Counts (n_labels, n_labels) over all folds: truth in rows, answers in columns."""
    index = {label: i for i, label in enumerate(labels)}
    counted = [row for row in answers if row["stage"] == stage]
    targets, predictions = (np.array([index[row[key]] for row in counted], np.int64) for key in ("label", "answer"))
    return confusion_matrix(targets, predictions, len(labels))


def _row(group: str, answers: Sequence[dict]) -> dict:
    right = sum(row["label"] == row["answer"] for row in answers)
    return accuracy_row(group + _origin(answers), right, len(answers))


def _mean_row(group: str, answers: Sequence[dict]) -> dict:
    """A row of clips that several nets may have answered: each counts once, with the share of its right answers."""
    right: dict[str, list[float]] = {}
    for row in answers:
        right.setdefault(row["name"], []).append(float(row["label"] == row["answer"]))
    n, accuracy = len(right), mean(mean(of_clip) for of_clip in right.values())
    low, high = wilson_interval(accuracy * n, n)
    return {"group": group + _origin(answers), "n": n, "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high}


def _origin(answers: Sequence[dict]) -> str:
    """What the name of a figure has to end with: nothing, where people made the recordings."""
    return ", simulated" if any(row["source"] == SIMULATED for row in answers) else ""


def tables(
    answers: Sequence[dict],
    stage: str,
    chosen_on: Set[str] = frozenset(),
    in_doubt: Set[str] = frozenset(),
    kinds_of_speakers: str | None = None,
) -> list[dict]:
    """Rows of the result: macro over digits, all clips (at other stages too), by source, speaker and digit.

    Clips of `_unknown_` have a row of their own, at the end, and count in no other. Those by speakers who say no digits
    test in every fold: each clip counts once in it, as a mean over the folds that it tested.

    Args:
        answers: of all folds.
        stage: "int8", "pruned" or "student".
        chosen_on: speakers on whom settings were chosen; a second macro row leaves them out.
        in_doubt: names of recordings whose labels are; another macro row leaves them out, and so does the worst label.
        kinds_of_speakers: pattern whose match in a speaker's name is a kind of speakers, with a row for each.
    """
    others = [row for row in answers if row["stage"] == stage and row["label"] == NON_DIGIT]
    answers = [row for row in answers if row["label"] != NON_DIGIT]
    counted = [row for row in answers if row["stage"] == stage]

    labels = sorted({row["label"] for row in counted})
    kind = kind_of(labels)
    simulated = _origin(counted)
    digits = [_row(f"{kind} {label}", [r for r in counted if r["label"] == label]) for label in labels]
    speakers = sorted({row["speaker"] for row in counted})
    rows = [macro_row(f"macro over {kind}s{simulated}", digits), _row("all clips", counted)]
    right = [row["label"] == row["answer"] for row in counted]
    rows += over_speakers([row["speaker"] for row in counted], {row["source"] for row in counted}, right)
    for other, title in OTHER_STAGES.items():
        if other != stage and any(row["stage"] == other for row in answers):
            rows.append(_row(f"all clips, {title}", [row for row in answers if row["stage"] == other]))
    for title, kept in (
        ("speakers that no setting was chosen on", [row for row in counted if row["speaker"] not in chosen_on]),
        ("labels not in doubt", [row for row in counted if row["name"] not in in_doubt]),
    ):
        if 0 < len(kept) < len(counted):
            of_label = {label: [row for row in kept if row["label"] == label] for label in labels}
            by_label = [_row(f"{kind} {label}", clips) for label, clips in of_label.items() if clips]
            absent = ", ".join(label for label, clips in of_label.items() if not clips)
            title += f", none of {absent}" if absent else ""
            rows.append(macro_row(f"macro over {kind}s{simulated}, {title}", by_label))
            worst = min(by_label, key=lambda row: row["accuracy"])
            rows.append({**worst, "group": f"worst {worst['group']}, {title}"})
    if len(sources(counted)) > 1:
        for source in sources(counted):
            rows.append(_row(f"source {source}", [r for r in counted if r["source"] == source]))
    if kinds_of_speakers:
        found = [re.search(kinds_of_speakers, row["speaker"]) for row in counted]
        matched = [(match[0], row) for match, row in zip(found, counted, strict=True) if match]
        for one in sorted({name for name, _ in matched}):
            rows.append(_row(f"speakers {one}*", [row for name, row in matched if name == one]))
    for named in [speakers] if len(speakers) <= MOST_NAMED else few_speakers(counted):
        rows += [_row(f"speaker {name}", [r for r in counted if r["speaker"] == name]) for name in named]
    return rows + digits + ([_mean_row(f"label {NON_DIGIT}", others)] if others else [])


def few_speakers(counted: Sequence[dict]) -> list[list[str]]:
    """Speakers of each source that has a handful."""
    of_source = {source: {row["speaker"] for row in counted if row["source"] == source} for source in sources(counted)}
    return [sorted(names) for names in of_source.values() if len(names) <= MOST_NAMED]


def sources(answers: Sequence[dict]) -> list[str]:
    """Where the answered clips come from, sorted."""
    return sorted({row["source"] for row in answers})


def by_source(answers: Sequence[dict], stage: str) -> dict[str, list[dict]]:
    """Rows of each label within each source, where there are several: a source may lack a label."""
    counted = [row for row in answers if row["stage"] == stage and row["label"] != NON_DIGIT]
    table = {}
    for source in sources(counted) if len(sources(counted)) > 1 else ():
        labels = sorted({row["label"] for row in counted if row["source"] == source})
        of_label = [[r for r in counted if (r["source"], r["label"]) == (source, label)] for label in labels]
        table[source] = [_row(label, clips) for label, clips in zip(labels, of_label, strict=True)]
    return table


def chosen_speakers(config, settings: Sequence[str], data_dir: str | None) -> set[str]:
    """Test speakers of the recipe under other settings, such as `data.seed=1`: those of the study that chose it."""
    if not settings:
        return set()
    return _speakers_of(apply_overrides(config, settings, only=("data",)).data, "test", data_dir)


def _speakers_of(data: DataConfig, part: str, data_dir: str | None) -> set[str]:
    """Who a division's test or validation hears."""
    recordings = load_recordings(data.sources, data_dir, labels=data.labels, signal=data.signal)
    split = split_of(data, recordings, data.validation_fraction if part == "validation" else 0.0)
    return {recordings[index].speaker for index in getattr(split, part)}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m edgedigit.crossval", description=__doc__)
    parser.add_argument("protocol", nargs="?", help="loso (FSDD's speakers), kfold:N or seeds:N")
    parser.add_argument("--folds", type=int, metavar="N", help="short for kfold:N: every speaker tests once")
    parser.add_argument("--stage", choices=STAGES, default="int8", help="student: train alone, no compression (int8)")
    parser.add_argument("--model", metavar="NAME[:KEY=VALUE,...]", help="train this one alone, without teachers")
    parser.add_argument("--config", help="of the recipe; its split is replaced by each fold's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument("--run-dir", help="folder of the folds (runs/<protocol>)")
    parser.add_argument(
        "--teachers-from",
        type=Path,
        metavar="RUN_DIR",
        help="folder of another cross-validation: each fold takes the teachers of the same fold there",
    )
    parser.add_argument(
        "--chosen-on",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="settings of the split whose test speakers settings were chosen on; a second macro leaves them out",
    )
    parser.add_argument(
        "--chosen-on-validation", action="store_true", help="and those that --config itself sets aside for validation"
    )
    parser.add_argument(
        "--kinds-of-speakers",
        metavar="PATTERN",
        help="a row for each kind of speakers, what a regular expression matches in their names: '^an4:[fm]'",
    )
    parser.add_argument("--results", type=file_ending(".json"), help="JSON file to write the table to")
    parser.add_argument("--title", help="of the table")
    parser.add_argument("--jobs", type=int, default=1, help="folds at a time (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of each fold (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="keep what is finished")
    args = parser.parse_args(argv)
    if min(args.jobs, args.threads) < 1:
        parser.error("--jobs and --threads are 1 or more")
    if args.kinds_of_speakers:
        try:
            re.compile(args.kinds_of_speakers)
        except re.error as error:
            parser.error(f"--kinds-of-speakers {args.kinds_of_speakers!r} is no pattern: {error}")
    if (args.protocol is None) == (args.folds is None):
        parser.error("name one protocol, such as kfold:5 or loso, or give --folds 5")
    args.protocol = args.protocol or f"kfold:{args.folds}"
    if args.protocol.startswith(SEEDS) and (args.chosen_on or any(one.startswith("seed=") for one in args.set)):
        parser.error("seeds:N takes seeds 0 to N - 1 on one split: leave --chosen-on and --set seed=… out")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    config = load_config(args.config, [*model_settings(args), *args.set])
    check_models(config)
    in_doubt = set(label_issues(config.data))
    if args.stage == "int8" and config.compress.target_sparsity:
        student = make_model(config, config.student)
        if student.description()["channels"] is None:  # prune_and_quantize.py would say so after the first training
            raise ConfigError(
                f"{student.name} cannot be pruned; stop before with --stage student, or set compress.target_sparsity=0"
            )
    run_dir = Path(args.run_dir or f"runs/{args.protocol.replace(':', '-')}")
    names = folds_of(args.protocol, config, args.data_dir)
    if args.protocol.startswith(SEEDS) and config.data.split == "all":
        raise ConfigError("split all sets no digits aside, so seeds have no test; name one by --set data.split=auto")
    chosen_on = chosen_speakers(config, args.chosen_on, args.data_dir)
    if args.chosen_on_validation:
        chosen_on |= _speakers_of(load_config(args.config).data, "validation", args.data_dir)
    if args.results:
        Path(args.results).parent.mkdir(parents=True, exist_ok=True)  # better now than after hours

    def folder(name: str) -> Path:
        return run_dir / name.replace(":", "-")

    def fold(name: str) -> list[dict]:
        answers = run_fold(name, folder(name), args)
        row = _row(name, [one for one in answers if one["stage"] == args.stage and one["label"] != NON_DIGIT])
        print(f"{row['group']}: {row['n_correct']} of {row['n']} right", flush=True)
        return answers

    with ThreadPoolExecutor(args.jobs) as pool:
        folds = dict(zip(names, pool.map(fold, names), strict=True))
    answers = [row for rows in folds.values() for row in rows]
    by_fold = over_folds(folds, args.stage)
    by_seed = by_fold["of"] == SEEDS
    rows = (
        seed_tables(folds, args.stage)
        if by_seed
        else tables(answers, args.stage, chosen_on, in_doubt, args.kinds_of_speakers)
    )
    told = [probabilities_of(folder(name), args.data_dir) for name in names] if args.stage == "int8" else [None]
    confusion = pooled_confusion(answers, args.stage, config.data.labels)
    print(accuracy_table(rows if by_seed else [*rows, *by_fold["rows"]]))
    print(f"over {len(folds)} {by_fold['of']}: mean {100 * by_fold['accuracy_mean']:.2f} %, ", end="")
    print(f"standard deviation {100 * by_fold['accuracy_sd']:.2f} points")
    print(confusion_table(confusion, config.data.labels))
    title = f"{len(folds)} {by_fold['of']} together{_origin(answers)}"
    save_png(confusion_figure(confusion, config.data.labels, title), run_dir / "confusion.png")
    at_odds = set()
    if NON_DIGIT in config.data.labels:
        at_odds = set().union(*(at_training_odds(folder(name), args.stage) for name in names))
    of = f", split {config.data.split}" if by_seed else ""
    by = "" if config.data.fold_by == "speaker" else f" by {config.data.fold_by}"
    result = {
        "name": Path(args.results).stem if args.results else args.protocol,
        "title": args.title or f"{args.protocol}{by}, {', '.join(config.data.fold_sources or config.data.sources)}{of}",
        "command": _command(args),
        "commit": source_commit(),
        "seeds": list(range(len(folds))) if by_seed else [config.seed],
        **trained_at([commits_of(folder(name)) for name in names]),
        "rows": rows,
        "folds": by_fold,
        "by_source": {} if by_seed else by_source(answers, args.stage),
        "confusion": {"labels": list(config.data.labels), "counts": confusion.tolist()},
        "note": _note(args.stage, answers, chosen_on, at_odds),
    }
    if None not in told:
        result["probabilities"] = probability_figures(*(np.concatenate(part) for part in zip(*told, strict=True)))
    if args.results:
        write_json(args.results, result)
    print_json(json.loads(json.dumps(result)))
    return 0


def _note(stage: str, answers: Sequence[dict], chosen_on: Set[str], at_odds: Set[str] = frozenset()) -> str:
    """What to know about a result.

    Args:
        at_odds: stages as `at_training_odds` tells them, of any fold.
    """
    if stage == "int8":
        fp32 = tables(answers, "student")[0]
        note = f"INT8 after pruning; the fp32 student before it: {100 * fp32['accuracy']:.2f} % (macro)."
    else:
        note = "The fp32 student, neither pruned nor quantised."
    digits = [row for row in answers if row["stage"] == stage and row["label"] != NON_DIGIT]
    n_chosen = sum(row["speaker"] in chosen_on for row in digits)
    if n_chosen:
        note += f" Settings were chosen on {n_chosen} of these clips, by nets that had not met their speakers."
    there = {row["stage"] for row in answers}
    if uneven := [OTHER_STAGES[one] for one in OTHER_STAGES if one in at_odds & there]:
        note += (
            f" Answers of {' and of '.join(uneven)}, expect {NON_DIGIT} as often as training drew it; those of "
            "exported models, compress.unknown_odds times as often as each other label: two operating points."
        )
    return note


def _command(args: argparse.Namespace) -> str:
    """What gives the same figures again."""
    words = ["python", "-m", "edgedigit.crossval", args.protocol, *(["--config", args.config] if args.config else [])]
    words += [] if args.stage == "int8" else ["--stage", args.stage]
    words += ["--model", args.model] if args.model else []
    words += [word for setting in args.set for word in ("--set", setting)]
    words += ["--teachers-from", str(args.teachers_from)] if args.teachers_from else []
    words += ["--chosen-on", *args.chosen_on] if args.chosen_on else []
    words += ["--chosen-on-validation"] if args.chosen_on_validation else []
    words += ["--kinds-of-speakers", args.kinds_of_speakers] if args.kinds_of_speakers else []
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(run_main(main))
