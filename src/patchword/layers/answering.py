"""What a network is asked for, answers or gradients, where it may compute in ways of its own."""

import torch
from torch import Tensor


def answering(x: Tensor) -> bool:
    """Return whether x is on a CPU, no gradients are asked for, and no program is being made."""
    learning = torch.is_grad_enabled() or torch.compiler.is_compiling()
    return x.device.type == "cpu" and not learning


def learning_reduced(x: Tensor) -> bool:
    """Return whether gradients are asked for, on a CPU and in bfloat16."""
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return dtype == torch.bfloat16
