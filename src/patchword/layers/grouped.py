"""Group norm (Wu and He 2018, arXiv:1803.08494)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.answering import answering

SMALL = 1024  # cells, below which torch takes a map with channels last group by group
NARROW = 16  # channels of a group, below which it then takes them one by one


class GroupNorm(nn.GroupNorm):
    """Group norm that is fast where torch's is ten times slower, if no gradients are asked for.

    That is on a CPU, for small maps with channels last and narrow groups: an image's channels are
    then measured as batch norm measures them, and the groups by their channels.
    """

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise each group of channels of each image."""
        if self.slow(input):
            return torch.cat([self.image(image) for image in input.split(1)])
        return super().forward(input)

    def slow(self, x: Tensor) -> bool:
        """Return whether torch's own kernel is."""
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        small = x.numel() and x.shape[2:].numel() < SMALL and not x.is_contiguous()
        narrow = self.num_channels < NARROW * self.num_groups
        exact = x.dtype in (torch.float32, torch.bfloat16)
        return bool(answering(x) and last and small and narrow and exact and self.affine)

    def image(self, x: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 c h w"]:
        """Normalise one image."""
        running = x.new_zeros(2, self.num_channels, dtype=torch.float32)  # wanted, and not used
        mean, variance = torch.batch_norm_update_stats(x, *running, momentum=0.0)
        means, variances = (t.view(self.num_groups, -1) for t in (mean, variance))
        middle = means.mean(1, keepdim=True)
        spread = variances.mean(1, keepdim=True) + (means - middle).square().mean(1, keepdim=True)
        mean, variance = (t.expand_as(means).flatten() for t in (middle, spread))
        weight, bias = self.weight.float(), self.bias.float()
        return F.batch_norm(x, mean, variance, weight, bias, eps=self.eps)
