"""DeiT on ImageNet-1k from scratch.

Paper      Touvron et al. 2021, arXiv:2012.12877, table 9 (column DeiT-B)
Reference  github.com/facebookresearch/deit, main.py
Departures erased rectangles are filled with noise that is cut to the range of pixels; the moving
           average's decay rises with the steps before it is the code's
"""

from patchword.data.augment import Augment, Mixing, RandAugment
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="deit",
    epochs=300.0,
    batch_size=1024,
    optim=Optim(name="adamw", lr=0.0005, lr_batch=512, weight_decay=0.05),
    schedule=Schedule(kind="cosine", warmup_epochs=5.0, warmup_start=0.001, end=0.01),
    augment=Augment(
        crop_scale=(0.08, 1.0),
        hflip=0.5,
        rand_augment=RandAugment(layers=2, magnitude=9.0, std=0.5, increasing=True),
        erase=0.25,
        interpolation="bicubic",
    ),
    mixing=Mixing(mixup=0.8, cutmix=1.0, switch=0.5),
    repeats=3,
    smoothing=0.1,
    drop_path_rate=0.1,
    average=0.99996,
)
