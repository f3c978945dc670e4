"""What the weights alone show: patch filters, which positions are alike, and what they add."""

from patchword.inspection.positions import relative_biases
from patchword.inspection.stem import filters, position_similarity
from patchword.pages.inspect import Panel
from patchword.portrait.sight import Sitter

MOST = 4096  # places whose similarity to one another is worked out


def filters_panel(who: Sitter) -> Panel:
    """Draw the principal components of the patch filters."""
    found = filters(who.model.backbone)
    if found is None:
        return Panel(absent=f"{who.card.model} has no convolution that reads pictures.")
    return Panel(drawn=found.figure())


def positions_panel(who: Sitter) -> Panel:
    """Draw how alike the positions are, learned or of sines and cosines."""
    found = position_similarity(who.model.backbone)
    if found is None or found[..., 0, 0].numel() > MOST:
        return Panel(
            absent=who.unseen
            or f"{who.card.model} adds no position to each patch, or to more patches than a "
            "page can show."
        )
    return Panel(drawn=found.figure())


def biases_panel(who: Sitter) -> Panel:
    """Draw what heads add to their scores by position: around the middle place, layer by layer."""
    config, weight = who.model.backbone.config, next(who.model.parameters())
    nothing = weight.new_zeros(1, config.in_chans, *config.image_size)
    found = relative_biases(who.model, nothing)
    if not found:
        return Panel(
            absent=who.unseen
            or f"{who.card.model} adds nothing to its attention by relative position."
        )
    return Panel(drawn=found.figure())
