"""XCiT under its authors' names, of which timm has a reader and nobody a network to install."""

import pytest
import torch

from patchword.heads.classify import classifier
from patchword.models.xcit import FORMATS
from tests.families.xcit import TINY, timm_s
from tests.parity.peer import CLASSES, perturbed

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("kind", TINY)
def test_the_authors_names_are_what_timm_reads(kind):
    from timm.models.xcit import checkpoint_filter_fn

    timm, authors = FORMATS
    ours = perturbed(classifier(TINY[kind].build(), CLASSES), kind).state_dict()
    theirs, wanted = authors.save(ours), timm.save(ours)
    back = authors.load(theirs)
    assert theirs.keys() != wanted.keys() and back.keys() == ours.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in ours.items())
    found = checkpoint_filter_fn(dict(theirs), timm_s(TINY[kind], CLASSES).model)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
