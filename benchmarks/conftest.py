"""Options, models and clips of the benchmarks, and the summary that they end with."""

from pathlib import Path

import pytest

from edgedigit.bench.clips import choose_clips, load_clips
from edgedigit.bench.inference import shipped_files
from edgedigit.bench.machine import machine_facts
from edgedigit.bench.rows import table
from edgedigit.config import BenchConfig
from edgedigit.runtime._paths import artifacts_dir

ROWS, REMARKS = pytest.StashKey[list](), pytest.StashKey[list]()


def pytest_addoption(parser):
    group = parser.getgroup("edgedigit")
    group.addoption(
        "--budget-inference-ms", type=float, default=BenchConfig().budget_inference_ms, help="p99 (%(default)s)"
    )
    group.addoption("--budget-answer-ms", type=float, default=BenchConfig().budget_answer_ms, help="p95 (%(default)s)")
    group.addoption("--artifacts", type=Path, help="folder that export_models.py wrote (the shipped one)")


def pytest_configure(config):
    config.stash[ROWS], config.stash[REMARKS] = [], []


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[ROWS]:
        terminalreporter.section("budgets and peers")
        machine = machine_facts()
        terminalreporter.line(", ".join(f"{key} {value}" for key, value in machine.items()))
        for line in [*config.stash[REMARKS], *table(config.stash[ROWS]).splitlines()]:
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
    return shipped_files(artifacts)[0]


@pytest.fixture(scope="session")
def clips(request):
    """FSDD's official test recordings, shuffled; the sample clips where FSDD is not on disk."""
    clips, source = load_clips()
    request.config.stash[REMARKS].append(f"words: {source}")
    return choose_clips(clips, 0)
