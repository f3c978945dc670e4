"""What to know of few or unequal pictures before a training: said, never acted on unasked."""

import numpy as np

from patchword.data import Data
from patchword.errors import ConfigError
from patchword.recipes.recipe import Recipe

LONG_TAIL = 10  # times the rarest class: where Cui et al. 2019, arXiv:1901.05555, begin


def noted(data: Data, recipe: Recipe) -> tuple[str, ...]:
    """Say what weights are kept where nothing can choose them, and how unequal classes are.

    Args:
        data: with what was held out.
        recipe: as it will run.

    Raises:
        ConfigError: patience is asked for, and there is nothing to look at.
    """
    lines: list[str] = []
    if data.validation is None:
        if recipe.patience is not None:
            raise ConfigError(
                "patience needs pictures to look at: hold some out, as in --holdout 0.1"
            )
        words = "no validation pictures: the last weights are kept, as test pictures choose nothing"
        lines.append(f"{words}; --holdout 0.2 keeps the best, by a share of the training pictures")
    counts = np.bincount(data.train.labels, minlength=len(data.train.classes))
    counts = counts[counts > 0]
    plain = recipe.sampling == "shuffled" and recipe.class_weights == "none"
    if data.train.kind == "class" and plain and counts.max() >= LONG_TAIL * counts.min():
        lines.append(
            f"classes have {counts.min():,} to {counts.max():,} training pictures and each picture "
            "counts alike; --settings sampling=balanced (or class_weights=balanced) makes it each "
            "class, as macro figures score it"
        )
    return tuple(lines)
