"""What became of the tensors when weights were read, or moved to another form of a model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from patchword.errors import WeightsError


@dataclass(frozen=True, kw_only=True)
class Report:
    """Each kind of change, in words; nothing is left unsaid."""

    kept: int = 0  # tensors that are as they were
    resampled: tuple[str, ...] = ()  # read between their numbers, to another size
    new: tuple[str, ...] = ()  # made afresh
    dropped: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()  # assumed or found on the way

    @property
    def lines(self) -> list[str]:
        """A line for each change, its kind first."""
        kinds = [field.name for field in fields(self) if field.name != "kept"]
        return [f"{kind}: {line}" for kind in kinds for line in getattr(self, kind)]

    def __str__(self) -> str:
        """Show what was kept, and all changes."""
        return "\n".join([f"kept: {self.kept} tensors", *self.lines])


def summed(names: tuple[str, ...], shown: int = 3) -> str:
    """Return a list of names that may be long, as its length and the first of them."""
    more = ", ..." if len(names) > shown else ""
    return f"{len(names)} tensors ({', '.join(names[:shown])}{more})"


def refuse_other_types(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Hold the types of tensors against those of a model's own, where it has them.

    Raises:
        WeightsError: what is to be a floating-point number is a whole or a complex one, or the
            other way round.
    """
    odd = [
        f"{name} ({str(tensor.dtype).removeprefix('torch.')})"
        for name, tensor in tensors.items()
        if name in own and tensor.is_floating_point() != own[name].is_floating_point()
    ]
    if odd:
        raise WeightsError(f"tensors are of a type that the model does not have: {', '.join(odd)}")


def oddities(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield what is to be said of weights that can be read: their precision, and broken numbers."""
    kinds = {t.dtype for t in tensors.values() if t.is_floating_point()} - {torch.float32}
    for kind in sorted(map(str, kinds)):
        yield f"stored as {kind.removeprefix('torch.')}, read as float32"
    broken = {n: int((~t.isfinite()).sum()) for n, t in tensors.items() if t.is_floating_point()}
    names = tuple(name for name, count in broken.items() if count)
    if names:
        yield f"{sum(broken.values())} numbers are infinite or NaN, in {summed(names)}"
