"""Group norm (Wu and He 2018, arXiv:1803.08494)."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.answering import answering, learning_reduced

SMALL = 1024  # cells, below which torch takes a map with channels last group by group
NARROW = 16  # channels of a group, below which it then takes them one by one
BUSY = 2**16  # numbers of an image, below which its gradients are soon found


class GroupNorm(nn.GroupNorm):
    """Group norm that is fast where torch's is up to ten times slower.

    That is on a CPU, with channels last and narrow groups: small maps where no gradients are asked
    for, and all where bfloat16 is trained. An image's channels are then measured as batch norm
    measures them, and the groups by their channels.
    """

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise each group of channels of each image."""
        if not self.slow(input):
            return super().forward(input)
        if not torch.is_grad_enabled():
            images = [self.image(image, *self.measured(image)) for image in input.split(1)]
            return torch.cat(images)
        return Learnt.apply(input, self.weight, self.bias, self)[0]

    def slow(self, x: Tensor) -> bool:
        """Return whether torch's own kernel is."""
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        narrow = self.num_channels < NARROW * self.num_groups
        if not (last and narrow and self.affine and x.numel()) or x.is_contiguous():
            return False
        if answering(x):
            return self.small(x) and x.dtype in (torch.float32, torch.bfloat16)
        if torch.compiler.is_compiling() or x.dtype != torch.bfloat16:
            return False
        return learning_reduced(x) and x[0].numel() >= BUSY

    def small(self, x: Float[Tensor, "b c h w"]) -> bool:
        """Return whether torch's own kernel is slow to measure the groups, too."""
        return x.shape[2:].numel() < SMALL

    def measured(self, x: Float[Tensor, "1 c h w"]) -> tuple[Float[Tensor, "1 g"], ...]:
        """Return the mean and the variance of one image's groups, in single precision."""
        running = x.new_zeros(2, self.num_channels, dtype=torch.float32)  # wanted, and not used
        mean, variance = torch.batch_norm_update_stats(x, *running, momentum=0.0)
        means, variances = (t.view(self.num_groups, -1) for t in (mean, variance))
        middle = means.mean(1, keepdim=True)
        spread = variances.mean(1, keepdim=True) + (means - middle).square().mean(1, keepdim=True)
        return middle.mT, spread.mT

    def image(
        self, x: Float[Tensor, "1 c h w"], mean: Float[Tensor, "1 g"], variance: Tensor
    ) -> Float[Tensor, "1 c h w"]:
        """Normalise one image by its groups' means and variances."""
        mean, variance = (self.by_channel(t)[0] for t in (mean, variance))
        return F.batch_norm(x, mean, variance, self.weight.float(), self.bias.float(), eps=self.eps)

    def by_channel(self, x: Float[Tensor, "b g"]) -> Float[Tensor, "b c"]:
        """Return the groups' figures for each of their channels."""
        return x.repeat_interleave(self.num_channels // self.num_groups, 1)


class Learnt(torch.autograd.Function):
    """Group norm whose gradients are found channel by channel, as batch norm finds them."""

    @staticmethod
    def forward(
        x: Float[Tensor, "b c h w"], weight: Tensor, bias: Tensor, norm: GroupNorm
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b g"], Float[Tensor, "b g"]]:
        """Return the map, and means and inverse deviations of the groups."""
        b, c, h, w = x.shape
        if not norm.small(x):
            size = (b, c, h * w, norm.num_groups, norm.eps)
            return torch.native_group_norm(x, weight.float(), bias.float(), *size)
        found = tuple(zip(*map(norm.measured, x.split(1)), strict=True))
        y = torch.cat([norm.image(*args) for args in zip(x.split(1), *found, strict=True)])
        mean, variance = map(torch.cat, found)
        return y, mean, (variance + norm.eps).rsqrt()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the gradients need."""
        x, weight, _, ctx.norm = inputs
        ctx.save_for_backward(x, weight, *output[1:])
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the map, the weight and the bias.

        With x^ = (x - mean) * rstd, that of x is rstd * (weight * slope - middle - share * x^):
        middle and share are means over a group, of weight * slope and of weight * slope * x^.
        """
        if torch.is_grad_enabled():
            raise RuntimeError("group norm has no second gradients in bfloat16: use float32")
        x, weight, mean, rstd = ctx.saved_tensors
        norm, cells = ctx.norm, x.shape[2:].numel()
        slope = slopes[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        figures = (norm.by_channel(mean), norm.by_channel(rstd))
        images = zip(slope.split(1), x.split(1), *figures, strict=True)
        found = zip(*(channels(*image, weight.float()) for image in images), strict=True)
        weights, biases = (torch.stack(t) for t in found)
        groups = (len(x), norm.num_groups, -1)
        middle, share = ((t * weight).view(groups).mean(2) / cells for t in (biases, weights))
        scale = -rstd.square() * share
        shift = -rstd * middle - scale * mean
        factors = (norm.by_channel(rstd) * weight, norm.by_channel(scale), norm.by_channel(shift))
        gain, scale, shift = (t[:, :, None, None].to(x.dtype) for t in factors)
        maps = torch.addcmul(shift, x, scale).addcmul_(slope, gain)
        return maps, weights.sum(0).to(weight.dtype), biases.sum(0).to(weight.dtype), None


def channels(
    slope: Float[Tensor, "1 c h w"], x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Return the slopes of each channel's weight and bias, from one image."""
    figures = (weight, None, None, mean, rstd, True, 0.0, [False, True, True])
    return torch.ops.aten.native_batch_norm_backward(slope, x, *figures)[1:]
