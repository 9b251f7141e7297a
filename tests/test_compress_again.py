"""A run that is compressed again: what is kept, what starts over, and what an interruption leaves."""

from dataclasses import replace

import pytest
from tiny_training import LABELS, tones

from edgedigit.compress.pipeline import SUMMARY_FILE, int8_remedy, load_pruned, prune_track
from edgedigit.compress.prune import folded_parameters
from edgedigit.config import apply_overrides, from_dict
from edgedigit.errors import ModelError
from edgedigit.train import pipeline
from edgedigit.train.checkpoints import load_checkpoint, save_checkpoint

SETTINGS = {
    "data": {"labels": LABELS, "split": "all"},
    "augment": {"enabled": False},
    "teachers": [],
    "student": {"name": "student_dscnn", "kwargs": {"widths": [16], "depths": [1], "kernels": [5]}},
    "fit_student": {"epochs": 1, "lr": 0.01, "batch_size": 8},
    "compress": {"pruning_steps": 1, "target_sparsity": 0.3, "final_epochs": 2},
    "threads": 1,
}


class Stop:
    """An observer that interrupts a phase after an epoch."""

    def __init__(self, phase, epoch):
        self.at = (phase, epoch)

    def epoch_ended(self, record, seen):
        if (record["phase"], record["epoch"]) == self.at:
            raise KeyboardInterrupt


class Compressed:
    """A run whose student has been pruned once, with the summary that the script writes."""

    def __init__(self, folder):
        self.folder, self.config = folder, from_dict(SETTINGS)
        self.track = pipeline.Track(pipeline.FINAL, tones(16), [])
        self.material = pipeline.Material((self.track,), [], [])
        pipeline.prepare_run(self.config, folder, False, self.material.tracks)
        pipeline.train_all(self.config, self.material, folder, say=str, bars=False)
        self.model = self.again(resume=False)
        self.summary.write_text("{}")

    @property
    def summary(self):
        return self.folder / SUMMARY_FILE

    def with_settings(self, **compress):
        return apply_overrides(self.config, [f"compress.{key}={value}" for key, value in compress.items()])

    def again(self, resume=True, observers=(), **compress):
        config = self.with_settings(**compress)
        return prune_track(
            config, self.material, self.track, self.folder, resume, say=str, bars=False, observers=observers
        )

    def stamps(self):
        return {path.name: path.stat().st_mtime_ns for path in self.folder.glob("*.pt")}


@pytest.fixture
def run(tmp_path):
    return Compressed(tmp_path)


@pytest.mark.parametrize(
    ("stop", "compress"),
    [(("final-prune1", 1), {}), (("final-pruned", 1), {}), (("final-qat", 1), {"qat_epochs": 2})],
)
def test_a_run_that_is_cut_short_when_compressed_again_is_not_taken_for_the_former(run, stop, compress):
    with pytest.raises(KeyboardInterrupt):
        run.again(resume=False, observers=[Stop(*stop)], **compress)
    assert not run.summary.exists()
    if stop[0] != "final-prune1":
        with pytest.raises(ModelError, match=rf"{stop[0]} has not finished; run prune_and_quantize\.py --resume"):
            load_pruned(run.with_settings(**compress).compress, run.folder, "final")


def test_a_net_of_other_settings_than_the_summary_has_is_refused(run):
    assert folded_parameters(load_pruned(run.config.compress, run.folder, "final")) == folded_parameters(run.model)
    other = replace(run.config.compress, target_sparsity=0.4)
    with pytest.raises(ModelError, match="final-pruned was compressed with other settings"):
        load_pruned(other, run.folder, "final")


def test_what_is_refused_leaves_the_summary(run):
    with pytest.raises(ModelError, match=r"other settings \(compress\)"):
        run.again(target_sparsity=0.4)
    assert run.summary.exists()


@pytest.mark.parametrize("key", ["calibration_clips", "unknown_odds"])
def test_what_exported_files_alone_depend_on_leaves_the_pruned_net_as_it_is(run, key):
    assert "calibration_clips" in int8_remedy(run.config.compress, run.folder)
    before = run.stamps()
    run.again(**{key: 1024})
    assert run.stamps() == before and run.summary.exists()
    for path in run.folder.glob("final-prune*.pt"):  # as earlier versions stored them
        saved = load_checkpoint(path)
        saved["config"]["compress"][key] = 20
        save_checkpoint(path, saved)
    before = run.stamps()
    run.again(**{key: 1024})
    assert run.stamps() == before
    load_pruned(run.config.compress, run.folder, "final")


def test_pruning_goes_on_after_the_student_was_taken_as_it_is(run):
    whole = run.again(resume=False, target_sparsity=0)
    assert folded_parameters(whole) > folded_parameters(run.model) and not run.summary.exists()
    assert folded_parameters(load_pruned(run.with_settings(target_sparsity=0).compress, run.folder, "final")) > 0
    assert folded_parameters(run.again()) == folded_parameters(run.model)
