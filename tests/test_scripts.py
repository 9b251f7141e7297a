"""The three training scripts from the outside: flags, exit codes, one line for what is wrong, and a run cut short."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgedigit.cli import run_main
from edgedigit.interrupt import leave_on_interrupt

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("train_distill", "prune_and_quantize", "export_models")
every_script = pytest.mark.parametrize("name", SCRIPTS)


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name, *argv):
    """Exit code of a script that runs in this process."""
    try:
        return run_main(script(name).main, [str(word) for word in argv])
    except SystemExit as error:  # argparse
        return error.code


def one_line(capsys):
    """The only line on stderr."""
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty data directory, an empty cache, no network; working in an empty folder."""

    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no network in tests")

    (tmp_path / "data").mkdir()
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("EDGEDIGIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def with_tones(alone):
    """Recordings in FSDD's layout: every digit a tone, three speakers, one clip to test."""
    folder = alone / "data" / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    time_s = np.arange(2400) / 8000
    for digit in range(10):
        for pitch, speaker in enumerate(("ann", "bob", "cid")):
            for index in (0, 5, 6):
                wave = 0.3 * np.sin(2 * np.pi * (300 + 200 * digit + 20 * pitch) * time_s)
                soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", wave, 8000)
    return alone


INTERRUPT = "import os, signal, time\n{}os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\n"


def interrupted_in(module, source, tmp_path, *command):
    """Run a script that gets Ctrl-C while it imports a module: exit code and stderr."""
    (tmp_path / f"{module}.py").write_text(source)
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", [*SCRIPTS, "infer"])
def test_an_interrupt_while_a_script_imports_is_quiet(name, tmp_path):
    assert interrupted_in("argparse", INTERRUPT.format(""), tmp_path, f"{name}.py", "--help") == (130, "")


@pytest.mark.parametrize("package", ["numpy", "onnxruntime", "webrtcvad"])
def test_an_interrupt_that_a_package_makes_an_import_error_of_is_quiet(package, tmp_path):
    source = INTERRUPT.format("try: ") + "except KeyboardInterrupt: raise ImportError('no datetime') from None\n"
    assert interrupted_in(package, source, tmp_path, "infer.py", "x.wav") == (130, "")


def test_once_a_script_runs_an_interrupt_raises_again_and_one_that_is_ignored_stays_so():
    def handler(_argv=None):
        return signal.getsignal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        leave_on_interrupt()
        assert handler() is not signal.default_int_handler
        assert run_main(handler) is signal.default_int_handler
        with ThreadPoolExecutor() as pool:
            pool.submit(leave_on_interrupt).result()
        assert handler() is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        leave_on_interrupt()
        assert run_main(handler) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@every_script
def test_help_needs_neither_torch_nor_time(name):
    """Torch and everything else that is slow to import is made unimportable."""
    slow = ("torch", "scipy", "onnx", "onnxruntime", "matplotlib", "yaml")
    block = f"import sys, runpy; sys.modules.update(dict.fromkeys({slow!r})); sys.argv = [{name + '.py'!r}, '--help']; "
    command = [sys.executable, "-c", block + f"runpy.run_path({name + '.py'!r}, run_name='__main__')"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"python {name}.py" in done.stdout
    assert "--run-dir" in done.stdout


@pytest.mark.parametrize(
    "name, flag, value, key",
    [
        ("train_distill", "data-dir", "d", "data_dir"),
        ("train_distill", "run-dir", "r", "run_dir"),
        ("train_distill", "batch-size", "8", "batch_size"),
        ("prune_and_quantize", "target-sparsity", "0.3", "target_sparsity"),
        ("prune_and_quantize", "pruning-steps", "3", "pruning_steps"),
        ("prune_and_quantize", "run-dir", "r", "run_dir"),
        ("prune_and_quantize", "data-dir", "d", "data_dir"),
        ("export_models", "output-dir", "o", "output_dir"),
        ("export_models", "run-dir", "r", "run_dir"),
        ("export_models", "data-dir", "d", "data_dir"),
    ],
)
def test_flags_in_either_spelling(name, flag, value, key):
    parse_args = script(name).parse_args
    spelled = [[f"--{flag}", value], [f"--{flag.replace('-', '_')}", value], [f"--{flag.replace('-', '_')}={value}"]]
    values = {getattr(parse_args(argv), key) for argv in spelled}
    assert len(values) == 1
    assert str(values.pop()) == value


@every_script
def test_an_unknown_flag_costs_one_line(name, capsys):
    assert call(name, "--no-such-flag", "3") == 2
    assert "--no-such-flag" in one_line(capsys)


def test_flags_become_settings():
    train = script("train_distill")
    argv = ["--epochs=3", "--batch_size=16", "--temperature=2", "--alpha=0.5", "--seed=9", "--set=fit_student.epochs=4"]
    from edgedigit.config import load_config

    config = load_config(None, train.overrides(train.parse_args(argv)))
    assert (config.fit_teacher.epochs, config.fit_student.epochs) == (3, 4)  # --set comes last
    assert config.fit_teacher.batch_size == config.fit_student.batch_size == 16
    assert (config.distill.temperature, config.distill.alpha, config.seed) == (2.0, 0.5, 9)
    words = ("да", "नहीं", "\N{THUMBS UP SIGN}")
    assert load_config(None, train.overrides(train.parse_args(["--labels", *words]))).data.labels == words


def test_models_are_named_with_their_options():
    train = script("train_distill")
    from edgedigit.config import load_config

    def config(*argv):
        return load_config(None, train.overrides(train.parse_args(argv)))

    given = config(
        "--teachers", "resnet_se:frontend.kind=mfcc", "resnet_se:widths=[8,8,8,8]", "--student", "ds_cnn:width=16"
    )
    assert [teacher.kwargs for teacher in given.teachers] == [{"frontend": {"kind": "mfcc"}}, {"widths": [8, 8, 8, 8]}]
    assert [teacher.label for teacher in given.teachers] == ["resnet_se-frontend.kindmfcc", "resnet_se-widths-8-8-8-8"]
    assert (given.student.name, given.student.kwargs) == ("ds_cnn", {"width": 16})
    alone = config("--model", "bc_resnet:tau=3")
    assert (alone.student.label, alone.teachers) == ("bc_resnet-tau3", ())
    assert config("--teachers").teachers == ()


def test_no_name_is_no_model(alone, capsys):
    assert call("train_distill", "--model", "") == 2  # an empty variable of a shell, not the default recipe
    assert "student is None" in one_line(capsys)


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--teachers", "resnet_se", "resnet_se"], "give each its own label"),
        (["--teachers", "resnet_se:width"], "option 'width' has no value"),
        (["--student", "resnet_se:wdths=[8]"], "wdths"),
        (["--model", "kwt", "--teachers", "resnet_se"], "--model trains one alone"),
        (["--set", "fit_studnt.epochs=3"], "did you mean 'fit_student'"),
        (["--set", "student.name=studnt_dscnn"], "did you mean 'student_dscnn'"),
        (["--set", "data.split=somehow"], "split 'somehow' is unknown"),
        (["--set", "data.sources=[fsdd, nowhere]"], "source 'nowhere' is unknown"),
        (["--set", "student.kwargs={wdth: 3}"], "wdth"),
        (["--model", "cnn_mini:width=0"], "model cnn_mini cannot compute a clip"),
        (
            ["--set", "student.name=resnet_se"],
            "give each its own label",
        ),  # would share its checkpoints with the teacher
        (["--set", "student_precision=fp16"], "fp16 is for device cuda, got device cpu"),
        (["--teachers-from", "nowhere"], "nowhere/selection-resnet_se.best.pt is missing"),
        (["--epochs", "0"], "epochs is 0, expected 1 or more"),
        (["--temperature", "0"], "temperature is 0.0, expected more than 0"),
        (["--config", "missing.yaml"], "missing.yaml cannot be read"),
    ],
)
def test_a_wrong_setting_ends_with_2_and_one_line(with_tones, capsys, argv, words):
    assert call("train_distill", "--quiet", *argv) == 2
    assert words in one_line(capsys)
    assert not (with_tones / "runs").exists()  # nothing was begun, so nothing needs --resume


def test_recordings_that_are_nowhere_are_told_where_to_go(alone, capsys):
    assert call("train_distill", "--quiet") == 2
    line = one_line(capsys)
    assert "fsdd" in line
    assert "unpack https://" in line
    assert not (alone / "runs").exists()


def test_a_data_directory_that_does_not_exist_is_named(alone, capsys):
    assert call("train_distill", "--quiet", "--data-dir", alone / "none") == 2
    assert "none (--data-dir) does not exist" in one_line(capsys)


@pytest.mark.parametrize("name", ["prune_and_quantize", "export_models"])
def test_a_run_that_was_never_trained_names_the_script_to_run(alone, capsys, name):
    assert call(name, "--run-dir", alone / "runs" / "none") == 2
    assert "run train_distill.py first" in one_line(capsys)


def existing_run(folder, **changes):
    from edgedigit.config import Config, to_dict

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**to_dict(Config()), **changes}))
    return folder


def test_an_existing_run_is_not_overwritten(with_tones, capsys):
    run_dir = existing_run(with_tones / "run")
    assert call("train_distill", "--quiet", "--run-dir", run_dir) == 2
    assert "already holds a run; continue it with --resume" in one_line(capsys)
    assert [path.name for path in run_dir.iterdir()] == ["config.json"]


def test_resuming_with_other_settings_is_refused(with_tones, capsys):
    run_dir = existing_run(with_tones / "run")
    assert call("train_distill", "--quiet", "--run-dir", run_dir, "--resume", "--epochs", "3") == 2
    assert "was started with other settings" in one_line(capsys)


@pytest.mark.parametrize(
    "name, setting", [("prune_and_quantize", "data.split=all"), ("export_models", "compress.target_sparsity=0.1")]
)
def test_what_training_fixed_cannot_change_later(with_tones, capsys, name, setting):
    run_dir = existing_run(with_tones / "run")
    assert call(name, "--run-dir", run_dir, "--set", setting) == 2
    assert "was fixed when the run was trained" in one_line(capsys)


@pytest.mark.parametrize("name", ["prune_and_quantize", "export_models"])
def test_what_goes_on_with_a_run_is_not_for_several_processes(monkeypatch, capsys, name):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run_main(script(name).main, ["--run-dir", "runs/any"]) == 2
    assert capsys.readouterr().err.startswith("error: torchrun is for train_distill.py")


def test_pruning_before_training_has_finished_says_so(with_tones, capsys):
    run_dir = existing_run(with_tones / "run")
    assert call("prune_and_quantize", "--quiet", "--run-dir", run_dir) == 2
    assert "run train_distill.py" in one_line(capsys)


def test_exporting_before_pruning_says_so(with_tones, capsys):
    run_dir = existing_run(with_tones / "run")
    assert call("export_models", "--run-dir", run_dir) == 2
    assert "run prune_and_quantize.py" in one_line(capsys)


@pytest.mark.parametrize("name", ["prune_and_quantize", "export_models"])
def test_what_goes_on_with_a_run_needs_the_recordings_that_it_was_trained_on(with_tones, capsys, name):
    """They measure on recordings that are held out, which another folder may deal otherwise."""
    from edgedigit.config import CompressConfig, to_dict
    from edgedigit.train.checkpoints import save_checkpoint

    run_dir = existing_run(with_tones / "run")
    compressed = {"compress": to_dict(CompressConfig()), "calibration": {}, "default": "fp32", "int8_passed": True}
    (run_dir / "compressed.json").write_text(json.dumps(compressed))
    for track in ("selection", "final"):
        save_checkpoint(run_dir / f"{track}-student_dscnn.best.pt", {"recordings": "others"})
    assert call(name, "--quiet", "--run-dir", run_dir) == 2
    line = one_line(capsys)
    assert "trained on other recordings" in line and "--data-dir" in line


SMALL = """
data: {sources: [fsdd], validation_fraction: 0.2, refit: false, noises: ""}
augment: {room_probability: 0.0}
student: {name: student_dscnn, kwargs: {widths: [16, 24], depths: [1, 1], kernels: [5, 5]}}
teachers: [{name: ds_cnn, kwargs: {width: 16, depth: 1}}]
fit_teacher: {epochs: 2, lr: 3.0e-3, samples_per_epoch: 320, ema_decay: 0.9}
fit_student: {epochs: 6, lr: 1.0e-2, samples_per_epoch: 320, ema_decay: 0.9}
compress: {pruning_steps: 1, final_epochs: 1, calibration_clips: 60}
gates: {min_validation_accuracy: 0.0, max_int8_loss: 1.0, min_agreement_int8: 0.0}
threads: 1
"""


def read_log(run_dir):
    return [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_killed_in_the_middle_is_resumed_pruned_and_exported(data_dir, tmp_path, capsys):
    """On real recordings, from an interrupted training to a file that the runtime reads."""
    from edgedigit.runtime import Recognizer

    config, run_dir = tmp_path / "small.yaml", tmp_path / "run"
    config.write_text(SMALL)
    train = ["--config", config, "--run-dir", run_dir, "--data-dir", data_dir, "--quiet"]
    with subprocess.Popen([sys.executable, ROOT / "train_distill.py", *train], stdout=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 300
        while not any("student" in json.dumps(record) for record in (read_log(run_dir) if log(run_dir) else [])):
            assert running.poll() is None, "training ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(running.pid, signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    before = read_log(run_dir)

    def said(name, *argv):
        code = call(name, *argv)
        output = capsys.readouterr()
        assert code == 0, output.err
        return output.out

    output = said("train_distill", *train, "--resume")
    assert "resumed after epoch" in output
    records = read_log(run_dir)
    assert records[: len(before)] == before
    for phase, epochs in (("final-ds_cnn", 2), ("final-student_dscnn", 6)):
        assert [record["epoch"] for record in records if record["phase"] == phase] == list(range(1, epochs + 1))
    rows = json.loads(output.splitlines()[-1])["accuracy"]
    assert {row["group"].split(",")[0] for row in rows} == {"validation", "test"}
    assert (run_dir / "curves.png").stat().st_size > 0

    common = ["--run-dir", run_dir, "--data-dir", data_dir]
    output = said("prune_and_quantize", *common, "--target_sparsity", "0.3", "--quiet")
    stages = json.loads(output.splitlines()[-1])["stages"]
    sizes = {stage["stage"]: stage["n_params"] for stage in stages}
    assert sizes["pruned"] == sizes["int8"] <= round(0.7 * sizes["student"])

    output = said("export_models", *common, "--output_dir", tmp_path / "out")
    results = json.loads(output.splitlines()[-1])
    assert {entry["file"] for entry in results["files"]} == {"model.onnx", "model_int8.onnx", "model_ts.pt"}
    for file in ("model.onnx", "model_int8.onnx"):
        probabilities = Recognizer(tmp_path / "out" / file).probabilities(np.zeros((1, 8000), np.float32))
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-4)


def log(run_dir):
    path = run_dir / "log.jsonl"
    return path.exists() and path.read_text().endswith("\n")
