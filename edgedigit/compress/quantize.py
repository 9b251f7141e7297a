"""Static INT8 quantisation of an exported model, per channel, with calibrated activations."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from edgedigit.data.recording import Recording
from edgedigit.errors import ModelError

NETWORK = "network."  # in the names of the network's weights, as `WaveformModel` calls it
FRONTEND = "frontend."  # in the names of fixed weights, be they within an ensemble's network


def calibration_indices(recordings: Sequence[Recording], n_clips: int, seed: int) -> list[int]:
    """Seeded choice of training recordings, the same number of each label as far as they go.

    Returns:
        Sorted indices into `recordings`.
    """
    rng = np.random.default_rng(seed)
    by_label: dict[str, list[int]] = {}
    for i, recording in enumerate(recordings):
        by_label.setdefault(recording.label, []).append(i)
    share = max(1, n_clips // len(by_label))
    chosen: list[int] = []
    for label in sorted(by_label):
        rows = by_label[label]
        chosen += [rows[i] for i in rng.permutation(len(rows))[:share]]
    return sorted(chosen)


def feature_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that compute features: all that no trained weight of the network has touched yet.

    They stay in floating point: eight bits do not hold the range of a power spectrum.
    """
    trained = {value.name for value in model.graph.initializer if NETWORK in value.name and FRONTEND not in value.name}
    names = []
    for node in model.graph.node:  # in topological order
        if trained & set(node.input):
            trained |= set(node.output)
        else:
            names.append(node.name)
    return names


def quantize(source: Path, target: Path, waveforms: np.ndarray) -> None:
    """Write an INT8 QDQ version of an fp32 model.

    Weights are symmetric per channel, activations asymmetric per tensor with ranges seen on `waveforms`.

    Args:
        source: fp32 ONNX file of one input.
        target: file to write.
        waveforms: (n, n_samples) calibration clips, of EMG (n, channels, n_samples).

    Raises:
        ModelError: if the network cannot be told from the features in the graph.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
        shape_inference,
    )

    (input_name,) = (value.name for value in onnx.load(source).graph.input)

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rows = iter(np.array_split(waveforms, max(1, len(waveforms) // 32)))

        def get_next(self):
            rows = next(self.rows, None)
            return None if rows is None else {input_name: rows}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        shape_inference.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared)
        excluded = feature_nodes(graph)
        if len(excluded) == len(graph.graph.node):
            raise ModelError(f"{source} holds no weight named {NETWORK}*; quantise a file that export_onnx wrote")
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # the quantiser logs advice meant for its own scripts
        try:
            quantize_static(
                str(prepared),
                str(target),
                Reader(),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                nodes_to_exclude=excluded,
                op_types_to_quantize=["Conv", "Add", "Relu", "Gemm", "MatMul", "ReduceMean"],
                calibrate_method=CalibrationMethod.MinMax,
            )
        finally:
            logging.getLogger().setLevel(level)
