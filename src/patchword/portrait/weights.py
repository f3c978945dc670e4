"""What the weights alone show: patch filters, and which positions are alike."""

from patchword.pages.inspect import Panel
from patchword.pages.pictures import position_tiles
from patchword.pages.plates import Mosaic, Scale, Sheet
from patchword.portrait.sight import Sitter
from patchword.training.report import patch_filters, positions


def filters_panel(who: Sitter) -> Panel:
    """Draw the principal components of the patch filters."""
    found = patch_filters(who.model)
    if found is None:
        return Panel(
            absent=f"{who.card.model} does not cut its pictures into patches by one linear map, so "
            "it has no patch filters."
        )
    return Panel(drawn=Mosaic(pictures=found.pictures, alt="Filter"))


def positions_panel(who: Sitter) -> Panel:
    """Draw how alike the positions are."""
    found = positions(who.model)
    if found is None:
        return Panel(
            absent=f"{who.card.model} learns no position of each patch, or of more than a page "
            "can show."
        )
    return Panel(
        drawn=Sheet(
            pixels=position_tiles(found),
            alt="Similarity of position embeddings",
            scale=Scale(low="-1", high="1"),
        )
    )
