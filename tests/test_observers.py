"""Who looks on: TensorBoard and Weights & Biases are told every epoch once, and are not imported unless asked for."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from tiny_training import LABELS, N_SAMPLES, make_trainer, small_model, tones

from edgedigit import emg_features
from edgedigit.data.dataset import as_arrays
from edgedigit.errors import InputError, MissingDependencyError
from edgedigit.spec import EMG_8X1000
from edgedigit.train import observers
from edgedigit.train.observers import TensorBoard, Validated, WeightsAndBiases, open_observers

ROOT = Path(__file__).resolve().parents[1]


def held():
    return as_arrays(tones(12, seed=1), LABELS, N_SAMPLES)


class Notes:
    """An observer that remembers."""

    def __init__(self):
        self.seen = []

    def epoch_ended(self, record, validated):
        self.seen.append((record, validated))

    def close(self):
        pass


class Cut(Exception):
    """A training ends in the middle."""


def cut_at(last_step):
    def progress(step, n_steps, text):
        if step == last_step:
            raise Cut

    return progress


def events(folder, tag="loss"):
    """(step, value) of a scalar as TensorBoard shows it."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    loaded = accumulator.EventAccumulator(str(folder))
    loaded.Reload()
    return [(event.step, event.value) for event in loaded.Scalars(tag)]


def pictures(folder):
    """Steps of every picture, by its name."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    loaded = accumulator.EventAccumulator(str(folder), size_guidance={"images": 0})
    loaded.Reload()
    return {tag: [image.step for image in loaded.Images(tag)] for tag in loaded.Tags()["images"]}


@pytest.fixture
def blank_pictures(monkeypatch):
    """For tests of when pictures are shown: drawing takes most of an epoch's time."""
    monkeypatch.setattr(observers, "pixels", lambda figure: np.zeros((2, 2, 3), np.uint8))


def test_every_epoch_is_told_once_with_what_the_log_says(tmp_path):
    notes = Notes()
    waveforms, targets = held()
    make_trainer(tmp_path, validation=(waveforms, targets), observers=[notes]).run()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record for record, _ in notes.seen] == records
    record, seen = notes.seen[-1]
    assert seen.logits.shape == (12, 2) and seen.spec.kind == "log_mel"
    assert (seen.logits.argmax(axis=1) == targets).mean() == record["validation_accuracy"]
    assert np.array_equal(seen.waveforms, waveforms)


def test_without_validation_there_are_figures_alone(tmp_path):
    notes = Notes()
    make_trainer(tmp_path, epochs=2, observers=[notes]).run()
    assert [seen for _, seen in notes.seen] == [None, None]


def test_observers_change_nothing_about_training(tmp_path):
    pytest.importorskip("tensorboard")
    alone = make_trainer(epochs=2, validation=held()).run()
    watched = make_trainer(epochs=2, validation=held(), observers=[TensorBoard(tmp_path, LABELS)]).run()
    for a, b in zip(alone.state_dict().values(), watched.state_dict().values(), strict=True):
        assert a.equal(b)


@pytest.mark.usefixtures("blank_pictures")
def test_tensorboard_shows_each_phase_over_its_epochs(tmp_path):
    pytest.importorskip("tensorboard")
    board = TensorBoard(tmp_path / "tensorboard", LABELS)
    make_trainer(tmp_path, validation=held(), observers=[board]).run()
    board.close()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    phase = tmp_path / "tensorboard" / "tiny"
    for tag, key in (("loss", "loss"), ("lr", "lr"), ("validation/accuracy", "validation_accuracy")):
        assert events(phase, tag) == [(r["epoch"], pytest.approx(r[key], rel=1e-6)) for r in records]
    assert pictures(phase) == {"validation/confusion": [1, 2, 3], "validation/clips": [1, 2, 3]}


@pytest.mark.slow
@pytest.mark.usefixtures("blank_pictures")
def test_a_run_that_was_cut_short_goes_on_without_doubled_steps(tmp_path):
    """Also from a checkpoint of an earlier epoch: what came after it is void."""
    pytest.importorskip("tensorboard")
    phase = tmp_path / "tensorboard" / "tiny"
    settings = {"epochs": 4, "validation": held(), "checkpoint_epochs": 1}
    board = TensorBoard(tmp_path / "tensorboard", LABELS)
    with pytest.raises(Cut):
        make_trainer(tmp_path, observers=[board], progress=cut_at(14), **settings).run()  # in the fourth epoch
    assert [step for step, _ in events(phase)] == [1, 2, 3]  # nothing waits for the end to be written

    (tmp_path / "tiny.epoch2.pt").replace(tmp_path / "tiny.last.pt")
    board = TensorBoard(tmp_path / "tensorboard", LABELS)
    trainer = make_trainer(tmp_path, observers=[board], **settings)
    assert trainer.resume()
    trainer.run()
    board.close()
    assert [step for step, _ in events(phase)] == [1, 2, 3, 4]
    assert pictures(phase)["validation/clips"] == [1, 2, 3, 4]


@pytest.mark.parametrize("name, kind", [("mlp_mfcc", "mfcc"), ("cnn1d_raw", "raw")])
def test_pictures_show_the_features_that_the_model_takes(tmp_path, name, kind):
    pytest.importorskip("tensorboard")
    board = TensorBoard(tmp_path, LABELS)
    model = small_model(name, frontend={"kind": kind})
    make_trainer(epochs=1, validation=held(), model=model, observers=[board]).run()
    board.close()
    assert pictures(tmp_path / "tiny")["validation/clips"] == [1]


def test_pictures_of_emg_show_all_its_channels_one_above_the_other(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    rng = np.random.default_rng(0)
    emg = rng.normal(0, 50, (4, *EMG_8X1000.signal.shape)).astype(np.float32)
    shown = []
    draw = observers.features_figure
    monkeypatch.setattr(
        observers, "features_figure", lambda planes, titles: shown.extend(planes) or draw(planes, titles)
    )
    board = TensorBoard(tmp_path, LABELS)
    seen = Validated(emg, np.array([0, 1, 0, 1]), rng.normal(size=(4, 2)), EMG_8X1000)
    board.epoch_ended({"phase": "tiny", "epoch": 1, "loss": 1.0}, seen)
    board.close()
    assert pictures(tmp_path / "tiny") == {"validation/confusion": [1], "validation/clips": [1]}
    _, rows, _ = EMG_8X1000.shape
    third = emg_features.compute(emg, EMG_8X1000)[2]
    for channel, plane in enumerate(third):
        assert np.array_equal(shown[2][channel * rows : (channel + 1) * rows], plane)


def test_the_first_of_several_processes_alone_is_told(tmp_path, monkeypatch):
    from edgedigit.train import distributed

    for rank, n_told in ((0, 1), (1, 0)):
        notes = Notes()
        trainer = make_trainer(tmp_path / str(rank), epochs=1, observers=[notes])
        (tmp_path / str(rank)).mkdir()
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        if rank == 1:
            trainer.folder = None  # the first writes the checkpoint that all read at the end
        trainer.run()
        monkeypatch.undo()
        assert len(notes.seen) == n_told


@pytest.mark.parametrize("name, extra", [("tensorboard", "track"), ("wandb", "wandb")])
def test_a_missing_package_is_named_with_what_brings_it(tmp_path, monkeypatch, name, extra):
    for module in (name, "torch.utils.tensorboard") if name == "tensorboard" else (name,):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf'pip install "edgedigit\[{extra}\]"'):
        open_observers(tmp_path, LABELS, {}, **{name: True})


@pytest.mark.slow
def test_nothing_is_imported_that_was_not_asked_for(tmp_path):
    """A whole training, with both packages made unimportable."""
    program = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
for name in ("tensorboard", "torch.utils.tensorboard", "wandb"):
    sys.modules[name] = None
from tiny_training import LABELS, make_trainer
from edgedigit.train.observers import open_observers
folder = Path(sys.argv[1])
make_trainer(folder, epochs=1, observers=open_observers(folder, LABELS, {})).run()
assert not [name for name in sys.modules if name.startswith(("tensorboard.", "wandb."))]
"""
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(path.suffix for path in (tmp_path / "run").iterdir()) == [".jsonl", ".pt", ".pt"]


def test_a_damaged_wandb_file_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", types.ModuleType("wandb"))
    (tmp_path / "wandb.json").write_text("{}")
    with pytest.raises(InputError, match="delete it"):
        WeightsAndBiases(tmp_path, LABELS, {})


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """wandb without a network, an account or anything of the user's; the module itself."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return pytest.importorskip("wandb", reason='wandb is not installed; pip install "edgedigit[wandb]" brings it')


def wandb_records(path):
    """Bytes of each record of a .wandb file: a header, then LevelDB's log format, whose blocks hold whole parts."""
    content, at, record = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # too little for a header: the block's end is padding
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def wandb_history(run_dir):
    """What was logged offline, one dictionary of figures each time, and the ids of the runs."""
    from wandb.proto import wandb_internal_pb2

    rows, ids = [], set()
    for path in sorted(run_dir.glob("wandb/offline-run-*/*.wandb")):
        for content in wandb_records(path):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            if record.HasField("run"):
                ids.add(record.run.run_id)
            if record.HasField("history"):
                items = record.history.item
                rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows, ids


@pytest.mark.slow
def test_weights_and_biases_follows_offline_and_goes_on_with_the_same_run(tmp_path, offline):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    observer = WeightsAndBiases(run_dir, LABELS, {"seed": 0})
    with pytest.raises(Cut):
        make_trainer(run_dir, validation=held(), observers=[observer], progress=cut_at(10)).run()  # in the third epoch
    observer.close()
    observer = WeightsAndBiases(run_dir, LABELS, {"seed": 0})
    trainer = make_trainer(run_dir, validation=held(), observers=[observer])
    assert trainer.resume()
    trainer.run()
    observer.close()
    offline.teardown()  # returns when the file is written
    rows, ids = wandb_history(run_dir)
    assert len(ids) == 1 and len(list(run_dir.glob("wandb/offline-run-*"))) == 2
    assert [row["tiny/epoch"] for row in rows] == [1, 2, 3]
    assert [row["_step"] for row in rows] == [0, 1, 2]
    records = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert [row["tiny/loss"] for row in rows] == [record["loss"] for record in records]
    assert {"tiny/validation/confusion", "tiny/validation/clips"} <= {key.split(".")[0] for key in rows[0]}
