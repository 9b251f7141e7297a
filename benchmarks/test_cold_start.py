"""From a new process to its first answer: shown, and every process answers the same."""

from edgedigit.bench.cold_start import cold_start, run_cold_start
from edgedigit.runtime import Recognizer

PROCESSES = 5


def test_cold_starts_are_shown(default_model, show):
    for row in run_cold_start(default_model, PROCESSES):
        show(row)
        assert row["n"] == PROCESSES


def test_a_new_process_knows_the_model_s_labels(default_model):
    assert cold_start(default_model)["label"] in Recognizer(default_model).info.labels
