"""Model families behind one registry."""

from edgedigit.models import ds_cnn, resnet_se, student_dscnn  # noqa: F401  (importing registers them)
from edgedigit.models.registry import WaveformModel, count_parameters, create_model, list_models, register_model

__all__ = ["WaveformModel", "count_parameters", "create_model", "list_models", "register_model"]
