"""Model families behind one registry."""

from edgedigit.models import (  # noqa: F401  (importing registers them)
    bc_resnet,
    ds_cnn,
    kwt,
    matchboxnet,
    resnet_se,
    student_dscnn,
    tc_resnet,
)
from edgedigit.models.registry import WaveformModel, count_parameters, create_model, list_models, register_model

__all__ = ["WaveformModel", "count_parameters", "create_model", "list_models", "register_model"]
