"""Folders of exported files: INT8 that differs too much is left out, and they are exported again without their run."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from run_folder import SETTINGS, tones_of_digits

import export_models
import infer
import prune_and_quantize
import train_distill
from edgedigit.cli import run_main
from edgedigit.export import facts, parity
from edgedigit.runtime import Recognizer, VadOptions

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")

FILES = {"model.onnx", "model.manifest.json", "model_ts.pt", "model_ts.manifest.json", "student.pt"}
FILES |= {"student.manifest.json", "calibration_clips.json", "export_results.json"}
INT8_FILES = {"model_int8.onnx", "model_int8.manifest.json"}
COMPRESS = ("--set", "compress={pruning_steps: 1, final_epochs: 1, calibration_clips: 20, target_sparsity: 0.1}")
LOOSE = ("--set", "gates={min_validation_accuracy: 0, max_int8_loss: 1, min_agreement_int8: 0, max_latency_ms: 1e6}")


def run(script, *argv):
    return run_main(script.main, [str(word) for word in argv])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run folder of a pruned student, flags that name it and its recordings)."""
    folder = tmp_path_factory.mktemp("tones")
    data_dir, run_dir = tones_of_digits(folder / "data"), folder / "run"
    common = ("--run-dir", run_dir, "--data-dir", data_dir, "--quiet")
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    assert run(train_distill, *common, *settings, *LOOSE) == 0
    assert run(prune_and_quantize, *common, *COMPRESS) == 0
    return run_dir, common


def decides_otherwise(monkeypatch, same_decision):
    """INT8 agrees with the trained model on so many clips; it is the second file that is compared."""
    compare, shares = parity.compare, iter((1.0, same_decision, 1.0))
    monkeypatch.setattr(parity, "compare", lambda *pair: {**compare(*pair), "same_decision": next(shares)})


@pytest.mark.slow
def test_files_without_int8_are_whole_and_the_exit_code_says_that_a_gate_failed(trained, tmp_path, monkeypatch, capsys):
    run_dir, common = trained
    out = tmp_path / "out"
    assert run(export_models, *common, *LOOSE, "--output-dir", out) == 0
    assert {path.name for path in out.iterdir()} == FILES | INT8_FILES

    decides_otherwise(monkeypatch, 0.5)
    capsys.readouterr()
    strict = (*LOOSE, "--set", "gates.min_agreement_int8=0.9")
    assert run(export_models, *common, *strict, "--output-dir", out, "--benchmark") == 1
    said = capsys.readouterr()
    (line,) = said.err.strip().splitlines()
    assert line.startswith("error: model_int8.onnx decides as the trained model on 50.00 % of")
    assert f"{out} holds model.onnx (default) and model_ts.pt without it" in line
    assert f"prune_and_quantize.py --run-dir {run_dir} --resume --set compress.qat_epochs=8" in line
    assert "model_int8.onnx" in said.out  # the table shows how far it is off
    results = json.loads(said.out.splitlines()[-1])
    assert results["default"] == "model.onnx" and list(results["left_out"]) == ["model_int8.onnx"]
    assert [entry["file"] for entry in results["files"]] == ["model.onnx", "model_ts.pt"]
    assert not {key for key in results if key.startswith("int8")}
    assert {path.name for path in out.iterdir()} == FILES  # the older INT8 was of another export
    assert json.loads((out / "export_results.json").read_text())["default"] == "model.onnx"

    recognizer = Recognizer(out / "model.onnx")  # verifies the manifest
    assert recognizer.probabilities(np.zeros((1, 8000), np.float32)).sum() == pytest.approx(1, abs=1e-4)
    clip = next(run_dir.parent.glob("data/fsdd/recordings/*.wav"))
    assert run(infer, "--model", out / "model.onnx", clip) == 0


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pruned", "int8"])
def test_a_file_of_pruning_that_is_gone_costs_one_line_that_says_how_it_returns(trained, tmp_path, capsys, stage):
    run_dir, common = trained
    path = run_dir / f"final-{stage}.onnx"
    path.rename(tmp_path / "kept.onnx")
    try:
        assert run(export_models, *common, *LOOSE, "--output-dir", tmp_path / "out") == 2
    finally:
        (tmp_path / "kept.onnx").rename(path)
    again = f"run prune_and_quantize.py --run-dir {run_dir} --resume"
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {path} is missing; {again}"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_int8_that_loses_accuracy_ends_pruning_with_1_and_is_left_out_too(trained, tmp_path, monkeypatch, capsys):
    run_dir = tmp_path / "run"
    shutil.copytree(trained[0], run_dir)
    common = ("--run-dir", run_dir, *trained[1][2:])
    monkeypatch.setattr(prune_and_quantize, "validation_loss", lambda stages, track: (3, 9))
    assert run(prune_and_quantize, *common, *COMPRESS, "--resume", "--set", "gates.max_int8_loss=0.003") == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "INT8 loses 33.33 points on validation, 0.30 are allowed (3 of 9 clips, 1 may be lost)" in line
    assert "export_models.py writes fp32 and TorchScript without it; to have INT8 too, run" in line
    assert run(export_models, *common, *LOOSE, "--output-dir", tmp_path / "out") == 1
    assert "error: model_int8.onnx loses 33.33 points" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


@pytest.mark.slow
def test_another_file_that_breaks_a_limit_still_stops_everything(trained, tmp_path, monkeypatch, capsys):
    decides_otherwise(monkeypatch, 0.5)
    held = tmp_path / "out" / "model.onnx"
    held.parent.mkdir()
    held.write_text("of another run")
    argv = (*LOOSE, "--set", "gates.min_agreement_int8=0.9", "--set", "gates.max_n_params=10")
    assert run(export_models, *trained[1], *argv, "--output-dir", held.parent) == 1
    assert "keeps what it held" in capsys.readouterr().err
    assert list(held.parent.iterdir()) == [held] and held.read_text() == "of another run"


@pytest.mark.parametrize("n, n_lost, passes", [(40, 1, True), (40, 2, False), (1000, 3, True), (1000, 4, False)])
def test_one_clip_of_few_does_not_decide_over_accuracy(n, n_lost, passes):
    def row(stage, right):
        return {"track": "final", "stage": stage, "accuracy": [{"group": "validation", "n": n, "n_correct": right}]}

    found = prune_and_quantize.validation_loss([row("pruned", n - 2), row("int8", n - 2 - n_lost)], "final")
    assert found == (n_lost, n)
    assert (n_lost <= parity.allowed_clips(0.003, n)) == passes


@pytest.mark.slow
def test_a_folder_is_exported_again_without_its_run_with_the_thresholds_of_this_version(
    trained, tmp_path, monkeypatch, capsys
):
    _, common = trained
    first, again = tmp_path / "first", tmp_path / "again"
    assert run(export_models, *common, *LOOSE, "--output-dir", first) == 0
    monkeypatch.setattr(facts, "VadOptions", lambda: replace(VadOptions(), hangover_ms=130))
    flags = (*common[2:], *LOOSE, "--again-from", first, "--output-dir", again)  # no --run-dir
    assert run(export_models, *flags) == 0
    assert {path.name for path in again.iterdir()} == FILES | INT8_FILES
    clip = np.sin(np.arange(8000, dtype=np.float32))
    for name in ("model.onnx", "model_int8.onnx"):
        before, after = Recognizer(first / name), Recognizer(again / name)
        assert np.array_equal(before.probabilities(clip[None]), after.probabilities(clip[None]))
        assert after.info.thresholds["vad"] == {**before.info.thresholds["vad"], "hangover_ms": 130}
        assert after.reject_below == before.reject_below
    stored = [json.loads((folder / "student.manifest.json").read_text()) for folder in (first, again)]
    assert stored[0]["calibration"] == stored[1]["calibration"] and stored[0]["config"] == stored[1]["config"]

    capsys.readouterr()
    damaged = first / "model_int8.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert run(export_models, *flags) == 2
    assert "differs from its manifest" in capsys.readouterr().err
    damaged.unlink()
    assert run(export_models, *flags) == 2
    assert "model_int8.onnx is missing; --again-from takes a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_is_exported_again_only_with_the_recordings_that_trained_it(trained, tmp_path, capsys):
    _, common = trained
    first, fewer = tmp_path / "first", tmp_path / "data"
    assert run(export_models, *common, *LOOSE, "--output-dir", first) == 0
    shutil.copytree(common[3], fewer)
    for path in fewer.rglob("9_*_6.wav"):  # of one of the speakers who trained, too
        path.unlink()
    capsys.readouterr()
    flags = ("--data-dir", fewer, "--quiet", *LOOSE, "--again-from", first, "--output-dir", tmp_path / "again")
    assert run(export_models, *flags) == 2
    assert "was trained on" in capsys.readouterr().err
