"""SETR on ADE20K, from a ViT that was trained on ImageNet-21k.

Paper      Zheng et al. 2021, "Rethinking Semantic Segmentation from a Sequence-to-Sequence
           Perspective with Transformers", arXiv:2012.15840, section 4.1
Reference  github.com/fudan-zvg/SETR, configs/SETR/SETR_PUP_512x512_160k_ade20k_bs_16.py
Departures the loss is a mean over the pixels that have a class, theirs over all
"""

from patchword.data.joint import Joint
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.recipe import Recipe
from patchword.tasks.segment import Segmentation

RECIPE = Recipe(
    name="setr",
    steps=160_000,
    image_size=(512, 512),
    batch_size=16,
    optim=Optim(name="sgd", lr=0.001, momentum=0.9, weight_decay=0.0, head_lr=10.0),
    schedule=Schedule(kind="poly", power=0.9, end=1e-4 / 0.001),
    within=(2048, 512),
    joint=Joint(scale=(0.5, 2.0), crop=0.75),
    segmentation=Segmentation(aux_weight=0.4),
)
