"""Where and how finely training computes: threads, device, mixed precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from edgedigit.errors import ConfigError


def set_up_torch(seed: int, threads: int = 0, device: str = "cpu") -> None:
    """Seed torch and set its threads; scripts call this, nothing does at import."""
    torch.manual_seed(seed)
    if threads > 0:
        torch.set_num_threads(threads)
    if device == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # features are convolutions: ten bits of mantissa would change them


def check_device(device: str) -> None:
    """Raise ConfigError unless torch can compute on `device`."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device is cuda, but torch {torch.__version__} finds none here; set device=cpu")


def autocast_type(precision: str, device: str = "cpu") -> torch.dtype | None:
    """Type of the network's products, None for float32: `auto` is bfloat16 where the device computes it natively.

    Raises:
        ConfigError: if the device does not have the precision.
    """
    if precision == "fp16":
        if device != "cuda":
            raise ConfigError(f"precision fp16 is for device cuda, got device {device}; choose bf16, auto or fp32")
        return torch.float16
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        if precision == "bf16" and not native:
            raise ConfigError("precision bf16 is missing on this CUDA device; choose fp16, auto or fp32")
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and native) else None


def resolved(precision: str, device: str = "cpu") -> str:
    """What a precision is on a device: `auto` becomes bf16 or fp32, the others stay.

    Raises:
        ConfigError: if the device does not have the precision.
    """
    return {torch.bfloat16: "bf16", torch.float16: "fp16", None: "fp32"}[autocast_type(precision, device)]


def autocast_for(precision: str, device: str = "cpu") -> AbstractContextManager:
    """Context in which a network computes as `autocast_type` says."""
    dtype = autocast_type(precision, device)
    return nullcontext() if dtype is None else torch.autocast(device, dtype)
