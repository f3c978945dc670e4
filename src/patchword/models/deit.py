"""DeiT: data-efficient image transformers, plain and with a distillation token.

Paper      Touvron et al., "Training data-efficient image transformers & distillation through
           attention", ICML 2021, arXiv:2012.12877
Reference  github.com/facebookresearch/deit, models.py; timm's deit.py
Departures none; the network is ViT's with one more token and its own head, so it is written there
"""

from dataclasses import replace

from patchword.data.frame import Frame
from patchword.models.vit import ViTConfig, sized
from patchword.weights.plain import CONFIGS as CONFIGS
from patchword.weights.plain import FORMATS as FORMATS

TINY = ViTConfig(embed_dim=192, num_heads=3, fresh="truncated")
SMALL = ViTConfig(embed_dim=384, num_heads=6, fresh="truncated")
BASE = ViTConfig(fresh="truncated")
MINI = ViTConfig(embed_dim=128, depth=4, num_heads=4, fresh="truncated")
MICRO = ViTConfig(embed_dim=64, depth=4, num_heads=4, fresh="truncated")


def distilled(config: ViTConfig) -> ViTConfig:
    """Add the distillation token, which stands after the class token (section 4)."""
    return replace(config, prefix=("class", "distillation"))


VARIANTS = {
    "deit_tiny_patch16_224": TINY,
    "deit_small_patch16_224": SMALL,
    "deit_base_patch16_224": BASE,
    "deit_base_patch16_384": sized(BASE, 384),
    "deit_tiny_distilled_patch16_224": distilled(TINY),
    "deit_small_distilled_patch16_224": distilled(SMALL),
    "deit_base_distilled_patch16_224": distilled(BASE),
    "deit_base_distilled_patch16_384": sized(distilled(BASE), 384),
    # ours, for pictures too small for the field's sizes
    "deit_micro_patch2_8": sized(MICRO, 8, 2),
    "deit_mini_patch2_8": sized(MINI, 8, 2),
    "deit_mini_patch4_28": sized(MINI, 28, 4),
    "deit_mini_patch4_32": sized(MINI, 32, 4),
    "deit_mini_patch7_28": sized(MINI, 28, 7),
    "deit_mini_patch8_64": sized(MINI, 64, 8),
    "deit_micro_distilled_patch2_8": sized(distilled(MICRO), 8, 2),
    "deit_mini_distilled_patch2_8": sized(distilled(MINI), 8, 2),
    "deit_mini_distilled_patch4_28": sized(distilled(MINI), 28, 4),
    "deit_mini_distilled_patch4_32": sized(distilled(MINI), 32, 4),
    "deit_mini_distilled_patch7_28": sized(distilled(MINI), 28, 7),
    "deit_mini_distilled_patch8_64": sized(distilled(MINI), 64, 8),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
