"""BEiT v2: BEiT's network, pre-trained on a tokeniser that has learned meaning from a teacher.

Paper      Peng et al., "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers",
           arXiv:2208.06366
Reference  github.com/microsoft/unilm, beit2/modeling_finetune.py; timm's beit.py
Departures none; the network is BEiT's, so it is written there
"""

from dataclasses import replace

from patchword.data.frame import Frame
from patchword.models.beit import CONFIGS as CONFIGS
from patchword.models.beit import FORMATS as FORMATS
from patchword.models.beit import BEiTConfig

BASE = BEiTConfig(layer_scale=1e-5)
LARGE = replace(BASE, embed_dim=1024, depth=24, num_heads=16)

VARIANTS = {"beitv2_base_patch16_224": BASE, "beitv2_large_patch16_224": LARGE}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
