"""Files that are damaged, foreign or malicious end in one line that says so."""

import json
import os
import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file

from patchword.errors import PatchwordError, WeightsError
from patchword.weights.files import read, write

TENSORS = {"weight": torch.arange(64.0).view(8, 8), "bias": torch.ones(8)}


def refused(path):
    with pytest.raises(WeightsError) as caught:
        read(path)
    said = str(caught.value)
    assert "\n" not in said and path.name in said
    return said


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "w.safetensors"
    write(path, TENSORS)
    return path


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path)


def test_every_flipped_bit_is_noticed(path):
    """One bit in each byte: of the length, of the header, of the tensors."""
    whole, read_anyway = path.read_bytes(), []
    wanted = {name: tensor.clone() for name, tensor in TENSORS.items()}
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ (1 << (i % 8))]) + whole[i + 1 :])
        try:
            found = read(path)
        except WeightsError as error:
            assert "\n" not in str(error)
        else:
            same = found.keys() == wanted.keys() and all(
                torch.equal(found[name], wanted[name]) for name in wanted
            )
            read_anyway += [] if same else [i]
    assert read_anyway == []  # what is read is what was written


def test_a_damaged_tensor_is_named_as_damage(path):
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(bytes(whole))
    assert "is damaged" in refused(path)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
def test_pickled_code_does_not_run(tmp_path, suffix):
    canary = tmp_path / "canary"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(canary),)

    path = tmp_path / f"w{suffix}"
    for content in ({"model": {"a": torch.zeros(1)}, "args": Trap()}, Trap()):
        torch.save(content, path)
        refused(path)
    path.write_bytes(pickle.dumps(Trap()))
    refused(path)
    assert not canary.exists()
    pickle.loads(path.read_bytes())
    assert canary.exists()  # the trap works


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(1)],
        torch.zeros(1),
        7,
        "weights",
        {"epoch": 3},
        {"model": {"a": "b"}},
        {"model": {"model": {"state_dict": 3}}},
        {1: {2: torch.zeros(1)}},
    ],
    ids=str,
)
def test_what_is_not_a_mapping_of_tensors_is_refused(tmp_path, content):
    path = tmp_path / "w.pt"
    torch.save(content, path)
    refused(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"PK\x03\x04" + bytes(50), b"<html></html>"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_is_no_weight_file_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    refused(path)


def test_other_suffixes_folders_and_nothing_are_refused(tmp_path):
    path = tmp_path / "w.onnx"
    assert "there is no weight file" in refused(path)
    path.write_bytes(b"1")
    assert "weights are read from .safetensors, .pt, .pth, .bin" in refused(path)
    folder = tmp_path / "w.safetensors"
    folder.mkdir()
    refused(folder)


def test_headers_that_lie_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    entry = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}
    for header in ({"a": entry}, {"a": {**entry, "shape": [1], "data_offsets": [0, 2**50]}}, [1]):
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
        refused(path)
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    refused(path)


def test_notes_that_are_no_json_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(TENSORS, path, metadata={"notes": "{not json"})
    refused(path)


def test_a_folder_with_a_config_that_lies_is_refused(tmp_path):
    from patchword.checkpoints import load

    write(tmp_path / "model.safetensors", TENSORS)
    for config in (
        "{",
        "[]",
        "{}",
        '{"model_type": "bert"}',
        '{"model_type": "vit"}',
        '{"architecture": "vit_tiny_patch16_225"}',
        '{"architecture": "vit_tiny_patch16_224"}',
    ):
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(PatchwordError) as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)
