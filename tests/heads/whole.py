"""Live references of models by name, at their own widths and at sizes that two cores can bear."""

from dataclasses import replace
from fnmatch import fnmatchcase

from patchword import heads, models
from tests.heads import HEADS


def pair(name, size=None):
    """Return the configs of a name's backbone and head.

    Args:
        name: of a head on a backbone of the zoo.
        size: rows and columns of its images; the name's own if None.
    """
    design = heads.config(name)
    body = replace(models.config(design.backbone), **design.changes)
    return (body if size is None else replace(body, image_size=size)), design.head


def makers(name):
    """Return what makes the live references of a name, by library."""
    known = vars(HEADS[heads.index()[name]]).get("WHOLE", {})
    return {
        library: make
        for pattern, found in known.items()
        if fnmatchcase(name, pattern)
        for library, make in found.items()
    }


def referenced():
    """Name the models of the zoo's heads that have a live reference."""
    return [n for n in heads.index() if heads.config(n).backbone and makers(n)]
