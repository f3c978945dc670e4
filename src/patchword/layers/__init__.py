"""Parts that more than one paper uses. They import torch, and nothing of ours but errors."""

from patchword.layers.attention import Attend as Attend
from patchword.layers.attention import Attention as Attention
from patchword.layers.attention import merge_heads as merge_heads
from patchword.layers.attention import split_heads as split_heads
from patchword.layers.block import Block as Block
from patchword.layers.block import Branch as Branch
from patchword.layers.block import LayerScale as LayerScale
from patchword.layers.block import Mlp as Mlp
from patchword.layers.depth import StochasticDepth as StochasticDepth
from patchword.layers.depth import depth_masks as depth_masks
from patchword.layers.depth import dropping as dropping
from patchword.layers.depth import ramp as ramp
from patchword.layers.grid import Grid as Grid
from patchword.layers.grid import strided as strided
from patchword.layers.grid import to_map as to_map
from patchword.layers.grid import to_tokens as to_tokens
from patchword.layers.init import lecun as lecun
from patchword.layers.init import truncated as truncated
from patchword.layers.init import xavier as xavier
from patchword.layers.patch import PatchEmbed as PatchEmbed
from patchword.layers.position import LearnedPosition as LearnedPosition
from patchword.layers.position import NoPosition as NoPosition
from patchword.layers.position import Position as Position
from patchword.layers.position import Resample as Resample
from patchword.layers.position import RowColumnPosition as RowColumnPosition
from patchword.layers.position import SinCosPosition as SinCosPosition
