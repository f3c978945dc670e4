"""MiT: SegFormer's encoder, the Mix Transformer.

Paper      Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
           Transformers", NeurIPS 2021, arXiv:2105.15203
Reference  github.com/NVlabs/SegFormer, mmseg/models/backbones/mix_transformer.py; read by the
           cells' mean as in transformers' SegformerForImageClassification
Departures none; the network is PVT v2's with narrower MLPs, so it is written there
"""

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.models.pvtv2 import AUTHORS, PVTv2Config
from patchword.weights import Format, Rule

NARROW = (4.0, 4.0, 4.0, 4.0)

VARIANTS = {
    "mit_b0": PVTv2Config(embed_dim=(32, 64, 160, 256), mlp_ratio=NARROW),
    "mit_b1": PVTv2Config(mlp_ratio=NARROW),
    "mit_b2": PVTv2Config(depth=(3, 4, 6, 3), mlp_ratio=NARROW),
    "mit_b3": PVTv2Config(depth=(3, 4, 18, 3), mlp_ratio=NARROW),
    "mit_b4": PVTv2Config(depth=(3, 8, 27, 3), mlp_ratio=NARROW),
    "mit_b5": PVTv2Config(depth=(3, 6, 40, 3), mlp_ratio=NARROW),
}

CLAIMS = {  # the parameters stated beside these are PVT v2's, a little more than the code has
    "mit_b0": Claim(top1=70.5, source="transformers' model page"),
    "mit_b1": Claim(top1=78.7, source="transformers' model page"),
    "mit_b2": Claim(top1=81.6, source="transformers' model page"),
    "mit_b3": Claim(top1=83.1, source="transformers' model page"),
    "mit_b4": Claim(top1=83.6, source="transformers' model page"),
    "mit_b5": Claim(top1=83.8, source="transformers' model page"),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

ON_DISK = {
    **{"embed": "encoder.patch_embeddings.#", "norm": "encoder.layer_norm.#"},
    "block": "encoder.block.#.#",
    **{"query": "self.query", "key": "self.key", "value": "self.value", "output": "output.dense"},
    **{"conv": "self.sr", "conv_norm": "self.layer_norm"},
    **{"norm1": "layer_norm_1", "norm2": "layer_norm_2", "fc1": "dense1", "fc2": "dense2"},
}
IN_MEMORY = {
    **{"embed": "stages.#.patch_embeddings", "norm": "stages.#.layer_norm"},
    "block": "stages.#.blocks.#",
    **{"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"},
    "conv": "sequence_reduction.sequence_reduction",
    "conv_norm": "sequence_reduction.layer_norm",
    **{"norm1": "layernorm_before", "norm2": "layernorm_after", "fc1": "fc1", "fc2": "fc2"},
}


def transformers_format(name: str, names: dict[str, str]) -> Format:
    """Return transformers' names, which are others in a file than in a module."""
    embed, norm, block = names["embed"], names["norm"], names["block"]
    attention, mlp, ours = f"{block}.attention", f"{block}.mlp", "stages.#.blocks.#"
    return Format(
        name,
        Rule(f"{embed}.proj.*", "stages.#.embed.proj.*"),
        Rule(f"{embed}.layer_norm.*", "stages.#.embed.norm.*"),
        Rule(f"{block}.{names['norm1']}.*", f"{ours}.norm1.*"),
        Rule(f"{attention}.{names['query']}.*", f"{ours}.attn.q.*"),
        Rule(tuple(f"{attention}.{names[n]}.*" for n in ("key", "value")), f"{ours}.attn.kv.*"),
        Rule(f"{attention}.{names['conv']}.*", f"{ours}.attn.reduce.conv.*"),
        Rule(f"{attention}.{names['conv_norm']}.*", f"{ours}.attn.reduce.norm.*"),
        Rule(f"{attention}.{names['output']}.*", f"{ours}.attn.proj.*"),
        Rule(f"{block}.{names['norm2']}.*", f"{ours}.norm2.*"),
        Rule(f"{mlp}.{names['fc1']}.*", f"{ours}.mlp.fc1.*"),
        Rule(f"{mlp}.dwconv.dwconv.*", f"{ours}.mlp.dwconv.*"),
        Rule(f"{mlp}.{names['fc2']}.*", f"{ours}.mlp.fc2.*"),
        Rule(f"{norm.replace('#', '3')}.*", "norm.*"),
        Rule(f"{norm}.*", "stages.#.norm.*"),
        head=(Rule("classifier.*", "head.label.*"),),
        root=("segformer.",),
    )


FORMATS = (
    AUTHORS,
    transformers_format("transformers", ON_DISK),
    transformers_format("transformers in memory", IN_MEMORY),
)
