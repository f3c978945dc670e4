"""CLIP as transformers writes it: a tower alone, with its projection, and beside the text."""

import json

import pytest
import torch

import patchword
from patchword import checkpoints, models
from patchword.checkpoints import kinds
from patchword.config import dump
from patchword.conversion import save
from patchword.errors import ConfigError, WeightsError
from patchword.weights.configs import KNOWN
from tests.parity.peer import perturbed
from tests.weights.foreign import close, images

pytestmark = pytest.mark.peers

TOWER = {
    **{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3},
    **{"intermediate_size": 44, "image_size": 32, "patch_size": 8},
}
WORDS = {
    **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 30},
    **{"intermediate_size": 20, "max_position_embeddings": 6},
}
CLASSES = 5


def tower(kind, **settings):
    import transformers

    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(**TOWER, **settings)
    return perturbed(getattr(transformers, kind)(config), kind).eval()


def both(vision=TOWER):
    import transformers

    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config=WORDS, vision_config=vision, projection_dim=CLASSES
    )
    return perturbed(transformers.CLIPModel(config), "both").eval()


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_there_and_back(tmp_path, act):
    theirs = tower("CLIPVisionModelWithProjection", projection_dim=CLASSES, hidden_act=act)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = patchword.load(tmp_path / "theirs")
    wanted = theirs(images()).image_embeds.detach()
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3 * wanted.abs().max()
    close(ours(images()).detach(), wanted)

    save(ours, tmp_path / "ours", format="transformers")
    again, said = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(said.values()), said
    close(again.eval()(images()).image_embeds.detach(), wanted)
    theirs_again, ours_again = theirs.state_dict(), again.state_dict()
    assert theirs_again.keys() == ours_again.keys()
    assert all(torch.equal(theirs_again[name], ours_again[name]) for name in theirs_again)


def test_the_tower_is_read_from_beside_the_text(tmp_path):
    theirs = both()
    theirs.save_pretrained(tmp_path)
    ours = patchword.load(tmp_path)
    close(ours(images()).detach(), theirs.get_image_features(images()).pooler_output.detach())
    (dropped,) = [line for line in ours.card.provenance["weights"] if line.startswith("dropped")]
    assert "text_model." in dropped and "beside the encoder" in dropped


def test_a_tower_without_its_projection_gets_a_fresh_head(tmp_path):
    theirs = tower("CLIPVisionModel")
    theirs.save_pretrained(tmp_path / "theirs")
    ours = patchword.load(tmp_path / "theirs")
    pooled = theirs(images()).pooler_output.detach()
    close(ours.backbone(images()).pooled.detach(), pooled)
    assert "the head of 2 classes" in "".join(ours.card.provenance["weights"])
    with torch.no_grad():
        ours.head["label"].bias += 1
    with pytest.raises(WeightsError, match=r"has no name for head\.label\.bias"):
        save(ours, tmp_path / "ours", format="transformers")


@pytest.mark.parametrize("kind", ["both", "CLIPVisionModelWithProjection"])
def test_a_bare_file_in_memory_is_recognised(tmp_path, kind):
    name = "vit_xsmall_patch16_clip_224"
    c = models.config(name)
    size = {
        **{"hidden_size": c.embed_dim, "num_hidden_layers": c.depth, "hidden_act": "gelu"},
        **{"num_attention_heads": c.num_heads, "intermediate_size": 4 * c.embed_dim},
        **{"image_size": 224, "patch_size": 16},
    }
    import transformers

    config = transformers.CLIPVisionConfig(**size, projection_dim=CLASSES)
    theirs = both(size) if kind == "both" else getattr(transformers, kind)(config).eval()
    torch.save(theirs.state_dict(), tmp_path / "clip.bin")
    ours = patchword.load(tmp_path / "clip.bin")
    assert ours.card.model == name
    batch = images((224, 224))
    wanted = theirs.get_image_features(batch).pooler_output if kind == "both" else theirs(batch)[0]
    close(ours(batch).detach(), wanted.detach())


def test_what_their_file_leaves_out_is_their_default():
    kind = next(kind for kind in kinds(KNOWN["clip"]) if kind.model_type == "clip")
    plain = dump(models.config("vit_base_patch32_clip_quickgelu_224"))
    read = kind.read({"vision_config": {}})
    differing = {name for name, value in read.items() if plain[name] != value}
    assert differing <= {"resample"}


@pytest.mark.parametrize(
    ("act", "name"),
    [
        ("quick_gelu", "vit_base_patch32_clip_quickgelu_224"),
        ("gelu", "vit_base_patch32_clip_224"),
    ],
)
def test_a_tower_is_called_after_its_gelu(tmp_path, act, name):
    import transformers

    theirs = transformers.CLIPVisionConfig(hidden_act=act).to_dict()
    card = checkpoints._card_of_transformers(theirs, tmp_path)
    assert (card.model, card.config["act"]) == (name, models.config(name).act)


def test_what_is_not_covered_is_refused_by_its_field(tmp_path):
    tower("CLIPVisionModel").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_act": "silu"}))
    with pytest.raises(ConfigError, match="hidden_act is 'silu'; only 'quick_gelu' or"):
        patchword.load(tmp_path)


def test_no_field_of_theirs_is_overlooked():
    import transformers

    for kind in kinds(KNOWN["clip"]):
        own = {name for name in vars(transformers.CLIPVisionConfig)["__annotations__"]}
        known = {*kind.unread, "hidden_size", "intermediate_size", "projection_dim"}
        for line in kind.settings:
            names = getattr(line, "theirs", "image_size")
            known |= {names} if isinstance(names, str) else {*names}
        assert own - {"model_type", "base_config_key"} - known == set()
