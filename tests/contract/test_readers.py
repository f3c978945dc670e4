"""What others read from a plain encoder can be read from the contract alone."""

from dataclasses import replace

import pytest
import torch

from patchword.heads.classify import classifier
from patchword.inspection.watch import record
from patchword.layers import to_tokens
from patchword.models.vit import ViTConfig
from patchword.weights.plain import TIMM
from tests.contract.tiny import CONFIGS, images, made
from tests.families.vit import VIT

PLAIN = {name: config for name, config in CONFIGS.items() if isinstance(config, ViTConfig)}
WITH_TOKENS = [name for name, config in PLAIN.items() if config.prefix]


@pytest.mark.parametrize("name", WITH_TOKENS)
def test_dpt_reads_a_middle_block_s_map_and_class_token(name):
    """Each cell beside the class token (DPT, arXiv:2103.13413, section 3.1)."""
    config = CONFIGS[name]
    backbone = made(config)
    (tap,) = backbone(images(config), taps=("blocks.2",)).taps
    token = tap.prefix[:, 0, :, None, None].expand_as(tap.map)
    joined = torch.cat([tap.map, token], dim=1)
    level = backbone.level("blocks.2")
    assert joined.shape[1] == 2 * level.channels
    x, grid = backbone.stem(images(config))
    for block in backbone.blocks[:3]:
        x = block(x, grid)
    assert torch.equal(joined[..., -1, -1], torch.cat([x[:, -1], x[:, 0]], dim=1))


@pytest.mark.parametrize("name", PLAIN)
def test_segmenter_reads_patches_after_the_last_norm(name):
    """The decoder's input (Segmenter, arXiv:2105.05633, section 3.1)."""
    config = PLAIN[name]
    backbone = made(config)
    (tap,) = backbone(images(config), taps=("final",)).taps
    patches = to_tokens(tap.map)
    x, grid = backbone.stem(images(config))
    for block in backbone.blocks:
        x = block(x, grid)
    assert torch.equal(patches, backbone.norm(x)[:, backbone.stem.count :])


def probe(backbone, batch):
    """Return the class tokens of the last four blocks, each through the last norm, side by side."""
    names = [level.name for level in backbone.levels][-5:-1]
    taps = backbone(batch, taps=names).taps
    return torch.cat([backbone.norm(tap.prefix[:, 0]) for tap in taps], dim=1)


def timm_s(config):
    """Return a timm model with the weights of ours."""
    from timm.models.vision_transformer import VisionTransformer

    backbone = made(config)
    theirs = VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        num_classes=5,
    ).eval()
    weights = classifier(backbone, 5).state_dict()
    theirs.load_state_dict(TIMM.save(weights))
    return backbone, theirs


@pytest.mark.peers
def test_dino_s_probe_is_timm_s():
    """Four class tokens, concatenated (DINO, arXiv:2104.14294, appendix F.2)."""
    backbone, theirs = timm_s(VIT)
    batch = images(VIT)
    layers = theirs.get_intermediate_layers(batch, n=4, return_prefix_tokens=True, norm=True)
    wanted = torch.cat([prefix[:, 0] for _, prefix in layers], dim=1)
    torch.testing.assert_close(probe(backbone, batch), wanted)


@pytest.mark.peers
def test_recorded_attention_is_timm_s():
    backbone, theirs = timm_s(VIT)
    batch, seen = images(VIT), []
    for block in theirs.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda *call: seen.append(call[-1]))
    theirs(batch)
    with record(backbone) as found:
        backbone(batch, taps=("final",))
    assert [*found] == [f"blocks.{i}.attn.attend" for i in range(VIT.depth)]
    for ours, wanted in zip(found.values(), seen, strict=True):
        torch.testing.assert_close(ours, wanted)


def test_dropout_is_of_training_alone():
    backbone = made(replace(VIT, drop_rate=0.5, drop_path_rate=0.5))
    batch = images(VIT)
    assert torch.equal(backbone(batch).pooled, made(VIT)(batch).pooled)
    assert not torch.equal(backbone.train()(batch).pooled, backbone(batch).pooled)
