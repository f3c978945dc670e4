"""Shifts: whether answers change when a picture is moved or resized a little.

Paper      consistency: Zhang 2019, "Making convolutional networks shift-invariant again",
           arXiv:1904.11486, section 4
Reference  none
Departures the picture is moved, not cropped at another place; its edge is repeated where nothing
           comes in, so every share is over the same pictures
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from patchword.errors import ConfigError
from patchword.evaluation.protocol import Finding, Judged, Protocol, Score, Subject
from patchword.evaluation.topk import wilson

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # rows, columns


@dataclass(frozen=True, kw_only=True)
class Shifts(Protocol):
    """Top-1 of moved pictures, and the share of answers that are those of the pictures as is."""

    pixels: tuple[int, ...] = (1, 2, 4, 8)  # to each of the four sides
    scales: tuple[float, ...] = (0.8, 0.9, 1.1, 1.25)  # about the centre

    def __post_init__(self) -> None:
        if any(pixels < 1 for pixels in self.pixels) or any(s <= 0 for s in self.scales):
            raise ConfigError(
                f"pixels is {self.pixels}, scales {self.scales}; wanted: 1 or more, above 0"
            )

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Score the model's own answers on each way of moving the pictures."""
        framed = subject.framed(data.test)
        plain = subject.disturbed(framed, lambda image, _: image)
        said = plain.logits.argmax(dim=1)
        ways: dict[str, list[Callable[[Tensor, int], Tensor]]] = {
            f"{reach} pixel{'s' if reach > 1 else ''}": [
                partial(_shifted, down=reach * down, across=reach * across)
                for down, across in DIRECTIONS
            ]
            for reach in self.pixels
        }
        ways |= {f"scale {scale:g}": [partial(_scaled, scale=scale)] for scale in self.scales}
        found = list(_scores("as is", [said == plain.labels], [said == said]))
        for under, moves in ways.items():
            subject.say(f"{data.name}: {under}")
            answers = [subject.disturbed(framed, m).logits.argmax(dim=1) for m in moves]
            right, same = [a == plain.labels for a in answers], [a == said for a in answers]
            found.extend(_scores(under, right, same))
        return Finding(
            data=data.name,
            split=data.split,
            count=len(said),
            scores=tuple(found),
            unreadable=plain.unreadable,
        )


def _scores(under: str, right: list[Tensor], same: list[Tensor]) -> tuple[Score, ...]:
    """Return shares over moves and pictures; intervals are those of one move's pictures."""
    return tuple(
        Score(
            name=name,
            value=torch.stack(part).double().mean().item(),
            interval=wilson(round(torch.stack(part).sum().item() / len(part)), len(part[0])),
            under=under,
        )
        for name, part in (("top-1", right), ("same answer", same))
    )


def _shifted(
    image: UInt8[Tensor, "c h w"], _: int, *, down: int, across: int
) -> UInt8[Tensor, "c h w"]:
    """Move a picture by whole pixels."""
    rows, columns = image.shape[-2:]
    row = (torch.arange(rows) - down).clamp(0, rows - 1)
    column = (torch.arange(columns) - across).clamp(0, columns - 1)
    return image[:, row][:, :, column]


def _scaled(image: UInt8[Tensor, "c h w"], _: int, *, scale: float) -> UInt8[Tensor, "c h w"]:
    """Resize a picture about its centre, and cut it off or repeat its edge."""
    theta = torch.tensor([[[1 / scale, 0.0, 0.0], [0.0, 1 / scale, 0.0]]])
    places = F.affine_grid(theta, [1, *image.shape], align_corners=False)
    moved = F.grid_sample(
        image[None].float(), places, padding_mode="border", align_corners=False, mode="bilinear"
    )
    return moved[0].round().clamp(0, 255).byte()


PROTOCOL = Shifts()
