"""A model that needs no training and keeps the contract: digit d is a tone at 200 + 100 d Hz, of any level."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SAMPLE_RATE = N_SAMPLES = 8000
LABELS = [str(digit) for digit in range(10)]
METADATA = {
    "labels": json.dumps(LABELS),
    "sample_rate": str(SAMPLE_RATE),
    "n_samples": str(N_SAMPLES),
    "version": "0.0.test",
    "thresholds": json.dumps({"reject_below": 0.5, "vad": {}}),
    "training_data": "none",
    "licence": "Apache-2.0",
    "frontend": "{}",
}


def frequency_hz(digit):
    return 200 + 100 * int(digit)


def build_tiny_model(path, input_name="waveform", batch="B", **metadata):
    """Write the model; `metadata` replaces entries, None removes one. `batch`: clips at a time; a name: any."""
    time_s = np.arange(256) / SAMPLE_RATE
    angles = 2 * np.pi * np.array([frequency_hz(digit) for digit in range(10)])[:, None] * time_s
    filters = np.concatenate([np.cos(angles), np.sin(angles)])[:, None].astype(np.float32)  # (20, 1, 256)
    pairs = np.concatenate([np.eye(10), np.eye(10)]).astype(np.float32)  # (20, 10)
    constants = {
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "filters": filters,
        "pairs": pairs,
        "tiny": np.array(1e-20, np.float32),
        "sharpness": np.array(20, np.float32),
    }
    nodes = [
        helper.make_node("Unsqueeze", [input_name, "one"], ["channel"]),
        helper.make_node("Conv", ["channel", "filters"], ["bands"], strides=[64]),
        helper.make_node("Mul", ["bands", "bands"], ["power"]),
        helper.make_node("ReduceSum", ["power", "two"], ["energy"], keepdims=0),
        helper.make_node("MatMul", ["energy", "pairs"], ["tones"]),
        helper.make_node("ReduceSum", ["tones", "one"], ["total"], keepdims=1),
        helper.make_node("Add", ["total", "tiny"], ["bounded"]),
        helper.make_node("Div", ["tones", "bounded"], ["share"]),
        helper.make_node("Mul", ["share", "sharpness"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [batch, N_SAMPLES])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, 10])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    kept = {key: value for key, value in {**METADATA, **metadata}.items() if value is not None}
    helper.set_model_props(model, kept)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def tone_word(digit, duration_s=0.4, sample_rate=SAMPLE_RATE, level=0.3):
    """A "word" that the model knows, with the rise and fall of a syllable: float32 (T,)."""
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    envelope = np.minimum(1, np.minimum(time_s, duration_s - time_s) / 0.02)
    return (level * envelope * np.sin(2 * np.pi * frequency_hz(digit) * time_s)).astype(np.float32)


def silence(duration_s, sample_rate=SAMPLE_RATE):
    return np.zeros(round(duration_s * sample_rate), np.float32)


def speak(digits, gap_s=0.3, sample_rate=SAMPLE_RATE, level=0.3, noise=1e-4, seed=0):
    """Words with gaps before, between and after, in faint noise."""
    parts = [silence(0.5, sample_rate)]
    for digit in digits:
        parts += [tone_word(digit, sample_rate=sample_rate, level=level), silence(gap_s, sample_rate)]
    waveform = np.concatenate([*parts, silence(0.3, sample_rate)])
    return waveform + np.random.default_rng(seed).normal(0, noise * level, waveform.size).astype(np.float32)
