"""Options, models and clips of the benchmarks, and the summary that they end with."""

from pathlib import Path

import pytest

from edgedigit import bench
from edgedigit.runtime._paths import artifacts_dir

ROWS, REMARKS = pytest.StashKey[list](), pytest.StashKey[list]()


def pytest_addoption(parser):
    group = parser.getgroup("edgedigit")
    group.addoption("--budget-inference-ms", type=float, default=bench.BUDGET_INFERENCE_MS, help="p99 (%(default)s)")
    group.addoption("--budget-answer-ms", type=float, default=bench.BUDGET_ANSWER_MS, help="p95 (%(default)s)")
    group.addoption("--artifacts", type=Path, help="folder that export_models.py wrote (the shipped one)")


def pytest_configure(config):
    config.stash[ROWS], config.stash[REMARKS] = [], []


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[ROWS]:
        terminalreporter.section("budgets and peers")
        machine = bench.machine_facts()
        terminalreporter.line(", ".join(f"{key} {value}" for key, value in machine.items()))
        for line in [*config.stash[REMARKS], *bench.table(config.stash[ROWS]).splitlines()]:
            terminalreporter.line(line)


@pytest.fixture
def show(request):
    """Takes a row of measured figures for the closing summary."""
    return request.config.stash[ROWS].append


@pytest.fixture(scope="session")
def artifacts(request):
    """Folder of the models that are measured."""
    return request.config.getoption("--artifacts") or artifacts_dir()


@pytest.fixture(scope="session")
def default_model(artifacts):
    """The file that a program gets which names none."""
    return bench.shipped_files(artifacts)[0]


@pytest.fixture(scope="session")
def clips(request):
    """FSDD's official test recordings, shuffled; the sample clips where FSDD is not on disk."""
    clips, source = bench.load_clips()
    request.config.stash[REMARKS].append(f"words: {source}")
    return bench.choose_clips(clips, 0)
