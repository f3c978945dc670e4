"""What measures of models are held against, by computations of others: one list of checks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tests.inspection import of_differences, of_numpy, of_timm
from tests.inspection.tiny import MEAN, SWIN, VIT

LIBRARIES = ("timm", "captum")  # which may not be installed


@dataclass(frozen=True)
class Check:
    """Something of ours beside the same by other means.

    Attributes:
        reference: what the others are.
        pairs: yields ours and theirs.
        tolerance: of the largest difference, as a share of the largest value of theirs.
    """

    reference: str
    pairs: Callable[[], Iterable]
    tolerance: float


def difference(check):
    """Return the largest difference of a check's pairs, each as a share of its largest value."""
    found = []
    for ours, theirs in check.pairs():
        ours, theirs = (np.asarray(part, dtype=np.float64) for part in (ours, theirs))
        assert ours.shape == theirs.shape and np.abs(theirs).max() > 0
        found.append(np.abs(ours - theirs).max() / np.abs(theirs).max())
    assert found
    return max(found)


def numpy(pairs, *parts, tolerance=1e-5):
    return Check("numpy", partial(pairs, *parts), tolerance)


READ = {"class token": VIT, "mean": MEAN, "registers": replace(VIT, registers=2)}

CHECKS = {
    **{
        f"attention maps, {name}": Check("timm", partial(of_timm.maps, name), 2e-5)
        for name in of_timm.NETWORKS
    },
    "attention map, non-local layer": Check("timm", of_timm.layer, 2e-5),
    "distance, class token": numpy(of_numpy.distance, VIT),
    "distance, mean": numpy(of_numpy.distance, MEAN),
    "distance, shifted windows": numpy(of_numpy.distance, SWIN),
    "entropy, class token": numpy(of_numpy.entropy, VIT),
    "entropy, shifted windows": numpy(of_numpy.entropy, SWIN),
    **{f"rollout, {kind}": numpy(of_numpy.rollout_of_all, c) for kind, c in READ.items()},
    "rollout, shifted windows and merged cells": numpy(of_numpy.rollout_of_windows),
    "rollout, merged keys": numpy(of_numpy.rollout_of_merged_keys),
    "CKA, between layers": numpy(of_numpy.cka_of_layers, tolerance=1e-8),
    "CKA, between models": numpy(of_numpy.cka_of_models, tolerance=1e-8),
    "unbiased HSIC": numpy(of_numpy.unbiased, tolerance=1e-9),
    "CKA, minibatches": numpy(of_numpy.cka_of_minibatches, tolerance=1e-6),
    **{
        f"relevance, {kind}": Check(
            "finite differences", partial(of_differences.relevance_of, config), 1e-5
        )
        for kind, config in of_differences.KINDS.items()
    },
    **{
        f"Grad-CAM, {name}": Check(
            "finite differences", partial(of_differences.gradcam_of, name), 1e-5
        )
        for name in ("vit", "swin", "resnet")
    },
    "Grad-CAM, stages of a ResNet": Check("captum", of_differences.gradcam_of_captum, 1e-9),
}
