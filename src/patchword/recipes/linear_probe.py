"""A linear classifier on a backbone that stays as it is, to learn how good its features are.

Paper      Caron et al. 2021, "Emerging properties in self-supervised vision transformers" (DINO),
           arXiv:2104.14294, section 4.1
Reference  github.com/facebookresearch/dino, eval_linear.py
Departures the layer reads what the model pools; theirs reads the class tokens of the last four
           blocks of a small ViT. The head of a model that knows as many classes is where it starts
           from. The rate falls at every step, not every epoch
"""

from patchword.data.augment import Augment
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="linear_probe",
    epochs=100.0,
    batch_size=1024,
    optim=Optim(name="sgd", lr=0.001, lr_batch=256, momentum=0.9, weight_decay=0.0),
    schedule=Schedule(kind="cosine"),
    augment=Augment(crop_scale=(0.08, 1.0), hflip=0.5, interpolation="bilinear"),
    frozen=1.0,
)
