"""Convolutions of each channel by itself, in strides (CvT, PiT, DAT)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.answering import learning_reduced


def strided_depthwise(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "e 1 kh kw"],
    bias: Float[Tensor, " e"] | None,
    stride: int,
) -> Float[Tensor, "b e rows columns"]:
    """Convolve each channel by itself, padded by half the kernel.

    In single precision where bfloat16 is trained on a CPU: with strides, oneDNN takes up to a
    hundred times as long in bfloat16 to find the slopes of the input.
    """
    how = {"stride": stride, "padding": weight.shape[-1] // 2, "groups": x.shape[1]}
    if stride == 1 or not learning_reduced(x):
        return F.conv2d(x, weight, bias, **how)
    with torch.autocast("cpu", enabled=False):
        bias = None if bias is None else bias.float()
        return F.conv2d(x.float(), weight.float(), bias, **how).bfloat16()


class StridedDepthwise(nn.Conv2d):
    """A convolution of each channel by itself, in strides; `dim` is a multiple of `dim_in`."""

    def __init__(
        self, dim_in: int, dim: int, kernel: int, stride: int, *, bias: bool = True
    ) -> None:
        super().__init__(dim_in, dim, kernel, stride, kernel // 2, groups=dim_in, bias=bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return strided_depthwise(input, weight, bias, self.stride[0])
