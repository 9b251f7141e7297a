"""Processes that train together: they learn what one would, and none waits for ever for another that has died."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from forked import Forked
from run_folder import tones_of_digits
from torch import nn

from edgedigit.cli import run_main
from edgedigit.errors import ConfigError
from edgedigit.models import create_model, list_models
from edgedigit.train import distributed
from edgedigit.train.checkpoints import load_checkpoint

ROOT = Path(__file__).resolve().parents[1]


def free_port():
    """One that no other program is given while the first process starts: those are drawn from 32768 on."""
    while True:
        port = random.randrange(20000, 32768)
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port


def start(n, trainings, fate=()):
    """Processes of trainings, settings by folder, one after the other, with what torchrun would tell them."""
    for folder in trainings:
        folder.mkdir(parents=True, exist_ok=True)
    named = json.dumps({str(folder): settings for folder, settings in trainings.items()})
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(n)}
    return [Forked("shared_training", [named, *fate], shared | {"RANK": str(rank)}) for rank in range(n)]


def train(n, trainings):
    """By folder: what every process says at the end of that training."""
    running, said = start(n, trainings), []
    try:
        for process in running:
            out, err = process.communicate(timeout=300 * len(trainings))
            assert process.returncode == 0, err
            said.append([json.loads(line) for line in out.splitlines() if line.startswith("{")])
    finally:
        for process in running:
            process.kill()
    return dict(zip(trainings, zip(*said, strict=True), strict=True))


def read_log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def curve(folder, key):
    return [record[key] for record in read_log(folder)]


SGD = {"optimizer": "sgd", "schedule": "cosine"}


TRAININGS = {
    "student": (1e-5, SGD),
    "teacher": (1e-5, {**SGD, "model": "resnet_se", "kwargs": {"widths": [4, 8, 8, 8]}}),
    "channels dropped": (1e-5, {**SGD, "model": "cnn2d_mel", "kwargs": {"widths": [4, 8], "hidden": [8]}}),
    "distilled": (
        1e-5,
        {**SGD, "distilled": True, "schedule": "plateau", "loss": "focal", "class_weights": [1.0, 2.0]},
    ),
    "embeddings": (1e-5, {**SGD, "distilled": True, "copies": 1, "feature_weight": 2.0}),
    # What rounding does to the last bit is a whole step to eight bits, and AdamW makes whole steps of rounding alone.
    "quantized": (1e-2, {**SGD, "distilled": True, "quantized": True}),
    "adamw": (1e-2, {}),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder that holds each training by one process and by two, and what these said of it, by its folder."""
    folder, said = tmp_path_factory.mktemp("trainings"), {}
    for n, who in ((1, "one"), (2, "two")):
        said |= train(n, {folder / name / who: {**what, "epochs": 3} for name, (_, what) in TRAININGS.items()})
    return folder, said


@pytest.mark.slow
@pytest.mark.parametrize("name, tolerance", [(name, tolerance) for name, (tolerance, _) in TRAININGS.items()])
def test_two_processes_train_as_one_does(trained, name, tolerance):
    """Batch norm, dropout, masks, mixup and all: the same curves but for rounding, the same random numbers."""
    folder, said = trained
    one, two = folder / name / "one", folder / name / "two"
    (alone,), (first, second) = said[one], said[two]
    assert first == second  # to the bit
    if tolerance < 1e-4:  # a coarser curve may have its best epoch elsewhere
        assert first["best"] == alone["best"]
    for key in ("loss", "validation_loss"):
        assert curve(two, key) == pytest.approx(curve(one, key), rel=tolerance)
    assert curve(two, "lr") == pytest.approx(curve(one, "lr"))
    assert sorted(path.name for path in two.iterdir()) == ["log.jsonl", "tiny.best.pt", "tiny.last.pt"]
    one, two = (load_checkpoint(run / "tiny.last.pt") for run in (one, two))
    assert torch.equal(one["rng"], two["rng"])
    assert list(one["raw_state"]) == list(two["raw_state"])


@pytest.mark.slow
@pytest.mark.parametrize("fate, timeout_s", [("SIGKILL", 300), ("SIGSTOP", 10)])
def test_when_a_process_dies_or_hangs_the_others_end_and_the_run_can_go_on(tmp_path, fate, timeout_s):
    running = start(2, {tmp_path / "run": {"epochs": 3, "timeout_s": timeout_s}}, (fate, "6"))
    try:
        started = time.monotonic()
        _, err = running[0].communicate(timeout=200)
        assert time.monotonic() - started < 200
    finally:
        for process in running:
            process.kill()
    assert running[0].returncode == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: process 0 of 2 has lost another one")
    assert "Traceback" not in err
    assert [record["epoch"] for record in read_log(tmp_path / "run")] == [1]
    if fate == "SIGSTOP":  # which leaves no other files
        return
    train(2, {tmp_path / "run": {"epochs": 3}, tmp_path / "whole": {"epochs": 3}})
    resumed, whole = (load_checkpoint(tmp_path / name / "tiny.last.pt") for name in ("run", "whole"))
    assert all(torch.equal(resumed["raw_state"][key], value) for key, value in whole["raw_state"].items())
    assert curve(tmp_path / "run", "loss") == curve(tmp_path / "whole", "loss")


@pytest.mark.slow
def test_torchrun_trains_with_the_script(tmp_path):
    tones_of_digits(tmp_path)
    settings = ["teachers=[]", "augment.n_rooms=4", "fit_student.epochs=2", "gates.min_validation_accuracy=0"]
    settings += ["student.kwargs={widths: [8], depths: [1], kernels: [5]}", "fit_student.batch_size=8"]
    words = ["--quiet", "--data-dir", tmp_path, *(word for setting in settings for word in ("--set", setting))]
    ((code, out, err),) = ended(([*words, "--run-dir", tmp_path / "one"], {}))
    assert code == 0, err
    said = [out]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    command = [*torchrun, ROOT / "train_distill.py", *words, "--run-dir", tmp_path / "two"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said.append(done.stdout)
    for name, out in zip(("one", "two"), said, strict=True):
        assert len([line for line in out.splitlines() if line.startswith("{")]) == 1
        assert json.loads(out.splitlines()[-1])["run_dir"] == str(tmp_path / name)
    assert curve(tmp_path / "one", "loss") == pytest.approx(curve(tmp_path / "two", "loss"), rel=1e-2)


SCRIPT_SETTINGS = (
    "data.validation_fraction=0",
    "augment.n_rooms=4",
    "teachers=[{name: resnet_se, kwargs: {widths: [4, 8, 8, 8]}}]",
    "student.kwargs={widths: [8], depths: [1], kernels: [5]}",
    *(f"fit_{who}.{what}" for who in ("teacher", "student") for what in ("optimizer=sgd", "schedule=cosine")),
    # At ten times this rate what rounding did grew a hundredfold in each of two steps, on a processor without AVX-512.
    *(f"fit_{who}.{what}" for who in ("teacher", "student") for what in ("epochs=2", "lr=0.001", "batch_size=8")),
    "fit_student.checkpoint_epochs=1",
    "precision=fp32",
    "gates.min_validation_accuracy=0",
)
STUDENT = "final-student_dscnn"


def words_of(data_dir, run_dir, *more):
    command = ["--quiet", "--data-dir", data_dir, "--run-dir", run_dir]
    return [*command, *(word for setting in SCRIPT_SETTINGS for word in ("--set", setting)), *more]


def ended(*runs):
    """(exit code, stdout, stderr) of train_distill.py with each run's (words, variables), all at once."""
    running = [Forked("train_distill", words, variables) for words, variables in runs]
    try:
        said = [process.communicate(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, out, err) for process, (out, err) in zip(running, said, strict=True)]


def on_machines(*words):
    """What machines end with, each running the script as torchrun would start it there."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(len(words))}
    return ended(*((argv, shared | {"RANK": str(rank), "LOCAL_RANK": "0"}) for rank, argv in enumerate(words)))


def error_lines(err):
    return [line for line in err.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
def test_machines_that_share_no_disk_train_and_resume_as_one_process_does(tmp_path):
    data = tones_of_digits(tmp_path / "data")
    one, first, second = (tmp_path / name for name in ("one", "first", "second"))
    ((code, _, err),) = ended((words_of(data, one), {}))
    assert code == 0, err

    def train_together(*more):
        for code, _, err in on_machines(words_of(data, first, *more), words_of(data, second, *more)):
            assert code == 0, err
        assert not second.exists()
        return load_checkpoint(first / f"{STUDENT}.best.pt")["state"]

    trained = train_together()
    for name, value in load_checkpoint(one / f"{STUDENT}.best.pt")["state"].items():
        torch.testing.assert_close(trained[name], value, rtol=1e-4, atol=1e-5)
    assert curve(first, "loss") == pytest.approx(curve(one, "loss"), rel=1e-5)
    (first / f"{STUDENT}.epoch1.pt").replace(first / f"{STUDENT}.last.pt")  # as if it had been killed then
    (first / f"{STUDENT}.best.pt").unlink()
    resumed = train_together("--resume")
    assert all(torch.equal(resumed[name], value) for name, value in trained.items())
    assert [record["epoch"] for record in read_log(first)] == [1, 2, 1, 2, 2]


@pytest.mark.slow
def test_what_stops_the_first_machine_stops_the_other_with_one_line_each(tmp_path):
    data = tones_of_digits(tmp_path / "data")
    first, second = tmp_path / "first", tmp_path / "second"
    started = time.monotonic()
    first.mkdir()
    (first / "config.json").write_text("{}")
    ends = on_machines(words_of(data, first), words_of(data, second))
    assert [code for code, _, _ in ends] == [2, 2]
    assert [error_lines(err) for _, _, err in ends] == [
        [f"error: {first} already holds a run; continue it with --resume or choose another --run-dir"],
        [
            f"error: the first process cannot go on: {first} already holds a run; continue it with --resume or choose "
            "another --run-dir"
        ],
    ]

    (first / "config.json").unlink()
    (first / "final-resnet_se.last.pt").write_text("damaged")
    ends = on_machines(words_of(data, first, "--resume"), words_of(data, second, "--resume"))
    for (_, _, err), begins in zip(ends, ("checkpoint ", "the first process cannot go on: checkpoint "), strict=True):
        (line,) = error_lines(err)
        assert line.startswith(f"error: {begins}{first / 'final-resnet_se.last.pt'} cannot be read")
        assert "KeyError" not in err

    fewer = tones_of_digits(tmp_path / "fewer")
    next((fewer / "fsdd" / "recordings").glob("*_ann_5.wav")).unlink()
    ends = on_machines(words_of(data, first), words_of(fewer, second, "--set", "fit_student.lr=0.02"))
    for _, _, err in ends:
        assert error_lines(err)[0].startswith("error: settings, recordings differ between the processes")
    assert time.monotonic() - started < 300  # none waited for another


def test_one_process_needs_nothing_of_this(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with distributed.joined("cuda"):
        assert (distributed.n_processes(), distributed.rank()) == (1, 0)
        assert distributed.parallel(network) is network
        assert type(network[1]) is nn.BatchNorm1d
        assert distributed.share_of(7) == slice(0, 7)
        assert distributed.from_first(lambda: 3) == 3
        distributed.check_alike({"settings": object()})


@pytest.fixture
def as_second_of_two(monkeypatch):
    monkeypatch.setattr(distributed, "n_processes", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)


def test_a_process_computes_on_its_rows(as_second_of_two):
    assert distributed.share_of(8) == slice(4, 8)
    with pytest.raises(ConfigError, match="batch of 7 clips cannot be shared evenly by 2 processes"):
        distributed.share_of(7)


@pytest.mark.parametrize("kind, shape", [(nn.Dropout, (5,)), (nn.Dropout1d, (5, 3)), (nn.Dropout2d, (5, 3, 2))])
def test_dropout_draws_for_all_rows_and_drops_from_its_own(as_second_of_two, kind, shape):
    layer = kind(0.5)
    torch.manual_seed(0)
    expected = layer(torch.ones(8, *shape))[4:]
    state = torch.get_rng_state()
    layer.__class__ = distributed.GLOBAL_DROPOUTS[kind]
    torch.manual_seed(0)
    assert torch.equal(layer(torch.ones(4, *shape)), expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(layer.eval()(torch.ones(4, *shape)), torch.ones(4, *shape))


@pytest.mark.parametrize("name", list_models())
def test_no_model_draws_random_numbers_that_processes_do_not_share(name):
    for module in create_model(name).modules():
        assert not isinstance(module, nn.modules.dropout._DropoutNd) or type(module) in distributed.GLOBAL_DROPOUTS


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5), (6, 3, 5, 4)])
def test_batch_norm_of_all_rows_is_batch_norm(monkeypatch, shape):
    """With one process the sum is its own: output, gradient and statistics are torch's."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x: None)
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    layers = [kinds[len(shape)](3), kinds[len(shape)](3)]
    layers[1].__class__ = distributed.GlobalBatchNorm
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 40
    results = []
    for layer in layers:
        given = x.clone().requires_grad_(True)
        out = layer(given)
        (out**3).sum().backward()
        results.append([out, given.grad, layer.weight.grad, layer.running_mean, layer.running_var, layer.eval()(x)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_several_processes_train_on_the_cpu_only(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")

    def main(argv):
        with distributed.joined("cuda"):
            raise AssertionError

    assert run_main(main) == 2
    assert "several processes train on the CPU only, got device cuda" in capsys.readouterr().err


def test_others_that_cannot_be_reached_cost_one_line(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")

    def unreachable(*_, **__):
        raise torch.distributed.DistNetworkError("gloo: connection refused\nby 127.0.0.1")

    monkeypatch.setattr(torch.distributed, "init_process_group", unreachable)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert run_main(lambda argv: distributed.joined().__enter__()) == 2
    finally:
        signal.signal(signal.SIGTERM, handler)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: process 1 of 2 cannot reach the others") and "GLOO_SOCKET_IFNAME" in line


def test_what_is_not_a_lost_connection_keeps_its_traceback():
    assert not distributed._is_lost_connection(RuntimeError("shape mismatch"))
