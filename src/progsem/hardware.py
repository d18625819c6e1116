"""Where tensors are computed, and in which type: the device and the precision of matrix products."""

from __future__ import annotations

import torch

from progsem.errors import UserError


def choose_device(name: str, gpu: int = 0) -> torch.device:
    """`auto`, `cpu` or `cuda` as a device; of several GPUs the one with that number becomes the current one.

    Asking for CUDA, or for a GPU, that is not there is a `UserError`.
    """
    refuse_missing(name, gpu + 1)
    device = torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
    if device.type == "cuda" and gpu > 0:
        torch.cuda.set_device(gpu)
    return device


def refuse_missing(name: str, gpus: int = 1) -> None:
    """Raise `UserError` where that device is not there, or is a GPU and there are fewer of them."""
    if name == "cpu":
        return
    if torch.cuda.is_available():
        there = torch.cuda.device_count()
        if there < gpus:
            raise UserError(
                f"compute.processes: given {gpus}, each with a GPU of its own, but torch finds {there}; give the job "
                "as many GPUs, or lower it"
            )
    elif name == "cuda":
        raise UserError("compute.device is cuda, but torch finds no CUDA device; set it to auto or cpu")


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto`, `bf16` or `fp32` as the type of matrix products; auto is bf16 where there are matrix units for it.

    A CPU with bf16 in its vector units alone (AVX-512 BF16) takes longer in bf16 than in fp32: a quarter in training,
    a third in probing (Xeon; docs/benchmarks.md).
    """
    if name != "auto":
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[name]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def attention_dtype(device: torch.device, precision: torch.dtype) -> torch.dtype:
    """The type that torch's fused attention is computed in, where matrix products are in `precision`.

    On a CPU, float32: there it takes less time than in bfloat16, for short documents a third.
    """
    return torch.float32 if device.type == "cpu" else precision
