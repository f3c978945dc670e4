"""ViT on ImageNet-1k from scratch.

Paper      Dosovitskiy et al. 2021, arXiv:2010.11929, as compared in Touvron et al. 2021,
           arXiv:2012.12877, table 9 (column ViT-B)
Reference  github.com/google-research/vision_transformer, vit_jax/input_pipeline.py
Departures the norm that gradients are clipped at is the code's, 1
"""

from patchword.data.augment import Augment
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="vit",
    epochs=300.0,
    batch_size=4096,
    optim=Optim(name="adamw", lr=0.003, weight_decay=0.3, clip=1.0),
    schedule=Schedule(kind="cosine", warmup_epochs=3.4),
    augment=Augment(crop_scale=(0.05, 1.0), hflip=0.5, interpolation="bilinear"),
    drop_rate=0.1,
)
