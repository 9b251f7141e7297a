"""EMG through the four scripts: the same commands, another signal, and artifacts that say what they take."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import export_models
import infer
import prune_and_quantize
import train_distill
from edgedigit import evaluate
from edgedigit.cli import run_main
from edgedigit.config import load_config
from edgedigit.data import emg_simulated
from edgedigit.data.emg_simulated import render
from edgedigit.errors import EmgError, ModelError
from edgedigit.manifest import read_manifest
from edgedigit.runtime import Recognizer, StreamingRecognizer
from edgedigit.spec import Signal
from edgedigit.train.pipeline import load_material, make_model

pytestmark = pytest.mark.slow  # four scripts, really trained

ROOT = Path(__file__).resolve().parents[1]
SIGNAL = Signal("emg", 1000, 512, 4)
LABELS = ["UP", "DOWN", "REST"]
TINY = """
data:
  sources: ["emg_simulated:36"]
  signal: {kind: emg, sample_rate: 1000, n_samples: 512, n_channels: 4}
  labels: [UP, DOWN, REST]
  split: "kfold:3:0"
  fold_by: recording
  validation_fraction: 0.3
  refit: false
teachers:
  - {name: st_transformer_emg, kwargs: {n_features: 16, width: 16, depth: 1, n_heads: 2}}
student:
  name: student_dscnn
  kwargs: {frontend: {win_length: 64, hop_length: 32, n_fft: 64}, widths: [12, 16], depths: [1, 1], kernels: [5, 5]}
fit_teacher: {epochs: 2, lr: 3.0e-3, batch_size: 8, ema_decay: 0.7}
fit_student: {epochs: 24, lr: 1.0e-2, batch_size: 8, ema_decay: 0.7}
compress: {pruning_steps: 1, final_epochs: 3, calibration_clips: 30, target_sparsity: 0.2}
gates: {min_validation_accuracy: 0.5, max_int8_loss: 1.0, min_agreement_int8: 0.0}
threads: 1
"""


def run(script, *argv):
    return run_main(script.main, [str(word) for word in argv])


@pytest.fixture(scope="module", autouse=True)
def simulated_once():
    """Each script simulates the same trials, which is most of its time."""
    kept, simulate = {}, emg_simulated.render

    def render_once(words, n_per_word, signal, settings=None, seed=0, progress=False):
        asked = (*words, n_per_word, signal, settings, seed)
        if asked not in kept:
            kept[asked] = simulate(words, n_per_word, signal, settings, seed)
        return list(kept[asked])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(emg_simulated, "render", render_once)
        yield


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    """(exit codes of the three training scripts, run folder, folder of the exported files)."""
    folder = tmp_path_factory.mktemp("emg")
    (folder / "tiny.yaml").write_text(TINY)
    run_dir, output_dir = folder / "run", folder / "out"
    codes = [
        run(train_distill, "--config", folder / "tiny.yaml", "--run-dir", run_dir, "--quiet"),
        run(prune_and_quantize, "--run-dir", run_dir, "--quiet"),
        run(export_models, "--run-dir", run_dir, "--output_dir", output_dir, "--quiet"),
    ]
    return codes, run_dir, output_dir


@pytest.fixture(scope="module")
def trials():
    return render(LABELS, 6, SIGNAL)


def test_every_script_succeeds_and_the_student_has_learnt(product):
    codes, run_dir, _ = product
    assert codes == [0, 0, 0]
    rows = json.loads((run_dir / "student.json").read_text())["accuracy"]
    large = {row["group"]: row["accuracy"] for row in rows if row["n"] > 20}
    assert large and min(large.values()) > 0.5, large  # chance is a third


def test_every_figure_says_that_it_is_simulated(product):
    _, run_dir, output_dir = product
    summary = json.loads((run_dir / "student.json").read_text())
    assert summary["teachers"]
    groups = [row["group"] for row in summary["accuracy"] + summary["teachers"]]
    assert all("simulated" in group for group in groups)
    results = json.loads((output_dir / "export_results.json").read_text())
    assert {entry["accuracy"]["group"] for entry in results["files"]} == {"test, simulated"}
    assert all(entry["parity"]["n_real"] == 0 for entry in results["files"])
    manifest = read_manifest(output_dir / "model.onnx")
    assert list(manifest["training_data"]["recordings"]) == ["emg_simulated"]


@pytest.mark.parametrize("file", ["model.onnx", "model_int8.onnx"])
def test_files_take_emg_as_it_is_and_say_so(product, trials, file):
    path = product[2] / file
    (given,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()
    assert (given.name, given.shape[1:]) == ("emg", [4, 512])
    recognizer = Recognizer(path)
    assert recognizer.info.signal == SIGNAL
    assert "signal" in read_manifest(path) and "vad" not in recognizer.info.thresholds
    windows = np.stack([trial.waveform for trial in trials])
    probabilities = recognizer.probabilities(windows)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    offset = recognizer.probabilities(windows + np.float32(1900))  # nobody has to take the resting voltage out
    np.testing.assert_allclose(offset, probabilities, atol=1e-2 if file == "model.onnx" else 0.3)


def test_features_stay_in_floating_point_in_the_int8_file(product):
    graph = onnx.load(product[2] / "model_int8.onnx").graph
    logs = [i for i, node in enumerate(graph.node) if node.op_type == "Log"]
    quantised = [i for i, node in enumerate(graph.node) if node.op_type == "QuantizeLinear"]
    assert len(logs) == 2 and quantised and max(logs) < min(quantised)


def test_files_and_arrays_are_recognised_alike(product, trials, tmp_path, capsys):
    model = product[2] / "model.onnx"
    samples = trials[0].waveform.T
    np.save(tmp_path / "a.npy", samples)
    np.savetxt(tmp_path / "b.csv", samples, delimiter=",", header="m1,m2,m3,m4", comments="")
    (tmp_path / "manifest.csv").write_text("file,label\n")  # no recording
    assert run(infer, "--model", model, tmp_path) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    expected = Recognizer(model).predict(samples)
    assert [Path(result["source"]).name for result in summary["results"]] == ["a.npy", "b.csv"]
    for result in summary["results"]:
        assert result["top"][0] == {
            "label": expected.label,
            "probability": pytest.approx(expected.probability, abs=1e-3),
        }
        assert result["end_s"] == 0.512


@pytest.mark.parametrize("argv", [["--mic"], []])
def test_microphone_and_sample_clips_are_refused_with_one_line(product, capsys, argv):
    assert run(infer, "--model", product[2] / "model.onnx", *argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "takes EMG, 4 channels at 1000 Hz, and no sound" in line


@pytest.mark.parametrize("flags", [["--string", "--checksum", "nonsense"], ["--endpointing", "webrtc"]])
def test_what_is_about_streams_of_sound_is_refused(product, refusal, flags):
    words = refusal(infer.main, ["--model", str(product[2] / "model.onnx"), "x.npy", *flags])
    assert "one word a recording; --string and --endpointing are for sound" in words


@pytest.mark.parametrize(
    "name, samples, words",
    [
        ("a.npy", np.zeros((600, 3)), "has 3 channels, model.onnx takes 4"),
        ("a.csv", np.full((600, 4), np.nan), "NaN"),
        ("a.wav", None, "expected .npy or .csv"),
    ],
)
def test_what_is_no_such_emg_costs_one_line(product, tmp_path, capsys, name, samples, words):
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, samples)
    elif samples is None:
        path.write_bytes(b"RIFF")
    else:
        np.savetxt(path, samples, delimiter=",")
    assert run(infer, "--model", product[2] / "model.onnx", path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_the_recognizer_refuses_other_shapes_rates_and_streams(product, trials):
    recognizer = Recognizer(product[2] / "model.onnx")
    with pytest.raises(EmgError, match=r"is at 250 Hz, model\.onnx takes 1000 Hz"):
        recognizer.predict(trials[0].waveform.T, sample_rate=250)
    with pytest.raises(EmgError, match=r"expected \(B, 4, 512\)"):
        recognizer.probabilities(np.zeros((1, 512), np.float32))
    with pytest.raises(EmgError, match="expected the path"):
        recognizer.predict(3.0)
    with pytest.raises(ModelError, match="streams are of audio"):
        StreamingRecognizer(recognizer)


def test_electrodes_that_are_connected_to_nothing_are_rejected(product):
    flat = np.full((512, 4), 1900.0)
    assert Recognizer(product[2] / "model.onnx").predict(flat).rejected


def test_a_signal_that_cannot_be_read_is_a_broken_model(product, tmp_path):
    model = onnx.load(product[2] / "model.onnx")
    (stored,) = [value for value in model.metadata_props if value.key == "signal"]
    stored.value = '{"kind": "eeg"}'
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(ModelError, match="its signal is malformed"):
        Recognizer(tmp_path / "broken.onnx")


def test_the_exported_model_is_evaluated_on_what_it_takes(product, capsys):
    assert run(evaluate, "--model", product[2] / "model.onnx", "--sources", "emg_simulated:6") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["rows"][0]["group"] == "all clips, simulated"
    assert {row["group"] for row in result["rows"]} >= {"label UP", "label DOWN", "label REST"}


def test_artifacts_of_audio_need_not_say_what_they_take():
    recognizer = Recognizer()
    assert "signal" not in recognizer.info.metadata
    assert recognizer.info.signal == Signal()


@pytest.mark.parametrize("name", ["emg", "emg_simulated"])
def test_shipped_configurations_build_their_models(name):
    config = load_config(ROOT / "configs" / f"{name}.yaml")
    for described in (*config.teachers, config.student):
        assert make_model(config, described).spec.signal == config.data.signal


def test_folds_of_the_published_recordings_are_by_recording_or_by_session(data_dir):
    config = load_config(ROOT / "configs" / "emg.yaml")
    material = load_material(config, data_dir, progress=False)
    assert len(material.test) == 300
    assert material.evaluations()[0][0] == "validation, same speakers"
    held = load_material(load_config(ROOT / "configs" / "emg.yaml", ["data.fold_by=session"]), data_dir, progress=False)
    assert len({r.session for r in held.test}) == 1
    assert not {r.session for r in held.test} & {r.session for r in held.tracks[0].train}


def test_a_model_of_another_signal_is_refused(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(TINY)
    argv = ["--config", tmp_path / "tiny.yaml", "--run-dir", tmp_path / "run", "--quiet"]
    assert run(train_distill, *argv, "--set", "student.kwargs.frontend={n_channels: 2}") == 2
    assert "set these in data.signal, not in frontend" in capsys.readouterr().err
