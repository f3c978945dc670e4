"""Noisy Student: learn a folder of pictures under a teacher's labels too, through noise.

Paper      Xie et al. 2020, "Self-training with Noisy Student improves ImageNet classification",
           arXiv:1911.04252, sections 2 and 3.1
Reference  github.com/google-research/noisystudent, filter_unlabel.py and randaugment.py
Departures weights are moved as DeiT's are, for a transformer, where theirs is RMSProp; dropout is
           0.1 in every layer, theirs 0.5 before the last; RandAugment goes to 10 of 10, theirs to
           27, and has no cut-outs; labelled pictures and others share a batch by their numbers,
           theirs by 1 to 1 and up to 1 to 14; nothing is fine-tuned at a higher resolution after
           it. Students follow each other by naming the last one's run as --teacher
"""

from patchword.data.augment import Augment, RandAugment
from patchword.data.pseudo import PseudoLabels
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="noisy_student",
    epochs=350.0,
    batch_size=2048,
    optim=Optim(name="adamw", lr=0.0005, lr_batch=512, weight_decay=0.05),
    schedule=Schedule(kind="cosine", warmup_epochs=5.0, warmup_start=0.001, end=0.01),
    augment=Augment(
        crop_scale=(0.08, 1.0),
        hflip=0.5,
        rand_augment=RandAugment(
            layers=2, magnitude=10.0, std=0.0, probability=0.5, increasing=False
        ),
    ),
    drop_rate=0.1,
    drop_path_rate=0.2,
    pseudo_labels=PseudoLabels(kind="soft", threshold=0.3, per_class="mean"),
)
