"""DeiT on ImageNet-1k from scratch, taught by a convnet: its best by hard labels, and by a token.

Paper      Touvron et al. 2021, arXiv:2012.12877, section 5.2 and table 9 (column DeiT-B)
Reference  github.com/facebookresearch/deit, main.py with --distillation-type hard
Departures those of `deit`; the token is the model's, as in deit_small_distilled_patch16_224
"""

from dataclasses import replace

from patchword.recipes import deit
from patchword.tasks.distill import HARD

RECIPE = replace(deit.RECIPE, name="deit_distilled", distillation=HARD)
