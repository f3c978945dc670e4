"""A plain ViT on ImageNet-1k, in 90 epochs: small changes to the first recipe, and no more.

Paper      Beyer, Zhai & Kolesnikov 2022, "Better plain ViT baselines for ImageNet-1k",
           arXiv:2205.01580
Reference  github.com/google-research/big_vision, big_vision/configs/vit_s16_i1k.py
Departures the weight decay is written as AdamW has it: theirs of 1e-4 is not multiplied by the
           rate, which is 1e-3. RandAugment does an operation with a probability of 0.5, theirs with
           one drawn from 0.2 to 0.8, and has no cut-outs. Adam's averages are in fp32. A warm-up
           is a fifth of all steps at most. That positions are sines and patches are averaged is the
           model's: `ViTConfig(position="sincos_2d", pool="mean", prefix=())`
"""

from patchword.data.augment import Augment, Mixing, RandAugment
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="plain_vit",
    epochs=90.0,
    batch_size=1024,
    optim=Optim(name="adamw", lr=0.001, weight_decay=1e-4 / 0.001, clip=1.0),
    schedule=Schedule(kind="cosine", warmup_steps=10_000),
    augment=Augment(
        crop_scale=(0.05, 1.0),
        hflip=0.5,
        rand_augment=RandAugment(
            layers=2, magnitude=10.0, std=0.0, probability=0.5, increasing=False
        ),
        interpolation="bilinear",
    ),
    mixing=Mixing(mixup=0.2),
)
