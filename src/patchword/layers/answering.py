"""When a network may compute in ways that only answers allow."""

import torch
from torch import Tensor


def answering(x: Tensor) -> bool:
    """Return whether x is on a CPU, no gradients are asked for, and no program is being made."""
    learning = torch.is_grad_enabled() or torch.compiler.is_compiling()
    return x.device.type == "cpu" and not learning
