"""What the documents tell people to type works."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedigit.runtime.predictor import open_session

REPOSITORY = Path(__file__).parents[1]


def code_blocks(document, language):
    """Contents of the fenced blocks of one language."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def write_contract_model(path):
    """An ONNX file with the interface of the shipped models, which always answers "three"."""
    weights = numpy_helper.from_array(np.zeros((8000, 10), dtype=np.float32), "weights")
    bias = numpy_helper.from_array(np.log(np.where(np.arange(10) == 3, 0.91, 0.01)).astype(np.float32), "bias")
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["waveform", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "always_three",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["B", 8000])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["B", 10])],
        [weights, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    labels = '["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]'
    metadata = {"labels": labels, "sample_rate": "8000", "n_samples": "8000", "thresholds": '{"reject_below": 0.5}'}
    helper.set_model_props(model, metadata)
    path.parent.mkdir(parents=True)
    onnx.save(model, path)


@pytest.mark.parametrize("page", ["docs/training.md", "docs/emg.md"])
def test_models_that_commands_name_were_exported_there(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(runs/\S+|exported\S*)/model\w*\.onnx", text))
    written = re.findall(r"export_models\.py .*--output[-_]dir (\S+)", text)
    assert named and named <= set(written), f"{page}: no command writes to {named - set(written)}"


def test_the_python_program_for_embedding_runs_as_printed(tmp_path):
    write_contract_model(tmp_path / "artifacts" / "model.onnx")
    (program,) = code_blocks("docs/embedding.md", "python")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("('three', 0.9")


@pytest.mark.parametrize("name", ["model.onnx", "model_int8.onnx"])
def test_the_rule_of_when_to_answer_nothing_refuses_a_single_nan(name):
    page = (REPOSITORY / "docs" / "embedding.md").read_text(encoding="utf-8")
    assert "Answer only if `probability >= reject_below` and the label is not `reject_label`" in page
    session = open_session(REPOSITORY / "artifacts" / name, threads=1)
    metadata = session.get_modelmeta().custom_metadata_map
    samples = np.zeros((1, 8000), dtype=np.float32)
    samples[0, 100] = np.nan
    (probabilities,) = session.run(["probabilities"], {"waveform": samples})
    best = int(probabilities[0].argmax())
    sure = probabilities[0, best] >= json.loads(metadata["thresholds"])["reject_below"]
    assert not (sure and json.loads(metadata["labels"])[best] != metadata["reject_label"])


def test_the_readme_installs_with_one_line_for_each_of_its_two_commands():
    first, second = code_blocks("README.md", "sh")[:2]
    install = "pip install -r requirements.txt && pip install -e . --no-deps"
    assert install in first and first.rstrip().endswith("python infer.py artifacts/samples")
    assert install in second and second.rstrip().endswith("pytest")
    assert len(first.splitlines()) == len(second.splitlines()) == 1


def test_the_readme_shows_python_that_compiles():
    for program in code_blocks("README.md", "python"):
        compile(program, "README.md", "exec")
