"""Data: sources of pictures, their decoding, addressed augmentation, and batches."""

from patchword.data.augment import Augment as Augment
from patchword.data.augment import Mixing as Mixing
from patchword.data.batches import Batch as Batch
from patchword.data.batches import EvalBatches as EvalBatches
from patchword.data.batches import TrainBatches as TrainBatches
from patchword.data.census import Census as Census
from patchword.data.census import SplitCensus as SplitCensus
from patchword.data.census import look as look
from patchword.data.census import split_census as split_census
from patchword.data.decode import Pixels as Pixels
from patchword.data.decode import decode as decode
from patchword.data.frame import Frame as Frame
from patchword.data.frame import frame as frame
from patchword.data.loader import loader as loader
from patchword.data.mix import apply_mix as apply_mix
from patchword.data.mix import draw_mix as draw_mix
from patchword.data.open import open_data as open_data
from patchword.data.randaugment import RandAugment as RandAugment
from patchword.data.source import ArraySource as ArraySource
from patchword.data.source import Data as Data
from patchword.data.source import Source as Source
from patchword.data.source import Subset as Subset
from patchword.data.source import cache as cache
from patchword.data.source import hold_out as hold_out
