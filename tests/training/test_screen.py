"""What a training says first, line by line."""

from patchword.data import SplitCensus
from patchword.training.screen import split_words

NOTHING = {"smallest": None, "median": None, "largest": None, "modes": (), "notes": ()}


def test_a_split_says_what_was_seen_of_it():
    empty = SplitCensus(count=0, per_class=(), looked=0, unreadable=(), **NOTHING)
    assert split_words("validation", empty) == "validation no pictures"
    sizes = {"smallest": (8, 6), "median": (9, 9), "largest": (10, 12), "modes": (("RGB", 5),)}
    some = SplitCensus(
        count=5, per_class=(3, 2), looked=5, notes=(), unreadable=("a.png: cut short",), **sizes
    )
    assert split_words("train", some) == (
        "train 5 pictures (2-3 per class), 8x6 to 10x12, median 9x9 pixels, RGB, 1 unreadable"
    )
