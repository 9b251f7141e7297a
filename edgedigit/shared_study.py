"""A study that several processes work on at once, on one machine or many: places, signs of life, what was killed."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgedigit.errors import ConfigError, MissingDependencyError

PRUNERS = ("median", "asha", "none")
JOURNAL_BEGINS = b'{"op_code"'  # every journal of Optuna
POLL_S = 1.0  # between looks at the storage while other processes have the last trials


def open_study(storage: str, name: str, searched: dict, maximise: bool, pruner: str, n_epochs: int):
    """The study that all processes share, created by the first.

    Args:
        storage: journal file or database URL.
        name: of the study in the storage.
        searched: what all trials of this study have in common, as JSON would hold it.
        maximise: whether more is better.
        pruner: one of `PRUNERS`.
        n_epochs: of a trial.

    Raises:
        ConfigError: if the storage cannot be opened or holds a search of other settings.
        MissingDependencyError: if Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingDependencyError.of("optuna", "tune") from None
    import sqlalchemy.exc

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    stops = {
        # the first half of a schedule says too little; docs/experiments.md, "A search by two processes"
        "median": lambda: optuna.pruners.MedianPruner(n_warmup_steps=max(1, n_epochs // 2)),
        "asha": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource="auto"),
        "none": optuna.pruners.NopPruner,
    }[pruner]()
    try:
        study = optuna.create_study(
            storage=_open_storage(storage),
            study_name=name,
            direction="maximize" if maximise else "minimize",
            pruner=stops,
            load_if_exists=True,
        )
    except (ImportError, ValueError, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"storage {storage} cannot be opened ({said}); expected a journal file or a database's URL"
        ) from None
    if study.user_attrs.get("search", searched) != searched:
        raise ConfigError(f"study {name!r} in {storage} searches other settings; choose another --study or --run-dir")
    study.set_user_attr("search", searched)
    return study


def _open_storage(storage: str):
    """A journal file, which works on shared folders too, or what a URL names.

    Raises:
        ConfigError: if the file holds something else.
    """
    import optuna

    if "://" not in storage:
        path = Path(storage)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            with open(path, "rb") as journal:
                begins = journal.read(len(JOURNAL_BEGINS))
            if not JOURNAL_BEGINS.startswith(begins):  # Optuna would append to it whatever it is
                raise ConfigError(f"storage {storage} is no journal of a search; name another file, which may be new")
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage))
    patience = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}  # s, for SQLite's one writer
    return optuna.storages.RDBStorage(storage, engine_kwargs=patience)


class Watch:
    """Tells which running trials have stopped giving signs of life.

    Optuna's own heartbeat is for databases alone and compares clocks. Here a trial counts upwards and whoever looks
    takes the time on its own clock, so journal files serve as well and machines may disagree on the hour.

    Args:
        grace_s: without a sign until a trial counts as dead.
    """

    def __init__(self, grace_s: float):
        self.grace_s = grace_s
        self.seen: dict[int, tuple] = {}  # trial: its last sign, when that was new

    def dead(self, trials: Sequence) -> list[int]:
        """Numbers of the trials among `trials` that are dead."""
        import optuna

        now = time.monotonic()
        running = [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]
        for trial in running:
            sign = trial.user_attrs.get("beat")
            if trial.number not in self.seen or self.seen[trial.number][0] != sign:
                self.seen[trial.number] = (sign, now)
        return [trial.number for trial in running if now - self.seen[trial.number][1] > self.grace_s]


@contextmanager
def signs_of_life(trial, every_s: float) -> Iterator[None]:
    """Count upwards in the trial's attribute `beat` as long as this process lives."""
    import optuna

    over = threading.Event()

    def beat() -> None:
        for count in itertools.count():
            try:
                trial.set_user_attr("beat", count)
            except optuna.exceptions.UpdateFinishedTrialError:  # given up for dead by another process
                return
            if over.wait(every_s):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def holds_place(trial) -> bool:
    """Whether a trial is one of those that --trials counts; one that was killed or withdrawn is not."""
    import optuna

    return trial.state != optuna.trial.TrialState.FAIL


def n_finished(study) -> int:
    """Trials that were trained, to the end or until they were pruned."""
    return sum(trial.state.is_finished() and holds_place(trial) for trial in study.get_trials(deepcopy=False))


def take_place(study, n_trials: int, watch: Watch, seed: int):
    """The next trial of this process, or None once all are finished; waits while others have the last ones.

    Two processes may ask at once. Trials are numbered, so each sees which of them are among the first `n_trials` that
    hold a place, and one that is not is withdrawn before it computes: no more than `n_trials` are ever finished.
    """
    import optuna

    while n_finished(study) < n_trials:
        for number in watch.dead(study.get_trials(deepcopy=False)):
            study.tell(number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
        if sum(map(holds_place, study.get_trials(deepcopy=False))) < n_trials:
            # Seeded by number: the first trials are drawn when values are suggested, later ones when asked for.
            study.sampler = _sampler(seed, len(study.get_trials(deepcopy=False)))
            trial = study.ask()
            study.sampler = _sampler(seed, trial.number)
            trial.set_user_attr("host", socket.gethostname())
            trial.set_user_attr("pid", os.getpid())
            before = [other for other in study.get_trials(deepcopy=False) if other.number < trial.number]
            if sum(map(holds_place, before)) < n_trials:
                return trial
            trial.set_user_attr("error", "withdrawn: no place was left")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        time.sleep(POLL_S)
    return None


def _sampler(seed: int, number: int):
    import optuna

    seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)  # keeps away from what others are trying
