"""Axial-DeepLab on COCO's panoptic pictures, as Panoptic-DeepLab is trained on them.

Paper      Wang et al. 2020, "Axial-DeepLab", arXiv:2003.07853, section 4; its settings are those of
           Cheng et al. 2020, "Panoptic-DeepLab", arXiv:1911.10194, section 4
Reference  none in PyTorch; github.com/google-research/deeplab2, configs/coco
Departures windows are of the model's size, and the scale is drawn from 0.5 to 1.5, as deeplab2 has
           it; batch norms are those of one device
"""

from patchword.data.joint import Joint
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="axial_deeplab",
    steps=200_000,
    image_size=(640, 640),
    batch_size=64,
    optim=Optim(name="adam", lr=1e-3, weight_decay=0.0),
    schedule=Schedule(kind="poly", power=0.9),
    joint=Joint(scale=(0.5, 1.5), crop=1.0, distort=None),
)
