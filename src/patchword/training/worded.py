"""Scores, and what is known of a picture, as the report words them."""

from patchword.data import Source
from patchword.evaluation.multilabel import MultiLabelScores
from patchword.evaluation.regression import RegressionScores
from patchword.evaluation.scored import Scored
from patchword.evaluation.topk import TopK
from patchword.pages.confusion import Confusion
from patchword.pages.report import ClassRow


def as_words(scores: Scored, value: float) -> str:
    """Write the main figure, or an end of its interval."""
    return f"{value:.3f}" if isinstance(scores, RegressionScores) else f"{value:.1%}"


def interval(low: float, high: float) -> str:
    """Say an interval."""
    return f"95 % interval {low:.4g} to {high:.4g}"


def confusion(classes: tuple[str, ...], found: Scored | None) -> Confusion | None:
    """Return what was taken for what, where a picture has one class."""
    return Confusion(names=classes, counts=found.confusion) if isinstance(found, TopK) else None


def per_class(classes: tuple[str, ...], found: Scored | None) -> tuple[ClassRow, ...]:
    """Return how each class or label fared."""
    if not isinstance(found, TopK | MultiLabelScores):
        return ()
    several = isinstance(found, MultiLabelScores)
    counts = found.having if several else found.confusion.sum(axis=1).tolist()
    rows = zip(classes, counts, found.recall, found.precision, strict=True)
    return tuple(ClassRow(name=n, count=c, recall=r, precision=p) for n, c, r, p in rows)


def titled(source: Source, index: int) -> str:
    """Say what is known of a picture."""
    if source.kind in ("class", "shares") or source.targets is None:
        return source.classes[int(source.labels[index])]
    row = zip(source.classes, source.targets[index].tolist(), strict=True)
    if source.kind == "labels":
        return ", ".join(name for name, there in row if there) or "none"
    return ", ".join(f"{name} {value:.4g}" for name, value in row)
