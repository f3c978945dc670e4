"""FixRes: after a training at a small size, the classifier and the last norm learn a larger one.

Training cuts random parts out of pictures, testing shows them whole, so objects look larger in
training. Testing at a larger size makes up for it, and this training, which shows pictures as
tests do, fits what reads the features to what they are then. It starts from trained weights:

    patchword train DATA --init runs/small --recipe fixres --image-size 384

Paper      Touvron et al. 2019, "Fixing the train-test resolution discrepancy", arXiv:1906.06423,
           section 4.2
Reference  github.com/facebookresearch/FixRes, imnet_finetune/train.py and main_finetune.py: SGD of
           8e-3 per 512 pictures, over 32 processes of 8, weight decay of 1e-4, one epoch, pictures
           as in testing
Departures the last norm's factors learn, as the paper says, where the code only takes the last
           batch norm's statistics anew; a transformer's last norm is a LayerNorm; every epoch has
           an order of its own; the rate falls along a cosine, the code's would after 30 epochs
"""

from patchword.data.augment import Augment
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="fixres",
    epochs=1.0,
    batch_size=256,
    optim=Optim(name="sgd", lr=0.008, lr_batch=512, momentum=0.9, weight_decay=1e-4),
    schedule=Schedule(kind="cosine"),
    augment=Augment(crop_scale=None, hflip=0.0),
    frozen="below_norm",
)
