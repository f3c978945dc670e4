"""UPerNet beside transformers', on Swin and on BEiT."""

from dataclasses import replace

from patchword.heads.dense import resized
from patchword.heads.upernet import UPerNetConfig
from patchword.models.beit import BEiTConfig
from patchword.models.resnet import VARIANTS
from patchword.models.swin import SwinConfig
from tests.families import beit, pvtv2, vit
from tests.heads import packaged
from tests.heads.peer import DensePeer

FAMILY = None
SMALL = UPerNetConfig(channels=12, bins=(1, 2), aux_channels=6)
SWIN = SwinConfig(
    image_size=(120, 120),
    embed_dim=16,
    depth=(1, 2, 1, 1),
    num_heads=(2, 2, 4, 4),
    window_size=(4, 4, 4, 4),
    tiling="authors",
)
BEIT = BEiTConfig(
    image_size=(32, 32),
    patch_size=8,
    embed_dim=24,
    depth=5,
    num_heads=3,
    mlp_ratio=2.0,
    pool="token",
)
LEVELS = tuple(f"blocks.{i}" for i in range(4))
TINY = {
    "pyramid": (pvtv2.TINY["strided"], SMALL),
    "norms": (SWIN, replace(SMALL, norms=True, aux_convs=2)),
    "plain": (vit.VIT, SMALL),
    "levels": (replace(beit.TINY["token"], depth=4), replace(SMALL, levels=LEVELS, aux=False)),
}


def on_swin(pair, classes=5):
    """Return transformers' UPerNet on its Swin."""
    from transformers import SwinConfig as Theirs
    from transformers import UperNetConfig, UperNetForSemanticSegmentation

    c, head = pair
    below = Theirs(
        image_size=c.image_size[0],
        patch_size=c.patch_size,
        embed_dim=c.embed_dim,
        depths=list(c.depth),
        num_heads=list(c.num_heads),
        window_size=c.window_size[0],
        out_features=[f"stage{i}" for i in (1, 2, 3, 4)],
    )
    about = UperNetConfig(
        backbone_config=below,
        hidden_size=head.channels,
        num_labels=classes,
        auxiliary_channels=head.aux_channels,
        auxiliary_in_channels=4 * c.embed_dim,
    )

    def see(model, batch):
        maps = model.backbone(batch).feature_maps
        aux = model.auxiliary_head(maps)
        return {"main": model(batch).logits, "aux": resized(aux, batch.shape[2:])}

    return DensePeer(
        model=UperNetForSemanticSegmentation(about),
        see=see,
        pair=pair,
        file="upernet",
        format="transformers in memory",
        family="swin",
        classes=classes,
    )


def on_beit(pair, classes=5):
    """Return transformers' BEiT with UPerNet, whose indices are one more than its blocks'."""
    from transformers import BeitConfig, BeitForSemanticSegmentation

    c, head = pair
    places = [int(name.rpartition(".")[2]) for name in head.levels]
    about = BeitConfig(
        image_size=c.image_size[0],
        patch_size=c.patch_size,
        hidden_size=c.embed_dim,
        num_hidden_layers=c.depth,
        num_attention_heads=c.num_heads,
        intermediate_size=int(c.mlp_ratio * c.embed_dim),
        use_relative_position_bias=True,
        layer_norm_eps=c.norm_eps,
        auxiliary_channels=head.aux_channels,
        num_labels=classes,
    )
    about._out_indices = [place + 2 for place in places]  # which it refuses of the last block

    def see(model, batch):
        states = model.beit(batch, output_hidden_states=True).hidden_states
        rows = batch.shape[2] // c.patch_size
        maps = [states[i + 1][:, 1:].mT.unflatten(2, (rows, -1)) for i in places]
        maps = model.fpn(tuple(maps))
        found = {"main": model(batch).logits, "aux": model.auxiliary_head(maps)}
        return {name: resized(logits, batch.shape[2:]) for name, logits in found.items()}

    return DensePeer(
        model=BeitForSemanticSegmentation(about),
        see=see,
        pair=pair,
        file="upernet",
        format="transformers of BEiT in memory",
        family="beit",
        classes=classes,
    )


WIDE = {"bins": (1, 2, 3, 6)}
ON_BEIT = replace(SMALL, channels=BEIT.embed_dim, levels=LEVELS, **WIDE)
PACKAGED = (
    replace(VARIANTS["resnet18"], image_size=(64, 64)),
    replace(SMALL, norms=True, aux=False, **WIDE),
)
PEERS = {
    "swin": lambda: on_swin((SWIN, replace(SMALL, norms=True, **WIDE))),
    "beit": lambda: on_beit((BEIT, ON_BEIT)),
    "packaged": lambda: packaged.upernet(PACKAGED),
}
WHOLE = {
    "upernet_swin_*": {"transformers": on_swin},
    "upernet_beit_*": {"transformers": on_beit},
}
GOLDENS = {}
