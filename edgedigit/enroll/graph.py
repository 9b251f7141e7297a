"""Open an exported ONNX file at its classifier: a new one goes in its place, and hears what earlier layers hear too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedigit.errors import MissingDependencyError, ModelError
from edgedigit.runtime.predictor import OUTPUT, session_options

BATCH = 128
PASSED = ("Add", "Mul", "Div", "QuantizeLinear", "DequantizeLinear")  # with constants, between classifier and softmax
POOLED = ("QuantizeLinear", "DequantizeLinear", "Flatten", "Squeeze")  # between a mean over time and the classifier
EMBEDDING = "enrolled_embedding"


@dataclass(frozen=True)
class Opening:
    """Names of values in a graph.

    Attributes:
        embedding: (B, C), what the classifier takes.
        scores: (B, n_labels), what softmax takes: calibrated logits.
        stages: (B, C_i, T_i) each, what every stage of a net over time ends with, the last one first: its mean over
            time is the embedding. Empty for nets of another kind.
    """

    embedding: str
    scores: str
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Head:
    """A classifier on what `Embedder` returns, which may change scores that a model gives already.

    Attributes:
        labels: of the new outputs.
        kept: index of each label among the model's own, whose score it changes; -1 for a new one, which starts at 0.
        weights: (n_embedding, n_labels).
        bias: (n_labels,).
    """

    labels: tuple[str, ...]
    kept: tuple[int, ...]
    weights: np.ndarray
    bias: np.ndarray


def _onnx():
    try:
        import onnx
    except ImportError:
        raise MissingDependencyError.of("onnx", "enroll") from None
    return onnx


def find_opening(model, name: str) -> Opening:
    """Where the graph of an ONNX model can be opened.

    Args:
        model: as onnx loads it.
        name: of its file, for errors.

    Raises:
        ModelError: if it does not end in one dense layer and softmax, or was itself made by enrolment.
    """
    graph = model.graph
    if any(EMBEDDING in node.output for node in graph.node):
        facts = {entry.key: entry.value for entry in model.metadata_props}
        base = {"on": "file", "sha256": "unknown", **json.loads(facts.get("enrolled", "{}"))}
        raise ModelError(
            f"{name} has been enrolled already, on a {base['on']} with the SHA-256 {base['sha256'][:12]}; name the "
            "model that it was made of (the shipped one needs no --model), and put all words into one folder"
        )
    maker = {output: node for node in graph.node for output in node.output}
    constants = {value.name for value in graph.initializer}
    constants |= {output for node in graph.node if node.op_type == "Constant" for output in node.output}
    last = maker.get(OUTPUT)
    node = maker.get(last.input[0]) if last is not None and last.op_type == "Softmax" else None
    while node is not None and node.op_type in PASSED and set(node.input[1:]) <= constants:
        node = maker.get(node.input[0])
    if node is None or node.op_type not in ("Gemm", "MatMul"):
        raise ModelError(
            f"{name} does not end in one dense layer and softmax, which a new classifier could replace; use the "
            "shipped model.onnx, or one of its architecture (student_dscnn)"
        )
    return Opening(node.input[0], last.input[0], _stages(graph, maker, node.input[0]))


def _stages(graph, maker: Mapping, embedding: str) -> tuple[str, ...]:
    """What is averaged to the embedding, then what enters each depthwise convolution that skips frames, last first."""
    mean = maker.get(embedding)
    while mean is not None and mean.op_type in POOLED:
        mean = maker.get(mean.input[0])
    if mean is None or mean.op_type not in ("ReduceMean", "GlobalAveragePool"):
        return ()
    ends = [mean.input[0]]
    for node in reversed(graph.node):
        values = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Conv" and "strides" in values and "group" in values:
            over_time = len(values["strides"].ints) == 1 and values["strides"].ints[0] > 1
            if over_time and values["group"].i > 1:
                ends.append(node.input[0])
    return tuple(ends) if len(ends) > 1 else ()


def _embedding_nodes(opening: Opening) -> list:
    """From values of the model to `EMBEDDING`, (B, n_embedding): parts of unit length side by side.

    The last layer alone has learnt to forget what no digit needs; earlier ones still hold it. The maximum tells that
    a sound was there at all, wherever in the window and however short.
    """
    node = _onnx().helper.make_node
    nodes, parts = [], [opening.embedding]
    for i, stage in enumerate(opening.stages):
        for pool in ("GlobalAveragePool", "GlobalMaxPool")[i == 0 :]:  # the mean of the last is there already
            name = f"enrolled_{pool}_{i}"
            nodes += [node(pool, [stage], [f"{name}_over_time"], name), node("Flatten", [f"{name}_over_time"], [name])]
            parts.append(name)
    units = [f"enrolled_unit_{i}" for i in range(len(parts))]
    nodes += [
        node("LpNormalization", [part], [unit], unit, axis=1, p=2) for part, unit in zip(parts, units, strict=True)
    ]
    return [*nodes, node("Concat", units, [EMBEDDING], "enrolled_concatenate", axis=1)]


class Embedder:
    """Runs an exported model up to where a new classifier comes.

    Args:
        path: of an ONNX file that keeps the contract.

    Raises:
        ModelError: if it cannot be opened at its classifier.
        MissingDependencyError: if onnx is not installed.
    """

    def __init__(self, path: str | Path):
        import onnxruntime

        onnx = _onnx()
        model = onnx.load(path)
        opening = find_opening(model, str(path))
        model.graph.node.extend(_embedding_nodes(opening))
        self._wanted = [EMBEDDING, opening.scores]
        for name in self._wanted:
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), session_options(threads=1), providers=["CPUExecutionProvider"]
        )

    def __call__(self, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Waveforms (n, n_samples) to embeddings (n, n_embedding) and the model's scores (n, n_labels).

        An embedding is parts of unit length: what the model's classifier takes and, of nets over time, the maximum over
        time of the same channels, and mean and maximum of what every earlier stage ends with.
        """
        name, wanted = self._session.get_inputs()[0].name, self._wanted
        parts = [self._session.run(wanted, {name: waveforms[i : i + BATCH]}) for i in range(0, len(waveforms), BATCH)]
        embeddings, scores = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
        return embeddings, scores


def graft(source: str | Path, target: str | Path, head: Head, facts: Mapping[str, str]) -> None:
    """Write the model of `source` with `head` for its classifier and `facts` for its metadata.

    Raises:
        ModelError: as `find_opening`.
    """
    onnx = _onnx()
    model = onnx.load(source)
    graph, opening = model.graph, find_opening(model, str(source))
    constants = {"enrolled_weight": head.weights.astype(np.float32), "enrolled_bias": head.bias.astype(np.float32)}
    node = onnx.helper.make_node
    nodes = [
        *_embedding_nodes(opening),
        node("Gemm", [EMBEDDING, *constants], ["enrolled_scores"], "enrolled_classifier"),
    ]
    if max(head.kept) >= 0:
        choice = np.zeros((graph.output[0].type.tensor_type.shape.dim[1].dim_value, len(head.labels)), np.float32)
        for column, row in enumerate(head.kept):
            if row >= 0:
                choice[row, column] = 1.0
        constants["enrolled_choice"] = choice
        nodes += [
            node("MatMul", [opening.scores, "enrolled_choice"], ["enrolled_kept"], "enrolled_choose"),
            node("Add", ["enrolled_scores", "enrolled_kept"], ["enrolled_sum"], "enrolled_add"),
        ]
    nodes.append(node("Softmax", [nodes[-1].output[0]], [OUTPUT], "enrolled_softmax", axis=1))
    rest = [old for old in graph.node if OUTPUT not in old.output]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(_needed([*rest, *nodes]))
    used = {name for old in graph.node for name in old.input}
    kept = [value for value in graph.initializer if value.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(head.labels)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def _needed(nodes: Sequence) -> list:
    """Those that the output depends on, in their order: the old classifier goes where nothing of it is kept."""
    wanted, kept = {OUTPUT}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]
