"""ONNX: one self-contained, simplified file with its facts in the metadata."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

from edgedigit import features
from edgedigit.errors import ModelError
from edgedigit.export.exportable import Exportable
from edgedigit.spec import FrontendSpec

DFT_NODE = "dft_multiply"  # the first of the nodes that compute DFT filters; a file that has it is finished
OPSET = 18  # what torch's exporter writes natively


def export_onnx(model: Exportable, path: Path) -> None:
    """Write the signal's input (B, *signal.shape) -> `probabilities` (B, n_labels), any B, no external data.

    Raises:
        ModelError: if simplification changes what the graph computes.
    """
    import onnxsim

    path.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet("torch.onnx"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (model.example(),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[model.model.spec.signal.input_name],
            output_names=["probabilities"],
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
    simplified, same = onnxsim.simplify(program.model_proto)
    if not same:
        raise ModelError(f"{path.name}: onnxsim changed the result of the graph; check its version against the pins")
    for value, name in ((simplified.graph.input[0], "batch"), (simplified.graph.output[0], "batch")):
        value.type.tensor_type.shape.dim[0].dim_param = name
    for node in simplified.graph.node:  # traces of the exporter's source lines; nobody reads them in a product
        del node.metadata_props[:]
        node.doc_string = ""
    del simplified.graph.value_info[:]
    onnx.checker.check_model(simplified, full_check=True)
    onnx.save(simplified, path)


def finish_onnx(path: Path, spec: FrontendSpec, facts: dict) -> None:
    """Make a file ready to ship: DFT filters computed in the graph, metadata replaced by `facts`.

    Args:
        path: a file that `export_onnx` or `quantize` wrote; one that is finished gets new metadata only.
        spec: its features.
        facts: anything but a string is stored as JSON.

    Raises:
        ModelError: if the graph does not compute the features of `spec`.
    """
    model = onnx.load(path)
    if spec.kind != "raw" and not any(node.name == DFT_NODE for node in model.graph.node):
        _compute_dft_in_graph(model, spec)
    del model.metadata_props[:]
    onnx.helper.set_model_props(
        model, {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    )
    model.producer_name, model.producer_version = "edgedigit", facts["version"]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@contextlib.contextmanager
def _quiet(logger: str):
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _compute_dft_in_graph(model: onnx.ModelProto, spec: FrontendSpec) -> None:
    """Replace the stored DFT filters by the few nodes that compute them.

    The filters are the largest constant of the model and hold no information. Runtimes fold constants when a
    session starts, so this costs nothing at inference and saves 4 * win_length * 2 * n_bins bytes.

    Raises:
        ModelError: if the graph holds no such filters.
    """
    graph = model.graph
    shape = [2 * spec.n_bins, 1, spec.win_length]
    stored = next((value for value in graph.initializer if list(value.dims) == shape), None)
    if stored is None:
        raise ModelError(f"the graph holds no DFT filters of shape {shape}; it was exported without its front end")
    window = features.window_of(spec) / np.sqrt(spec.n_fft)
    constants = {
        "dft_bins": np.arange(spec.n_bins, dtype=np.int64)[:, None],
        "dft_times": np.arange(spec.win_length, dtype=np.int64)[None, :],
        "dft_period": np.array(spec.n_fft, dtype=np.int64),
        "dft_turn": np.array(2 * np.pi / spec.n_fft, dtype=np.float32),
        "dft_window": window.astype(np.float32)[None, :],
        "dft_negative_window": -window.astype(np.float32)[None, :],
        "dft_channel": np.array([1], dtype=np.int64),
    }
    node = onnx.helper.make_node
    nodes = [  # angles are reduced in whole numbers, so that float32 loses nothing on them
        node("Mul", ["dft_bins", "dft_times"], ["dft_product"], DFT_NODE),
        node("Mod", ["dft_product", "dft_period"], ["dft_phase"], "dft_reduce"),
        node("Cast", ["dft_phase"], ["dft_phase_float"], "dft_cast", to=onnx.TensorProto.FLOAT),
        node("Mul", ["dft_phase_float", "dft_turn"], ["dft_angle"], "dft_scale"),
        node("Cos", ["dft_angle"], ["dft_cos"], "dft_cosine"),
        node("Sin", ["dft_angle"], ["dft_sin"], "dft_sine"),
        node("Mul", ["dft_cos", "dft_window"], ["dft_real"], "dft_window_cosine"),
        node("Mul", ["dft_sin", "dft_negative_window"], ["dft_imaginary"], "dft_window_sine"),
        node("Concat", ["dft_real", "dft_imaginary"], ["dft_filters"], "dft_stack", axis=0),
        node("Unsqueeze", ["dft_filters", "dft_channel"], [stored.name], "dft_add_channel"),
    ]
    graph.initializer.remove(stored)
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
