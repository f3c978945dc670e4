"""The benchmark of what a teacher costs gets through, and every kept answer is the loop's."""

from dataclasses import replace

import torch
from torch import nn

from benchmarks import teacher
from patchword.conversion import save
from patchword.factory import create_model

MODEL = "vit_micro_patch2_8"


def test_a_teacher_asked_once_says_what_it_says_in_the_loop(tmp_path):
    torch.manual_seed(0)
    model = create_model(MODEL, num_classes=10)
    for head in model.head.values():
        nn.init.normal_(head.weight)
    model.card = replace(model.card, classes=tuple("0123456789"))
    save(model, tmp_path / "taught")
    words = ("digits", "--teacher", str(tmp_path / "taught"), "--model", MODEL)
    words += ("--epochs", "2", "--steps", "2", "--precision", "fp32", "--out", str(tmp_path))
    teacher.main(words)
    rows = [line.split(" | ") for line in (tmp_path / "table.md").read_text().splitlines()[-4:]]
    names, shares = [row[0] for row in rows], [row[-1].rstrip(" |") for row in rows]
    assert names == [
        "| none",
        "| in the loop",
        "| asked once, first run",
        "| asked once, second run",
    ]
    first, *others = shares[1:]
    count, _, total = first.partition(" of ")
    assert count == total and int(total.replace(",", "")) > 0 and others == [first, first]
    assert not shares[0]
