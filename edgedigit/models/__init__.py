"""Model families behind one registry."""

from edgedigit.models import (  # noqa: F401  (importing registers them)
    bc_resnet,
    cnn1d_raw,
    cnn2d_mel,
    cnn2d_mfcc_compact,
    cnn4_mel_audiomnist,
    cnn_lite,
    cnn_mini,
    ds_cnn,
    effnet,
    ensemble,
    kwt,
    matchboxnet,
    mlp_mfcc,
    resnet_se,
    st_transformer_emg,
    student_dscnn,
    tc_resnet,
    transformer,
)
from edgedigit.models.registry import (
    WaveformModel,
    count_parameters,
    create_model,
    list_models,
    register_model,
    summary,
)

__all__ = ["WaveformModel", "count_parameters", "create_model", "list_models", "register_model", "summary"]
