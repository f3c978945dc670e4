"""What transformers writes to a file is read as what it holds in memory, whatever it calls it."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from patchword import models
from patchword.weights.formats import recognise
from tests.parity.compare import format_of, peers

pytestmark = pytest.mark.peers

PYRAMIDS = {
    "cvt_13": {"image_size": (32, 32), "depth": (1, 2, 3)},
    "pvt_tiny": {"image_size": (32, 32), "depth": (1, 1, 1, 1)},
    "pvt_v2_b0": {"image_size": (32, 32), "depth": (1, 1, 1, 1)},
    "mit_b0": {"image_size": (32, 32), "depth": (1, 1, 1, 1)},
}


@pytest.mark.parametrize("name", PYRAMIDS)
def test_a_file_is_read_as_the_module_is(name, tmp_path):
    config = replace(models.config(name), **PYRAMIDS[name])
    made = (make() for make in peers(name, config))
    theirs = next(peer for peer in made if peer.label == "transformers")
    theirs.model.save_pretrained(tmp_path)
    written = load_file(tmp_path / "model.safetensors")

    format_ = recognise(models.family(name).FORMATS, written, config)
    assert format_.name == "transformers"
    found = format_.load(written, config)
    wanted = format_of(name, theirs.format).load(theirs.model.state_dict(), config)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[n], wanted[n]) for n in wanted)
    assert format_.save(found, root=theirs.root, config=config).keys() == written.keys()
