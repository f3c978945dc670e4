"""DPT on depths, from a ViT that was trained on ImageNet-21k.

Paper      Ranftl et al. 2021, "Vision Transformers for Dense Prediction", arXiv:2103.13413,
           section 4.1
Reference  none; the authors published no training
Departures one set of pictures instead of a mixture of ten; the shorter side need not be the
           window's; Adam's weight decay of 0 is AdamW's; the rate stays as it is
"""

from patchword.data.joint import Joint
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.recipe import Recipe
from patchword.tasks.depth import DepthLoss

RECIPE = Recipe(
    name="dpt",
    epochs=60.0,
    image_size=(384, 384),
    batch_size=16,
    optim=Optim(name="adam", lr=1e-5, weight_decay=0.0, head_lr=10.0),
    schedule=Schedule(kind="constant"),
    within=(1536, 384),
    joint=Joint(scale=(1.0, 1.0), crop=1.0, distort=None),
    depth=DepthLoss(distance="trimmed", trim=0.2, gradient=0.5, scales=4),
)
