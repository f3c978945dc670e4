"""Every head beside its live references, which are read as a file and as a module are."""

import importlib

import pytest
import torch
from safetensors.torch import load_file

from patchword import heads, models
from tests.heads import HEADS
from tests.heads.peer import CLOSE, apart

pytestmark = pytest.mark.peers
LIVE = {
    f"{head}-{name}": make
    for head, it in HEADS.items()
    for name, make in it.PEERS.items()
    if not any(pair[1].kind == "objects" for pair in it.TINY.values())
}


@pytest.mark.parametrize("name", LIVE)
def test_answers_and_gradients_are_the_reference_s(name):
    torch.manual_seed(0)
    found = apart(LIVE[name](), name)
    assert all(found[what] <= limit for what, limit in CLOSE.items()), found


FILES = [name for name in LIVE if not name.endswith("packaged")]  # whose names files have


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_the_module_is(name, tmp_path):
    torch.manual_seed(0)
    peer = LIVE[name]()
    peer.model.save_pretrained(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    below = importlib.import_module(f"{models.__name__}.{peer.family}").FORMATS
    known = importlib.import_module(f"{heads.__name__}.{peer.file}").FORMATS
    formats = {f.name: f.around(below) for f in known}
    config = peer.pair[0]
    format_ = formats[peer.format.removesuffix(" in memory")]
    found = format_.load(written, config)
    wanted = formats[peer.format].load(peer.model.state_dict(), config)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    back = format_.save(found, config=config)
    assert {n for n in back.keys() ^ written.keys() if not format_.ignores(n)} == set()
