"""MiT: SegFormer's encoder, the Mix Transformer.

Paper      Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
           Transformers", NeurIPS 2021, arXiv:2105.15203
Reference  github.com/NVlabs/SegFormer, mmseg/models/backbones/mix_transformer.py; read by the
           cells' mean as in transformers' SegformerForImageClassification
Departures none; the network is PVT v2's with narrower MLPs, so it is written there
"""

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.models.pvtv2 import AUTHORS, PYRAMID, PVTv2Config
from patchword.weights import Format, Rule, modules, within
from patchword.weights.configs import Kind
from patchword.weights.settings import Ours

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
    norm = names["norm"]
    attention = {
        names["query"]: "q",
        (names["key"], names["value"]): "kv",
        names["conv"]: "reduce.conv",
        names["conv_norm"]: "reduce.norm",
        names["output"]: "proj",
    }
    mlp = {names["fc1"]: "fc1", "dwconv.dwconv": "dwconv", names["fc2"]: "fc2"}
    return Format(
        name,
        *within(names["embed"], "stages.#.embed", *modules({"proj": "proj", "layer_norm": "norm"})),
        *within(
            names["block"],
            "stages.#.blocks.#",
            *modules({names["norm1"]: "norm1", names["norm2"]: "norm2"}),
            *within("attention", "attn", *modules(attention)),
            *within("mlp", "mlp", *modules(mlp)),
        ),
        Rule(f"{norm}.*", "stages.#.norm.*"),
        head=(Rule("classifier.*", "head.label.*"),),
        root=("segformer.",),
        placed=lambda config: [
            Rule(f"{norm.replace('#', str(len(config.depth) - 1))}.*", "norm.*")
        ],
    )


FORMATS = (
    AUTHORS,
    transformers_format("transformers", ON_DISK),
    transformers_format("transformers in memory", IN_MEMORY),
)

CONFIGS = (
    Kind(
        "segformer",
        "SegformerForImageClassification",
        (
            *PYRAMID,
            Ours("norm_eps", 1e-5),  # whatever their file says
            Ours("reduce_norm_eps", 1e-5),
            Ours("pool_size", None),
        ),
        unread=(
            *("initializer_range", "layer_norm_eps", "reshape_last_stage"),
            *("classifier_dropout_prob", "decoder_hidden_size", "semantic_loss_ignore_index"),
        ),
    ),
)
