"""Pickled files: what torch writes is read as torch reads it; hostile ones do nothing."""

import argparse
import os
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from patchword.errors import WeightsError
from patchword.weights.files import opened, read
from patchword.weights.pickles import unpickled

BASE = torch.arange(24.0).view(4, 6)
TENSORS = {
    "plain": BASE,
    "turned": BASE.T,
    "slice": BASE[1:3, ::2],
    "scalar": torch.tensor(7),
    "empty": torch.empty(0, 3),
    "half": BASE.half(),
    "brain": BASE.bfloat16(),
    "double": BASE.double(),
    "flags": BASE > 3,
    "complex": torch.complex(BASE, BASE),
    "eighth": BASE.to(torch.float8_e4m3fn),
    "parameter": nn.Parameter(BASE),
}


@pytest.mark.parametrize("zipped", [True, False])
def test_it_reads_what_torch_reads(zipped, tmp_path):
    path = tmp_path / "w.pth"
    tensors = {n: t for n, t in TENSORS.items() if zipped or n != "eighth"}
    around = {"args": argparse.Namespace(lr=1, names=["a"]), "epoch": 3, "arch": "vit"}
    torch.save(
        {"model": OrderedDict(tensors), **around}, path, _use_new_zipfile_serialization=zipped
    )
    wanted = torch.load(path, weights_only=False)["model"]
    found = read(path)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        if name != "eighth":
            assert torch.equal(found[name], tensor), name


def test_a_torchscript_archive_is_read(tmp_path):
    net = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.BatchNorm1d(2)))
    path = tmp_path / "ViT-B-32.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is going, its archives are there
        torch.jit.script(net).save(str(path))
    found, wanted = read(path), net.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_types_of_other_libraries_are_left_out(tmp_path):
    """As yacs' settings are in Swin's files, which torch refuses to read."""

    class CfgNode(dict):
        pass

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    path = tmp_path / "w.pth"
    with pytest.MonkeyPatch.context() as patch:
        import sys
        import types

        module = types.ModuleType("yacs.config")
        module.CfgNode = CfgNode
        patch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
        patch.setitem(sys.modules, "yacs.config", module)
        torch.save({"model": {"a": BASE}, "config": CfgNode(lr=1)}, path)
    assert torch.equal(read(path)["a"], BASE)


def refused(path, **limits):
    with pytest.raises(WeightsError) as caught:
        unpickled(path, **limits) if limits else read(path)
    said = str(caught.value)
    assert "\n" not in said and path.name in said
    return said


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *given):
        self.call = function, given

    def __reduce__(self):
        return self.call


def test_no_name_is_imported_and_nothing_is_called(tmp_path):
    canary = tmp_path / "canary"
    path = tmp_path / "w.pth"
    traps = [Call(os.mkdir, str(canary)), Call(eval, f"__import__('os').mkdir({str(canary)!r})")]
    for trap in traps:
        torch.save({"model": {"a": BASE}, "args": trap}, path)
        assert "as no weights do and an attack would" in refused(path)
        path.write_bytes(pickle.dumps(trap))
        refused(path)
    assert not canary.exists()
    pickle.loads(pickle.dumps(traps[0]))
    assert canary.exists()  # the trap works


def rewritten(path, tmp_path, change, compression=zipfile.ZIP_STORED):
    """Copy a zip file with its pickle changed."""
    new = tmp_path / "new.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(new, "w", compression) as made:
        for entry in old.infolist():
            content = old.read(entry)
            made.writestr(
                entry.filename, change(content) if "data.pkl" in entry.filename else content
            )
    return new


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": BASE}, path)
    return path


def test_a_zip_bomb_is_refused(path, tmp_path):
    bomb = rewritten(path, tmp_path, lambda content: bytes(10**7), zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 10**5
    assert "its records are compressed" in refused(bomb)


def test_a_tensor_that_claims_more_than_is_stored_is_refused(path, tmp_path):
    claims = rewritten(path, tmp_path, lambda c: c.replace(b"K\x04K\x06", b"K\xffK\x06"))
    assert "larger than what is stored" in refused(claims)
    spread = rewritten(path, tmp_path, lambda c: c.replace(b"K\x06K\x01\x86", b"K\x00K\x00\x86"))
    assert read(spread)["a"].unique().tolist() == [0.0]  # within bounds: as it says
    spread = rewritten(
        path,
        tmp_path,
        lambda c: c.replace(b"K\x04K\x06", b"K\xffK\xff").replace(
            b"K\x06K\x01\x86", b"K\x00K\x00\x86"
        ),
    )
    assert "larger than what is stored" in refused(spread)


def test_a_pickle_that_takes_memory_is_stopped(path, tmp_path):
    doubling = b"\x80\x02(" + b"X" + struct.pack("<I", 2**30) + b"a" * 10 + b"."
    refused(rewritten(path, tmp_path, lambda content: doubling))
    many = b"\x80\x02]" + b"(" + b"K\x01" * 4_000_000 + b"e."
    assert "memory" in refused(
        rewritten(path, tmp_path, lambda c: many), seconds=20, memory=60 << 20
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limits of processor time")
def test_a_pickle_that_takes_time_is_stopped(path, tmp_path):
    slow = b"\x80\x02]" + b"(e" * 150_000_000 + b"."
    refused(rewritten(path, tmp_path, lambda content: slow), seconds=1, memory=2 << 30)


def test_half_a_file_and_no_file_of_torch(path, tmp_path):
    whole = path.read_bytes()
    for share in (0.2, 0.6, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.png", b"x")
    assert "no weights" in refused(path)
    torch.save({"a": BASE}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-8])
    assert "not all of its numbers" in refused(path)


def test_networks_beside_each_other_are_named(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"model": {"a": BASE}, "model_ema": {"a": BASE + 1}}, path)
    assert opened(path).beside == ("model_ema",)
    assert torch.equal(opened(path, "model_ema").tensors["a"], BASE + 1)
