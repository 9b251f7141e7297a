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
    """Names of the nodes that compute features: everything up to and with the last logarithm.

    They stay in floating point: eight bits do not hold the range of a power spectrum.
    """
    by_output = {output: node for node in model.graph.node for output in node.output}
    pending = [node for node in model.graph.node if node.op_type == "Log"]
    found: dict[str, None] = {}
    while pending:
        node = pending.pop()
        if node.name in found:
            continue
        found[node.name] = None
        pending += [by_output[name] for name in node.input if name in by_output]
    return list(found)


def quantize(source: Path, target: Path, waveforms: np.ndarray) -> None:
    """Write an INT8 QDQ version of an fp32 model.

    Weights are symmetric per channel, activations asymmetric per tensor with ranges seen on `waveforms`.

    Args:
        source: fp32 ONNX file with input `waveform`.
        target: file to write.
        waveforms: (n, n_samples) calibration clips.

    Raises:
        ModelError: if the graph has no feature nodes to keep apart from the network.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
        shape_inference,
    )

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rows = iter(np.array_split(waveforms, max(1, len(waveforms) // 32)))

        def get_next(self):
            rows = next(self.rows, None)
            return None if rows is None else {"waveform": rows}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        shape_inference.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        excluded = feature_nodes(onnx.load(prepared))
        if not excluded:
            raise ModelError(f"{source} computes no features in its graph; export it with its front end")
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
                extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.01},
            )
        finally:
            logging.getLogger().setLevel(level)
