"""Every measure is what others work out by other means, and no family of timm's is left out."""

import pytest

from patchword import models
from patchword.inspection.distance import attention_distance
from tests.contract.tiny import TINY, made
from tests.contract.tiny import images as contract_images
from tests.families import FAMILIES
from tests.inspection import of_timm
from tests.inspection.checks import CHECKS, LIBRARIES, Check, difference

NEEDING = {
    name: [pytest.mark.peers] if check.reference in LIBRARIES else []
    for name, check in CHECKS.items()
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=marks) for n, marks in NEEDING.items()])
def test_it_is_what_others_work_out(name):
    check = CHECKS[name]
    if check.reference == "captum":
        pytest.importorskip("captum.attr")
    assert difference(check) <= check.tolerance


def test_a_difference_is_the_largest_as_a_share_of_the_largest_value():
    pairs = [([1.0, 2.0], [1.0, 2.5]), ([8.0], [10.0]), ([0.5, -4.0], [0.5, -4.0])]
    assert difference(Check("", lambda: pairs, 0.0)) == 0.2
    with pytest.raises(AssertionError):
        difference(Check("", lambda: [], 0.0))
    with pytest.raises(AssertionError):
        difference(Check("", lambda: [([0.0], [0.0])], 0.0))


@pytest.mark.peers
def test_no_family_that_attends_in_timm_is_left_out():
    for family in FAMILIES.keys() - {models.index()[name] for name in of_timm.NETWORKS}:
        if any(in_timm(family, name) for name in FAMILIES[family].QUICK):
            config = next(iter(TINY[family].values()))
            assert not attention_distance(made(config), contract_images(config)), family


def in_timm(family, name):
    makers = FAMILIES[family].peers(name, models.config(name), 10)
    return any("timm" in word for make in makers for word in make.__code__.co_names)
