"""Everything Patchword raises on purpose.

    PatchwordError
    ├── ConfigError    a setting or a name is unknown, of the wrong type, or contradicts another
    ├── ShapeError     a tensor does not fit the model that was asked to read it
    ├── WeightsError   a checkpoint and a model do not name the same tensors
    ├── DataError      a data source is missing, malformed or empty
    │   └── ImageError     one picture cannot be read under the pixel contract
    ├── RunError       a run directory holds something else than what was asked for
    ├── Diverged       the loss is no longer a number
    ├── Stopped        a training was interrupted, and everything so far is saved
    └── MissingExtra   an optional library is not installed

Each message is one line: what was found, what was wanted, and what to do.
"""

import difflib
from collections.abc import Iterable


class PatchwordError(Exception):
    """Base class: `except PatchwordError` catches all of the above and nothing else."""

    exit_code = 2  # of the command line: the user's mistake


class ConfigError(PatchwordError, ValueError):
    """A setting or a name is unknown, of the wrong type, or contradicts another."""


class ShapeError(PatchwordError, ValueError):
    """A tensor does not fit the model that was asked to read it."""


class WeightsError(PatchwordError):
    """A checkpoint and a model do not name the same tensors."""


class DataError(PatchwordError):
    """A data source is missing, malformed or empty."""


class ImageError(DataError):
    """One picture cannot be read under the pixel contract."""


class RunError(PatchwordError):
    """A run directory holds something else than what was asked for."""


class Diverged(PatchwordError):
    """The loss is no longer a number."""

    exit_code = 1  # the run failed


class Stopped(PatchwordError):
    """A training was interrupted, and everything so far is saved."""

    exit_code = 130


class MissingExtra(PatchwordError, ImportError):
    """An optional library is not installed."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the nearest known ones, or all of them.

    >>> suggest("lerning", ["learning", "seed"])
    "did you mean 'learning'?"
    """
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=3)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"there are: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}"
