"""What reads text: the contract, and how masks are made.

A token mask (b n) is True where there is a word. What attention is handed broadcasts to
(b heads queries keys), and is True where a query may attend to a key.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class TextEncoder(nn.Module, ABC):
    """Maps words to states, one per word.

    Embedding and encoding can be had apart: what joins text with images (VL-BERT, UNITER) embeds
    both in its own way and encodes the sequence of them.

    Attributes:
        width: d, the channels of a state.
    """

    width: int

    @abstractmethod
    def embed(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """Give each word its vector, with its position."""

    @abstractmethod
    def encode(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Let embedded tokens read each other; states at padding mean nothing."""

    @abstractmethod
    def pool(
        self, states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b d"]:
        """Sum a sequence up in one vector."""

    def forward(
        self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Encode words; without a mask, all of them count."""
        return self.encode(self.embed(ids), mask)


def keys(mask: Bool[Tensor, "b m"] | None) -> Bool[Tensor, "b 1 1 m"] | None:
    """Let every query attend to all keys but padding."""
    return None if mask is None else mask[:, None, None]


def causal(
    count: int, mask: Bool[Tensor, "b m"] | None = None, *, device: torch.device, past: int = 0
) -> Bool[Tensor, "#b 1 n m"]:
    """Let each of n queries attend to itself and to what stands before it, but padding.

    Args:
        count: n.
        mask: of the m = past + n keys.
        device: where the mask is used.
        past: keys that stand before the first query.
    """
    rows = torch.arange(past, past + count, device=device)
    seen = (torch.arange(past + count, device=device) <= rows[:, None])[None, None]
    return seen if mask is None else seen & mask[:, None, None]


def last_word(
    states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None
) -> Float[Tensor, "b d"]:
    """Return the states at each sequence's last word."""
    if mask is None:
        return states[:, -1]
    places = torch.arange(mask.shape[1], device=mask.device)
    last = (places * mask).argmax(-1)
    return states[torch.arange(len(states), device=mask.device), last]


def mean_word(
    states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None
) -> Float[Tensor, "b d"]:
    """Return the mean of the states at words."""
    if mask is None:
        return states.mean(1)
    weight = mask.to(states.dtype)[..., None]
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)
