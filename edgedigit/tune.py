"""Search settings of a recipe: every trial is a short training, measured on speakers that it did not hear.

    python -m edgedigit.tune configs/search.yaml --trials 30 --run-dir runs/search
    python -m edgedigit.tune configs/search.yaml --trials 100 --jobs 4 --config configs/fsdd_loso.yaml
    python -m edgedigit.tune configs/search.yaml --storage postgresql://host/studies --study dscnn

The same command started again, on this machine or another that sees the storage, takes part in the search; --trials
counts those of all. What was killed is taken up again by whoever is left, and a finished search does nothing more.
Writes best.yaml (for train_distill.py --config), trials.csv, search.json and two pictures to --run-dir.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edgedigit.cli import ArgumentParser, print_json, run_main
from edgedigit.config import Config, differences, load_config, to_dict, training_settings, with_setting, with_settings
from edgedigit.errors import ConfigError, EdgedigitError
from edgedigit.figures import importances_figure, save_png, search_figure
from edgedigit.manifest import source_commit, write_json
from edgedigit.models import WaveformModel
from edgedigit.search_space import Dimension, candidates, read_search
from edgedigit.shared_study import PRUNERS, Watch, n_finished, open_study, signs_of_life, take_place
from edgedigit.train.checkpoints import build_model
from edgedigit.train.observers import Validated
from edgedigit.train.pipeline import Material, check_models, find_teachers, load_material, make_trainer, origin
from edgedigit.train.trainer import Ensemble

OBJECTIVES = {  # key of the trainer's record, whether more is better
    "accuracy": ("validation_accuracy", True),
    "macro": ("validation_macro", True),  # mean of the labels' accuracies
    "loss": ("validation_loss", False),
}
MIN_FOR_IMPORTANCE = 10  # finished trials; with fewer the shares are noise


class Watched:
    """Observer of a trial: reports its figure after every epoch and ends it where it is worse than others were.

    Args:
        trial: Optuna's.
        key: of the trainer's record.
        n_epochs: of the trial; after the last nothing is left to end.
    """

    def __init__(self, trial, key: str, n_epochs: int):
        self.trial = trial
        self.key = key
        self.n_epochs = n_epochs
        self.values: list[float] = []

    def epoch_ended(self, record: dict, validated: Validated | None) -> None:
        """Raises optuna.TrialPruned if the trial is to end."""
        import optuna

        self.values.append(record[self.key])
        self.trial.report(record[self.key], record["epoch"])
        if record["epoch"] < self.n_epochs and self.trial.should_prune():
            raise optuna.TrialPruned

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Search:
    """What every trial has in common: the recipe, the space, recordings that are read once, teachers trained once."""

    config: Config
    space: Sequence[Dimension]
    objective: str
    material: Material | None = None
    teachers: dict[str, list[WaveformModel]] = field(default_factory=dict)

    def train(self, trial) -> float:
        """Train the student of one trial; the figure of the epoch that the trainer keeps.

        Raises:
            optuna.TrialPruned: if the trial is worse than others were at that epoch.
            EdgedigitError: if these settings cannot be trained.
        """
        config = self.config
        for dimension in self.space:
            config = with_setting(config, dimension.key, dimension.suggest(trial))
        key, _ = OBJECTIVES[self.objective]
        watched = Watched(trial, key, config.fit_student.epochs)
        trainer = make_trainer(
            config,
            self.material.tracks[0],
            config.student,
            config.fit_student,
            self._ensemble(config),
            self.material.noises,
            observers=[watched],
        )
        trainer.run()
        return watched.values[trainer.best["epoch"] - 1]

    def take_teachers(self) -> None:
        """Read the teachers of other runs that trials take: what is wrong with them is better known before the first.

        Raises:
            ConfigError, ModelError: if one is missing, or may have heard who is held out.
        """
        for config in (self.config, *candidates(self.config, self.space)):
            if config.teachers_from:
                self._ensemble(config)

    def _ensemble(self, config: Config) -> Ensemble | None:
        """Teachers of a trial, trained once for all trials of this process in which nothing of theirs differs, or taken
        from other runs.

        Raises:
            ConfigError, ModelError: if `teachers_from` has not all of them, or they may have heard who is held out.
        """
        if not config.teachers:
            return None
        theirs = ("augment", "emg_augment", "fit_teacher", "seed", "precision") if not config.teachers_from else ()
        theirs = ("teachers", "teachers_from", *theirs)
        key = json.dumps({name: value for name, value in to_dict(config).items() if name in theirs})
        if key not in self.teachers:
            track, noises = self.material.tracks[0], self.material.noises
            if config.teachers_from:
                self.teachers[key] = [build_model(saved) for saved in find_teachers(config, [track]).values()]
            else:
                self.teachers[key] = [
                    make_trainer(config, track, teacher, config.fit_teacher, None, noises).run()
                    for teacher in config.teachers
                ]
        return Ensemble(self.teachers[key], config.precision, config.distill.teacher_weights)


def run_trial(search: Search, study, trial, grace_s: float) -> str:
    """Train one trial and tell the study; returns how it ended, in words."""
    import optuna

    state = optuna.trial.TrialState
    name = f"trial {trial.number}"
    try:
        with signs_of_life(trial, grace_s / 6):
            value = search.train(trial)
    except optuna.TrialPruned:
        study.tell(trial, state=state.PRUNED, skip_if_finished=True)
        frozen = study.trials[trial.number]
        return f"{name}: stopped after epoch {frozen.last_step}, {search.objective} {frozen.value:.4f}"
    except optuna.exceptions.UpdateFinishedTrialError:
        return f"{name}: was given up by another process, which heard nothing of it for {grace_s:g} s"
    except EdgedigitError as error:  # such as a loss that diverged: settings to keep away from
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=state.PRUNED, skip_if_finished=True)
        return f"{name}: cannot be trained: {error}"
    except BaseException:  # Ctrl-C too: another process need not wait to see that nothing comes any more
        study.tell(trial, state=state.FAIL, skip_if_finished=True)
        raise
    study.tell(trial, value, skip_if_finished=True)
    return f"{name}: {search.objective} {value:.4f}"


def trial_rows(study) -> list[dict]:
    """One row for each trial: number, state, value, epochs, seconds, host, pid, error, then its settings."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        row = {"number": trial.number, "state": trial.state.name.lower(), "value": trial.value}
        row["epochs"] = trial.last_step
        row["seconds"] = round(trial.duration.total_seconds(), 1) if trial.duration else None
        row |= {key: trial.user_attrs.get(key) for key in ("host", "pid", "error")}
        rows.append({**row, **trial.params})
    return rows


def importances(study) -> dict[str, float]:
    """Share of each setting in what brought trials among the best quarter; empty with too few finished trials.

    Source: Watanabe et al., PED-ANOVA, IJCAI 2023.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    n_complete = len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]))
    if n_complete < MIN_FOR_IMPORTANCE:
        return {}
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))


def summarise(study, search: Search, recipe: Config, args: argparse.Namespace) -> dict:
    """Write the result files of a search and return its summary.

    Every file is renamed into place, because several processes may end at once.

    Raises:
        EdgedigitError: if no trial was trained to its end.
    """
    import yaml

    rows = trial_rows(study)
    complete = [row for row in rows if row["state"] == "complete"]
    if not complete:
        errors = [row["error"] for row in rows if row["error"]]
        raise EdgedigitError(
            f"none of {len(rows)} trials was trained to its end" + (f"; the last error: {errors[-1]}" if errors else "")
        )
    best, run_dir = study.best_trial, Path(args.run_dir)
    settings = {dimension.key: dimension.value_of(best.params[dimension.key]) for dimension in search.space}
    chosen = recipe
    for key, value in settings.items():
        chosen = with_setting(chosen, key, value)
    shares = importances(study)
    states = ("complete", "pruned", "fail", "running")
    workers = sorted({(row["host"], row["pid"]) for row in rows}, key=str)
    summary = {
        "objective": search.objective,
        "command": _command(args),
        "commit": source_commit(),
        "n_validation": study.user_attrs.get("n_validation"),
        "validated_on": "validation" + study.user_attrs.get("origin", ""),
        "trials": _count(rows, states),
        "workers": [
            {"host": host, "pid": pid, **_count([r for r in rows if (r["host"], r["pid"]) == (host, pid)], states)}
            for host, pid in workers
        ],
        "best": {"trial": best.number, "value": best.value, "settings": settings},
        "importances": {name: round(share, 4) for name, share in shares.items()},
        "importances_of": "reaching the best quarter of the complete trials (PED-ANOVA)" if shares else None,
    }
    heading = (
        f"# Trial {best.number} of {len(rows)}: {search.objective} {best.value:.4f} on {summary['validated_on']}.\n"
    )
    heading += f"# {_command(args)}\n"
    run_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=run_dir) as scratch:
        folder = Path(scratch)
        (folder / "best.yaml").write_text(heading + yaml.safe_dump(differences(chosen), sort_keys=False))
        with open(folder / "trials.csv", "w", newline="", encoding="utf-8") as handle:
            columns = dict.fromkeys(column for row in rows for column in row)
            writer = csv.DictWriter(handle, list(columns))
            writer.writeheader()
            writer.writerows(rows)
        drawn = [row for row in rows if row["value"] is not None]
        maximise = OBJECTIVES[search.objective][1]
        history = search_figure(drawn, f"{search.objective} on validation", maximise)
        save_png(history, folder / "history.png")
        if shares:
            save_png(importances_figure(shares), folder / "importance.png")
        write_json(folder / "search.json", summary)
        for path in folder.iterdir():
            os.replace(path, run_dir / path.name)
    return summary


def _count(rows: Sequence[dict], states: Sequence[str]) -> dict[str, int]:
    return {state: sum(row["state"] == state for row in rows) for state in states}


def _command(args: argparse.Namespace) -> str:
    words = ["python", "-m", "edgedigit.tune", args.search, "--trials", str(args.trials)]
    words += [
        "--objective",
        args.objective,
        "--pruner",
        args.pruner,
        *(["--config", args.config] if args.config else []),
    ]
    return shlex.join([*words, *(word for setting in args.set for word in ("--set", setting))])


@contextmanager
def helpers(argv: Sequence[str], n_helpers: int, run_dir: Path) -> Iterator[list[subprocess.Popen]]:
    """Further processes that take part in the same search; they end with this one if it fails.

    Raises:
        EdgedigitError: if one of them fails; its output is in `<run_dir>/worker-<i>.txt`.
    """
    processes = []
    try:
        for i in range(1, n_helpers + 1):
            command = [
                sys.executable,
                "-m",
                "edgedigit.tune",
                *argv,
                "--quiet",
                "--jobs",
                "1",
            ]  # the last --jobs counts
            with open(run_dir / f"worker-{i}.txt", "a", encoding="utf-8") as output:
                processes.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))
        yield processes
        for i, process in enumerate(processes, 1):
            if process.wait():
                raise EdgedigitError(
                    f"worker {i} ended with code {process.returncode}; see {run_dir / f'worker-{i}.txt'}"
                )
    finally:
        for process in processes:
            process.terminate()


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m edgedigit.tune", description=__doc__)
    parser.add_argument("search", help="YAML: the space, and what makes a trial short; see configs/search.yaml")
    parser.add_argument("--config", help="of the recipe that is searched around (the defaults)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument("--run-dir", default="runs/search", help="folder of the results (%(default)s)")
    parser.add_argument("--storage", help="journal file or database URL that processes share (<run-dir>/study.journal)")
    parser.add_argument("--study", default="search", help="name, where a storage holds several (%(default)s)")
    parser.add_argument("--trials", type=int, default=30, help="of all processes together (%(default)s)")
    parser.add_argument("--objective", choices=OBJECTIVES, default="accuracy", help="on validation (%(default)s)")
    parser.add_argument("--pruner", choices=PRUNERS, default="median", help="stops bad trials early (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes to start here (%(default)s)")
    parser.add_argument(
        "--grace-s",
        type=float,
        default=60.0,
        help="without a sign of life until another process replaces a trial (%(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args(argv)
    if min(args.jobs, args.trials) < 1 or not args.grace_s > 0:
        parser.error("--jobs and --trials are 1 or more, --grace-s is more than 0")
    args.storage = args.storage or str(Path(args.run_dir) / "study.journal")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse_args(argv)

    # 1. The recipe, what makes a trial short, and the space: all names are checked before anything starts.
    recipe = load_config(args.config, args.set)
    shortened, space = read_search(args.search)
    search = Search(with_settings(recipe, shortened), space, args.objective)
    bases = (search.config, recipe)  # best.yaml is the recipe's, and has to train as well
    differing = [candidate for base in bases for candidate in (base, *candidates(base, space))]
    for candidate in {repr((c.teachers, c.student, c.data, c.distill)): c for c in differing}.values():
        check_models(candidate)
    searched = {"objective": args.objective, "config": training_settings(search.config)}
    searched["space"] = json.loads(json.dumps([asdict(dimension) for dimension in space]))
    maximise, n_epochs = OBJECTIVES[args.objective][1], search.config.fit_student.epochs
    study = open_study(args.storage, args.study, searched, maximise, args.pruner, n_epochs)
    Path(args.run_dir).mkdir(parents=True, exist_ok=True)

    # 2. Trials, until there are enough in the storage, whoever trained them.
    if n_finished(study) < args.trials:
        with helpers(argv, args.jobs - 1, Path(args.run_dir)):
            search.material = load_material(search.config, args.data_dir, progress=not args.quiet)
            strangers = _strangers(search.material)
            study.set_user_attr("n_validation", len(strangers))
            study.set_user_attr("origin", origin(strangers))
            search.take_teachers()
            watch = Watch(args.grace_s)
            while (trial := take_place(study, args.trials, watch, search.config.seed)) is not None:
                print(run_trial(search, study, trial, args.grace_s), flush=True)

    # 3. What came out.
    summary = summarise(study, search, recipe, args)
    counts, best = summary["trials"], summary["best"]
    print(f"{counts['complete']} trials complete, {counts['pruned']} stopped early, {counts['fail']} failed")
    for name, share in summary["importances"].items():
        print(f"  {name:<40} {share:.2f} of the importance")
    n = f"n = {summary['n_validation']}, {summary['validated_on']}"
    print(f"best: trial {best['trial']}, {args.objective} {best['value']:.4f} ({n})")
    print(f"train it: python train_distill.py --config {Path(args.run_dir) / 'best.yaml'}")
    print_json({"run_dir": args.run_dir, **summary})
    return 0


def _strangers(material: Material) -> list:
    """Validation recordings, of speakers that no trial hears.

    Raises:
        ConfigError: if there are none.
    """
    part, _, recordings = material.evaluations()[0]
    if not recordings or "unseen" not in part:
        raise ConfigError(
            "a search needs validation speakers that do not train; set data.validation_fraction or add speakers"
        )
    return recordings


if __name__ == "__main__":
    sys.exit(run_main(main))
