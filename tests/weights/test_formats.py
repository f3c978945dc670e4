"""Names both ways: a format's tensors become ours and theirs again, bit for bit."""

import pytest
import torch

from patchword.errors import WeightsError
from patchword.weights import Format, Rule, fill, recognise
from patchword.weights.plain import FORMATS
from tests.weights.foreign import timm_model, transformers_model

FORMAT = {format.name: format for format in FORMATS}
MEMORY = "transformers in memory"
KINDS = {
    "ViTForImageClassification": MEMORY,
    "DeiTForImageClassification": MEMORY,
    "DeiTForImageClassificationWithTeacher": f"{MEMORY} distilled",
}
TIMM = ("vit_tiny_patch16_224", "vit_base_patch16_reg4_gap_256", "vit_small_patch14_reg4_dinov2")


def same(found, wanted):
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.peers
@pytest.mark.parametrize("name", [*TIMM, "deit_tiny_distilled_patch16_224"])
def test_timm_s_names_there_and_back(name):
    theirs = timm_model(name, depth=2).state_dict()
    assert recognise(FORMATS, theirs).name == "timm"
    same(FORMAT["timm"].save(FORMAT["timm"].load(theirs)), theirs)


@pytest.mark.peers
@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_transformers_names_there_and_back(kind, name):
    model = transformers_model(kind)
    theirs = model.state_dict()
    format_ = recognise(FORMATS, theirs)
    assert format_.load(theirs).keys() == FORMAT[name].load(theirs).keys()
    same(FORMAT[name].save(format_.load(theirs), root=f"{model.base_model_prefix}."), theirs)


@pytest.mark.peers
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_files_are_the_format_on_disk(tmp_path, kind):
    from safetensors.torch import load_file

    model = transformers_model(kind)
    model.save_pretrained(tmp_path)
    theirs = load_file(tmp_path / "model.safetensors")
    format_ = FORMAT["transformers distilled" if "Teacher" in kind else "transformers"]
    same(format_.save(format_.load(theirs), root=f"{model.base_model_prefix}."), theirs)


TOY = Format(
    "toy",
    Rule(("q.#.*", "k.#.*"), "blocks.#.qk.*"),
    Rule("table", "stem.table"),
    head=(Rule("score.*", "head.label.*"),),
    root=("net.",),
    ignore=("extra.*",),
)


def toy(seed=0):
    torch.manual_seed(seed)
    names = [f"{part}.{i}.weight" for i in range(12) for part in "qk"]
    theirs = {f"net.{name}": torch.randn(2, 3) for name in [*names, "table"]}
    return {**theirs, "score.bias": torch.randn(4)}


def test_parts_numbers_and_rests_of_names_are_carried_over():
    theirs = toy()
    ours = TOY.load(theirs)
    wanted = torch.cat([theirs["net.q.11.weight"], theirs["net.k.11.weight"]])
    assert torch.equal(ours["backbone.blocks.11.qk.weight"], wanted)
    same(TOY.save(ours), theirs)


def test_what_has_no_part_is_left_out_and_the_rest_is_refused_by_name():
    theirs, one = toy(), torch.zeros(1)
    same(TOY.load({**theirs, "net.extra.0.bias": one}), TOY.load(theirs))
    with pytest.raises(WeightsError, match=r"not names of the toy format: net\.z, y$"):
        TOY.load({**theirs, "net.z": one, "y": one})
    del theirs["net.k.3.weight"]
    with pytest.raises(WeightsError, match=r"blocks\.3\.qk\.weight"):
        TOY.load(theirs)
    with pytest.raises(WeightsError, match=r"the toy format has no name for backbone\.new"):
        TOY.save({"backbone.new": one})


def test_the_nearest_format_is_named_where_none_fits():
    theirs = {
        "cls_token": torch.zeros(1, 1, 4),
        "blocks.0.norm.w": torch.zeros(4),
        "oops": torch.zeros(1),
    }
    with pytest.raises(WeightsError, match=r"no known format; timm does not know oops$"):
        recognise(FORMATS, theirs)


def test_all_that_does_not_fit_is_in_one_error():
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 3), "b": torch.nn.Linear(3, 1)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = {**before, "a.weight": torch.zeros(3, 5), "c.bias": torch.zeros(2)}
    del given["b.bias"]
    with pytest.raises(WeightsError) as caught:
        fill(model, given, fresh=["d."])
    said = str(caught.value)
    for fault in (
        "missing b.bias",
        "left over c.bias",
        "shape of a.weight: (3, 5) for (3, 2)",
        "not there d.",
    ):
        assert fault in said
    assert "\n" not in said
    same(model.state_dict(), before)


def test_what_is_to_stay_fresh_stays():
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 3), "b": torch.nn.Linear(3, 1)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = {name: tensor + 1 for name, tensor in before.items()}
    fill(model, given, fresh=["b.", "a.bias"])
    same(model.state_dict(), {**before, "a.weight": given["a.weight"]})


def test_a_family_of_ours_alone_says_so():
    with pytest.raises(WeightsError, match="no other project has weights of this family"):
        recognise((), ["blocks.0.norm.w"])
