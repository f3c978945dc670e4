"""Whether a picture of importance can be trusted: deletion and insertion curves.

Petsiuk, Das & Saenko 2018, arXiv:1806.07421, section 4.3: if the cells that a picture calls
important are taken away first, the class's probability should fall early; if they are shown first,
it should rise early. Compare the areas with those of a random order of the same images.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.inspection.attention import settled
from patchword.inspection.attribution import predicted
from patchword.pages.figures import Chart, Series
from patchword.pages.svg import as_svg


class Curve(NamedTuple):
    """The probability of a class while an image changes."""

    share: Float[Tensor, " steps"]  # of cells that have changed, from 0 to 1
    probability: Float[Tensor, "b steps"]
    area: Float[Tensor, " b"]  # under it, by trapezoids, 0 to 1

    def figure(self) -> Chart:
        """Return the mean of the images."""
        x, y = (100 * self.share).tolist(), (100 * self.probability.mean(dim=0)).tolist()
        name = f"area {float(self.area.mean()):.2f}"
        lines = (Series(name=name, x=tuple(x), y=tuple(y)),)
        return Chart(title="", x_label="% of cells", y_label="probability, %", series=lines)

    def _repr_svg_(self) -> str:
        return as_svg(self.figure(), "")


def deletion(
    model: nn.Module,
    images: Float[Tensor, "b c h w"],
    importance: Float[Tensor, "b rows columns"],
    targets: Int[Tensor, " b"] | None = None,
    steps: int = 10,
) -> Curve:
    """Blank the most important cells first, and follow the class's probability: low is good.

    Blank is 0, the mean colour where images are normalised by it.

    Args:
        model: images to logits; it runs in evaluation mode.
        images: as the model reads them.
        importance: of cells that cover each image evenly; equal ones go in reading order.
        targets: a class per image; the predicted ones if None.
        steps: how often to look, beside the start; each is a forward pass.
    """
    return followed(model, images, torch.zeros_like(images), importance, (targets, steps))


def insertion(
    model: nn.Module,
    images: Float[Tensor, "b c h w"],
    importance: Float[Tensor, "b rows columns"],
    targets: Int[Tensor, " b"] | None = None,
    steps: int = 10,
) -> Curve:
    """Sharpen a blurred image, the most important cells first: a high probability is good.

    The blur is the paper's at 224 pixels, a Gaussian of deviation 5, and in proportion at others.
    The arguments are those of `deletion`.
    """
    targets = predicted(model, images) if targets is None else targets
    return followed(model, blurred(images), images, importance, (targets, steps))


@torch.no_grad()
def followed(
    model: nn.Module,
    start: Float[Tensor, "b c h w"],
    end: Float[Tensor, "b c h w"],
    importance: Float[Tensor, "b rows columns"],
    how: tuple[Int[Tensor, " b"] | None, int],
) -> Curve:
    """Go from one image to another, the most important cells first."""
    targets, steps = how
    cells = importance.flatten(1)
    place = cells.argsort(dim=1, descending=True, stable=True).argsort(dim=1).view(importance.shape)
    rank = F.interpolate(place[:, None].float(), start.shape[2:], mode="nearest-exact")
    counts = (torch.linspace(0, 1, steps + 1) * cells.shape[1]).round()
    with settled(model):
        logits = [model(torch.where(rank < count, end, start)) for count in counts.tolist()]
    found = torch.stack(logits).float().softmax(-1)
    targets = logits[0].argmax(1) if targets is None else targets
    probability = found.gather(2, targets.expand(len(found), -1)[..., None])[..., 0].T
    share = counts / cells.shape[1]
    return Curve(share, probability, torch.trapezoid(probability, share.to(probability), dim=1))


def blurred(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Return images out of focus, as if zeros lay around them."""
    channels = images.shape[1]
    for axis, pixels in ((2, images.shape[2]), (3, images.shape[3])):
        deviation = 5 * pixels / 224
        reach = max(1, round(deviation))  # 5 of a kernel of 11
        offsets = torch.arange(-reach, reach + 1, device=images.device)
        kernel = (-(offsets / deviation).square() / 2).exp().to(images)
        shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        kernel = (kernel / kernel.sum()).view(shape).expand(channels, -1, -1, -1)
        images = F.conv2d(images, kernel, padding="same", groups=channels)
    return images
