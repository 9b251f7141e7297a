"""edgedigit: tiny spoken-digit models, trained, compressed and deployed."""

__version__ = "0.1.0"
__all__ = ["Recognizer", "__version__"]


def __getattr__(name):
    if name == "Recognizer":  # on demand, so that the training half does not need onnxruntime
        from edgedigit.runtime import Recognizer

        return Recognizer
    raise AttributeError(f"module 'edgedigit' has no attribute {name!r}")
