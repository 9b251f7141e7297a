"""The deployed half: ONNX Runtime, endpointing, streams and the microphone. Nothing here needs torch."""

from edgedigit.runtime.digit_string import DigitString, DigitStringCollector, StringOptions
from edgedigit.runtime.predictor import ModelInfo, Prediction, Recognizer
from edgedigit.runtime.stream import Event, StreamingRecognizer
from edgedigit.runtime.vad import VadOptions

__all__ = [
    "DigitString",
    "DigitStringCollector",
    "Event",
    "ModelInfo",
    "Prediction",
    "Recognizer",
    "StreamingRecognizer",
    "StringOptions",
    "VadOptions",
]
