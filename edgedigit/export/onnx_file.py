"""ONNX: one self-contained, simplified file with its facts in the metadata."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path

import onnx
import torch

from edgedigit.errors import ModelError
from edgedigit.export.exportable import Exportable

OPSET = 18  # what torch's exporter writes natively


def export_onnx(model: Exportable, path: Path) -> None:
    """Write `waveform` (B, n_samples) -> `probabilities` (B, n_labels), any B, no external data.

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
            input_names=["waveform"],
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


def write_metadata(path: Path, facts: dict) -> None:
    """Replace the ONNX metadata of a file by `facts`; anything but a string is stored as JSON."""
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(
        model, {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    )
    model.producer_name, model.producer_version = "edgedigit", facts["version"]
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
