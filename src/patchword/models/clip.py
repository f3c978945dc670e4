"""CLIP's image tower: a ViT with a norm before its blocks, trained beside a reader of captions.

Paper      Radford et al., "Learning Transferable Visual Models From Natural Language
           Supervision", ICML 2021, arXiv:2103.00020; the open models: Cherti et al. 2023,
           arXiv:2212.07143
Reference  github.com/openai/CLIP, clip/model.py; names and sizes as in timm
Departures the projection into the space shared with text is the classifier's linear layer, as in
           timm, with a bias that starts at 0
"""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor, nn

from patchword.data.frame import Frame
from patchword.layers import Attention, Grid, PatchEmbed
from patchword.models.vit import Stem, ViT, ViTConfig
from patchword.weights import Format, Rule, View, multihead
from patchword.weights.configs import Kind
from patchword.weights.plain import ACTS, whatever
from patchword.weights.settings import Choice, Hidden, Only, Ours, Same, Sides


@dataclass(frozen=True, kw_only=True)
class CLIPConfig(ViTConfig):
    """ViT's settings; OpenAI's weights want the quick GELU, most of OpenCLIP's the exact one."""

    norm_eps: float = 1e-5

    def build(self) -> ViT:
        """Make the backbone, with fresh weights."""
        return CLIP(self)


def quick(config: CLIPConfig) -> CLIPConfig:
    """Return the same network with the quick GELU."""
    return replace(config, act="quick")


def sized(config: CLIPConfig, side: int, patch_size: int | None = None) -> CLIPConfig:
    """Return the same network for square images, and perhaps patches, of another side in pixels."""
    return replace(config, image_size=(side, side), patch_size=patch_size or config.patch_size)


BASE = CLIPConfig()
BASE_32 = CLIPConfig(patch_size=32)
MEDIUM = CLIPConfig(embed_dim=512, num_heads=8)
LARGE = CLIPConfig(patch_size=14, embed_dim=1024, depth=24, num_heads=16)
HUGE = CLIPConfig(patch_size=14, embed_dim=1280, depth=32, num_heads=16)
GIANT = CLIPConfig(patch_size=14, embed_dim=1408, depth=40, num_heads=16, mlp_ratio=48 / 11)
GIGANTIC = CLIPConfig(patch_size=14, embed_dim=1664, depth=48, num_heads=16, mlp_ratio=64 / 13)

VARIANTS = {
    "vit_xsmall_patch16_clip_224": CLIPConfig(embed_dim=256, depth=10, num_heads=4),
    "vit_medium_patch32_clip_224": sized(MEDIUM, 224, 32),
    "vit_medium_patch16_clip_224": MEDIUM,
    "vit_betwixt_patch32_clip_224": CLIPConfig(patch_size=32, embed_dim=640, num_heads=10),
    "vit_base_patch32_clip_224": BASE_32,
    "vit_base_patch32_clip_256": sized(BASE_32, 256),
    "vit_base_patch32_clip_384": sized(BASE_32, 384),
    "vit_base_patch32_clip_448": sized(BASE_32, 448),
    "vit_base_patch16_clip_224": BASE,
    "vit_base_patch16_clip_384": sized(BASE, 384),
    "vit_base_patch16_plus_clip_240": sized(CLIPConfig(embed_dim=896, num_heads=14), 240),
    "vit_large_patch14_clip_224": LARGE,
    "vit_large_patch14_clip_336": sized(LARGE, 336),
    "vit_huge_patch14_clip_224": HUGE,
    "vit_huge_patch14_clip_336": sized(HUGE, 336),
    "vit_huge_patch14_clip_378": sized(HUGE, 378),
    "vit_giant_patch14_clip_224": GIANT,
    "vit_gigantic_patch14_clip_224": GIGANTIC,
    "vit_gigantic_patch14_clip_378": sized(GIGANTIC, 378),
    "vit_base_patch32_clip_quickgelu_224": quick(BASE_32),
    "vit_base_patch16_clip_quickgelu_224": quick(BASE),
    "vit_large_patch14_clip_quickgelu_224": quick(LARGE),
    "vit_large_patch14_clip_quickgelu_336": quick(sized(LARGE, 336)),
    "vit_huge_patch14_clip_quickgelu_224": quick(HUGE),
    "vit_huge_patch14_clip_quickgelu_378": quick(sized(HUGE, 378)),
    "vit_gigantic_patch14_clip_quickgelu_224": quick(GIGANTIC),
}

PREPROCESSING = Frame(
    image_size=(224, 224),
    crop=1.0,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)

TRANSPOSED = View(lambda matrix: matrix.mT, lambda matrix: matrix.mT)
VECTOR = View(lambda vector: vector[None, None], lambda token: token[0, 0])
TABLE = View(lambda table: table[None], lambda table: table[0])
BLOCK, LAYER = "transformer.resblocks.#", "encoder.layers.#"

FORMATS = (
    Format(
        "timm",
        Rule("cls_token", "stem.prefix.class_token"),
        Rule("pos_embed", "stem.position.table"),
        Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
        Rule("norm_pre.*", "stem.norm_pre.*"),
        Rule("blocks.#.*", "blocks.#.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
    Format(
        "authors",  # and OpenCLIP's; the text tower beside it is left aside
        Rule("class_embedding", "stem.prefix.class_token", VECTOR),
        Rule("positional_embedding", "stem.position.table", TABLE),
        Rule("conv1.weight", "stem.patch_embed.proj.weight"),
        Rule("ln_pre.*", "stem.norm_pre.*"),
        Rule(f"{BLOCK}.ln_#.*", "blocks.#.norm#.*"),
        *multihead(f"{BLOCK}.attn", "blocks.#.attn"),
        Rule(f"{BLOCK}.mlp.c_fc.*", "blocks.#.mlp.fc1.*"),
        Rule(f"{BLOCK}.mlp.c_proj.*", "blocks.#.mlp.fc2.*"),
        Rule("ln_post.*", "norm.*"),
        head=(Rule("visual.proj", "head.label.weight", TRANSPOSED),),
        root=("visual.",),
    ),
    Format(
        "transformers",
        Rule("embeddings.class_embedding", "stem.prefix.class_token", VECTOR),
        Rule("embeddings.position_embedding.weight", "stem.position.table", TABLE),
        Rule("embeddings.patch_embedding.weight", "stem.patch_embed.proj.weight"),
        Rule("pre_layrnorm.*", "stem.norm_pre.*"),
        Rule(f"{LAYER}.layer_norm#.*", "blocks.#.norm#.*"),
        Rule(tuple(f"{LAYER}.self_attn.{x}_proj.*" for x in "qkv"), "blocks.#.attn.qkv.*"),
        Rule(f"{LAYER}.self_attn.out_proj.*", "blocks.#.attn.proj.*"),
        Rule(f"{LAYER}.mlp.*", "blocks.#.mlp.*"),
        Rule("post_layernorm.*", "norm.*"),
        head=(Rule("visual_projection.weight", "head.label.weight"),),
        root=("vision_model.", ""),
        ignore=("embeddings.position_ids",),
    ),
)

SETTINGS = (
    Same("hidden_size", "embed_dim"),
    Same("num_hidden_layers", "depth"),
    Same("num_attention_heads", "num_heads"),
    Same("patch_size", "patch_size"),
    Same("num_channels", "in_chans"),
    Same("layer_norm_eps", "norm_eps"),
    Hidden(),
    Sides(square=True),
    Choice("hidden_act", "act", {"quick_gelu": "quick", **ACTS}),
    Only("attention_dropout", 0.0),
    Ours("prefix", ["class"]),
    Ours("registers", 0),
    Ours("pool", "token"),
    Ours("norm_pooled", False),
    Ours("position", "learned"),
    Ours("layer_scale", None),
    Ours("drop_rate", 0.0),
    Ours("resample", "bicubic", whatever),
)
UNREAD = ("initializer_range", "initializer_factor")
DEFAULTS = {
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"intermediate_size": 3072, "image_size": 224, "patch_size": 32, "num_channels": 3},
    **{"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": 512},
}
KIND = Kind(
    "clip_vision_model",
    "CLIPVisionModelWithProjection",
    SETTINGS,
    UNREAD,
    count="projection_dim",
    defaults=DEFAULTS,
)
CONFIGS = (
    KIND,
    replace(KIND, architecture="CLIPVisionModel", format=None, count="num_labels"),  # no head
    replace(KIND, model_type="clip", architecture="CLIPModel", format=None, within="vision_config"),
)


class NormedStem(Stem):
    """ViT's stem and a norm of all that it returns."""

    def __init__(self, config: CLIPConfig, patch_embed: nn.Module) -> None:
        super().__init__(config, patch_embed)
        self.norm_pre = nn.LayerNorm(config.embed_dim, config.norm_eps)

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return prefix tokens and patches, with their positions, and the patches' grid."""
        x, grid = super().forward(images)
        return self.norm_pre(x), grid


class CLIP(ViT):
    """The image tower (section 2.4)."""

    def __init__(self, config: CLIPConfig) -> None:
        c, width = config, config.embed_dim
        patches = PatchEmbed(c.patch_size, c.in_chans, width, bias=False)
        super().__init__(config, patches)
        self.stem = NormedStem(config, patches)
        self.apply(as_torch)
        self.head_std = width**-0.5
        for table in (*self.stem.prefix.values(), *self.stem.position.parameters()):
            nn.init.normal_(table, std=self.head_std)


def as_torch(module: nn.Module) -> None:
    """Start layers as torch's own do, and attention as its `MultiheadAttention`."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        module.reset_parameters()
    if isinstance(module, Attention):
        nn.init.xavier_uniform_(module.qkv.weight)
        nn.init.zeros_(module.qkv.bias)
        nn.init.zeros_(module.proj.bias)
