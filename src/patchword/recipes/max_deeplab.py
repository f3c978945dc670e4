"""MaX-DeepLab-S on COCO's panoptic pictures; the shortest of its schedules.

Paper      Wang et al. 2021, "MaX-DeepLab: End-to-End Panoptic Segmentation with Mask Transformers",
           arXiv:2012.00759, section 4
Reference  github.com/google-research/deeplab2, configs/coco/max_deeplab
Departures Adam without weight decay, as the reference has it; the paper's is RAdam with LookAhead;
           batch norms are those of one device
"""

from patchword.data.joint import Joint
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="max_deeplab",
    steps=100_000,
    image_size=(1024, 1024),
    batch_size=64,
    optim=Optim(name="adam", lr=1e-4, weight_decay=0.0, head_lr=10.0),
    schedule=Schedule(kind="poly", power=0.9, warmup_steps=5000),
    joint=Joint(scale=(0.5, 1.5), crop=1.0, distort=None),
    drop_path_rate=0.2,
)
