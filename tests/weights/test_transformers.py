"""Every family that transformers has: its folders are read, and ours it reads, answering alike."""

from dataclasses import replace

import pytest
import torch

import patchword
from patchword import models
from patchword.checkpoints import kinds
from patchword.conversion import save
from patchword.errors import ConfigError
from patchword.factory import create_model
from patchword.weights.configs import KNOWN
from tests.parity.peer import perturbed
from tests.weights.foreign import CLASSES, close, images

pytestmark = pytest.mark.peers

PLAIN = {
    **{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3},
    **{"intermediate_size": 44, "image_size": 32, "patch_size": 8},
}
FOUR = {
    **{"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 2, 1], "mlp_ratios": [2, 3, 1, 2]},
    **{"num_attention_heads": [1, 2, 2, 2]},
}
WINDOWS = {
    **{"image_size": 32, "patch_size": 2, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3]},
    **{"window_size": 4},
}
CVT = {"embed_dim": [8, 12, 20], "depth": [1, 2, 3], "num_heads": [1, 2, 2]}
LEVIT = {
    **{"hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 3, 4], "depths": [1, 2, 1]},
    **{"key_dim": [8, 8, 8], "image_size": 64},
}
DINOV2 = {
    **{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3},
    **{"mlp_ratio": 2, "image_size": 32, "patch_size": 8},
}
CASES = {  # model type -> architecture, and configurations of it
    "vit": ("ViT", {"plain": PLAIN, "tanh": {**PLAIN, "hidden_act": "gelu_pytorch_tanh"}}),
    "deit": ("DeiT", {"plain": PLAIN}),
    "beit": (
        "Beit",
        {
            "each": {**PLAIN, "use_relative_position_bias": True, "use_mask_token": True},
            "shared": {**PLAIN, "use_shared_relative_position_bias": True},
            "absolute": {
                **PLAIN,
                **{"use_absolute_position_embeddings": True, "use_mean_pooling": False},
                **{"layer_scale_init_value": 0.0, "layer_norm_eps": 1e-6},
            },
        },
    ),
    "swin": (
        "Swin",
        {
            "tiled": WINDOWS,
            "padded": {**WINDOWS, "image_size": [36, 52], "qkv_bias": False, "mlp_ratio": 2.0},
            "absolute": {**WINDOWS, "use_absolute_embeddings": True, "num_channels": 1},
        },
    ),
    "swinv2": (
        "Swinv2",
        {
            "tiled": {**WINDOWS, "pretrained_window_sizes": [0, 0]},
            "pretrained": {**WINDOWS, "pretrained_window_sizes": [3, 2], "qkv_bias": False},
        },
    ),
    "pvt": (
        "Pvt",
        {
            "four": {
                **FOUR,
                "num_labels": 5,
                "image_size": 64,
                "sequence_reduction_ratios": [4, 2, 2, 1],
            }
        },
    ),
    "pvt_v2": (
        "PvtV2",
        {
            "four": FOUR,
            "linear": {**FOUR, "linear_attention": True},
            "two": {
                **{name: values[:2] for name, values in FOUR.items()},
                **{"num_encoder_blocks": 2, "patch_sizes": [7, 3], "strides": [4, 2]},
                **{"sr_ratios": [4, 2], "layer_norm_eps": 1e-5},
            },
        },
    ),
    "segformer": ("Segformer", {"four": FOUR, "wide": {**FOUR, "sr_ratios": [4, 4, 1, 1]}}),
    "dinov2": ("Dinov2", {"plain": DINOV2, "tanh": {**DINOV2, "hidden_act": "gelu_new"}}),
    "dinov2_with_registers": (
        "Dinov2WithRegisters",
        {"four": DINOV2, "one": {**DINOV2, "num_register_tokens": 1, "layerscale_value": 0.5}},
    ),
    "cvt": ("Cvt", {"three": CVT, "narrow": {**CVT, "mlp_ratio": [1.5] * 3}}),
    "levit": ("Levit", {"three": LEVIT}),
    "bit": (
        "Bit",
        {"narrow": {"embedding_size": 32, "hidden_sizes": [128, 256], "depths": [1, 2]}},
    ),
    "resnet": (
        "ResNet",
        {
            "bottleneck": {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [2, 1]},
            "basic": {
                **{"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2]},
                "layer_type": "basic",
            },
        },
    ),
}
CLIP = {"clip", "clip_vision_model"}  # no classifiers; see test_transformers_clip
RUNS = [(name, case) for name, (_, cases) in CASES.items() for case in cases]
TEACHERS = {"deit": "DeiT", "levit": "Levit"}


def config_of(model_type, case="plain", **more):
    import transformers

    prefix, cases = CASES[model_type]
    return getattr(transformers, f"{prefix}Config")(
        **cases[case], **more, id2label=dict(enumerate(CLASSES)), label2id={}
    )


def theirs_of(model_type, case, *, teacher=False):
    import transformers

    torch.manual_seed(0)
    config = config_of(model_type, case)
    kind = f"{CASES[model_type][0]}ForImageClassification{'WithTeacher' if teacher else ''}"
    return settled(perturbed(getattr(transformers, kind)(config), case))


def settled(model):
    """Let batch norms take the statistics of images, so that these reach the logits."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train().momentum = 1.0
    if norms:
        with torch.no_grad():
            model(torch.randn(8, 3, 64, 64))
    return model.train().eval()  # LeViT keeps what it worked out in evaluation


def batch_of(model):
    frame = model.card.preprocessing
    return images(frame.image_size, len(frame.mean))


def agree(ours, theirs, batch):
    wanted = theirs(batch).logits.detach()
    found = ours(batch).detach()
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3 * wanted.abs().max()  # images matter
    close(found, wanted)


@pytest.mark.parametrize(("model_type", "case"), RUNS)
def test_there_and_back(tmp_path, model_type, case):
    from transformers import AutoModelForImageClassification as Auto

    theirs = theirs_of(model_type, case)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = patchword.load(tmp_path / "theirs")
    agree(ours, theirs, batch_of(ours))
    assert ours.card.classes == CLASSES

    save(ours, tmp_path / "ours", format="transformers")
    again, said = Auto.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(said.values()), said
    assert type(again) is type(theirs)
    agree(ours, again.eval(), batch_of(ours))
    assert [*again.config.id2label.values()] == [*CLASSES]


@pytest.mark.parametrize("model_type", CASES)
def test_in_several_files_and_under_the_names_in_memory(tmp_path, model_type):
    theirs = theirs_of(model_type, next(iter(CASES[model_type][1])))
    theirs.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len([*tmp_path.glob("*.safetensors")]) > 1
    ours = patchword.load(tmp_path)
    agree(ours, theirs, batch_of(ours))
    for path in tmp_path.glob("*.safetensors*"):
        path.unlink()
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    agree(patchword.load(tmp_path), theirs, batch_of(ours))


def test_every_type_has_a_case():
    assert {*KNOWN} == {*CASES} | CLIP


@pytest.mark.parametrize("kind", ["Dinov2", "Dinov2WithRegisters"])
def test_an_encoder_without_a_head_is_read(tmp_path, kind):
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**DINOV2)
    theirs = perturbed(getattr(transformers, f"{kind}Model")(config), kind)
    theirs.save_pretrained(tmp_path)
    ours = patchword.load(tmp_path)
    batch = batch_of(ours)
    close(ours.backbone(batch).pooled.detach(), theirs(batch).pooler_output.detach())
    assert "the head of 2 classes" in "".join(ours.card.provenance["weights"])


@pytest.mark.parametrize("model_type", TEACHERS)
def test_two_heads_there_and_back(tmp_path, model_type):
    theirs = theirs_of(model_type, next(iter(CASES[model_type][1])), teacher=True)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = patchword.load(tmp_path / "theirs")
    agree(ours, theirs, batch_of(ours))
    save(ours, tmp_path / "ours", format="transformers")
    again, said = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(said.values()), said
    agree(ours, again.eval(), batch_of(ours))


@pytest.mark.parametrize("model_type", CASES)
def test_no_field_of_theirs_is_overlooked(model_type):
    """Each changes our settings, is refused, or is known to change no answer."""
    config = config_of(model_type, next(iter(CASES[model_type][1])))
    kind = [kind for kind in kinds(KNOWN[model_type]) if kind.model_type == model_type][-1]
    known = {*kind.unread}
    for line in kind.settings:
        names = getattr(line, "theirs", "image_size")
        known |= {names} if isinstance(names, str) else {*names}
    known |= {"hidden_size", "intermediate_size"}
    own = {name for name in vars(type(config))["__annotations__"] if not name.startswith("_")}
    assert own - {"model_type", "layer_types", "num_labels"} - known == set()
    assert own >= {*kind.unread}


REFUSED = {
    "vit": ({"qkv_bias": False}, "qkv_bias is False; only True"),
    "deit": ({"hidden_act": "relu"}, "hidden_act is 'relu'; only 'gelu' or"),
    "beit": ({"use_relative_position_bias": True, "use_shared_relative_position_bias": True},
             "use_relative_position_bias and use_shared_relative_position_bias"),
    "swin": ({"layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-06; only 1e-05"),
    "swinv2": ({"use_absolute_embeddings": True}, "use_absolute_embeddings is True"),
    "dinov2": ({"use_swiglu_ffn": True}, "use_swiglu_ffn is True; only False"),
    "dinov2_with_registers": ({"qkv_bias": False}, "qkv_bias is False; only True"),
    "pvt": ({"strides": [4, 2, 2, 1]}, "strides is .*; only patch_sizes's"),
    "pvt_v2": ({"qkv_bias": False}, "qkv_bias is False"),
    "segformer": ({"num_encoder_blocks": 3}, "num_encoder_blocks is 3; only 4"),
    "cvt": ({"kernel_qkv": [3, 3, 5]}, "kernel_qkv is .*; only 3 in every stage"),
    "levit": ({"attention_ratio": [2, 2, 4]}, "attention_ratio is"),
    "bit": ({"layer_type": "bottleneck"}, "layer_type is 'bottleneck'"),
    "resnet": ({"downsample_in_bottleneck": True}, "downsample_in_bottleneck is True"),
}  # fmt: skip


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_is_not_covered_is_refused_by_its_field(tmp_path, model_type):
    changed, words = REFUSED[model_type]
    theirs = theirs_of(model_type, next(iter(CASES[model_type][1])))
    theirs.save_pretrained(tmp_path)
    for name, value in changed.items():
        setattr(theirs.config, name, value)
    theirs.config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=words) as caught:
        patchword.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cvt_13", "act is 'quick'; transformers' network has only 'exact'"),
        ("pvt_tiny", "reduce_norm_eps is 1e-05; .* only norm_eps's 1e-06"),
        ("swin_s3_tiny_224", "window_size is .* only the same in every stage"),
        ("levit_384_s8", "transformers' network has only"),
        ("vit_base_patch16_gap_224", "transformers' network has only"),
        ("vit_small_patch14_reg4_dinov2", "registers is 4; transformers' network has only 0"),
        ("pit_ti_224", "transformers has no network like pit_ti_224"),
    ],
)
def test_what_theirs_cannot_say_is_not_written(tmp_path, name, words):
    with torch.device("meta"):
        model = create_model(name, num_classes=3)
    with pytest.raises(ConfigError, match=words) as caught:
        save(model, tmp_path / "out", format="transformers")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_variant_keeps_its_name(tmp_path):
    model = create_model("resnet18", num_classes=len(CLASSES)).eval()
    model.card = replace(model.card, classes=CLASSES)
    save(model, tmp_path, format="transformers")
    again = patchword.load(tmp_path)
    assert again.card.model == "resnet18" and models.config("resnet18").build()
    assert again.card.preprocessing == model.card.preprocessing
