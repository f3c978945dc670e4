"""What a report says of classes."""

from math import nan

from patchword.evaluation.protocol import ClassScore, Finding
from patchword.training.worded import MANY, per_class


def finding(rows):
    scored = tuple(ClassScore(count=count, recall=0.5, precision=p) for count, p in rows)
    return Finding(data="d", split="test", count=1, scores=(), per_class=scored)


def test_of_many_classes_those_that_are_nowhere_are_left_out():
    rows = [(3, 0.5), (0, 0.0), (0, nan)]
    few = per_class(("there", "answered", "nowhere"), finding(rows))
    assert [row.name for row in few] == ["there", "answered", "nowhere"]
    names = tuple(f"{kind} {i}" for i in range(MANY) for kind in ("there", "answered", "nowhere"))
    many = per_class(names, finding(rows * MANY))
    assert [row.name for row in many] == [n for n in names if not n.startswith("nowhere")]
