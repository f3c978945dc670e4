"""Weights: foreign names read both ways, safe files, and other sizes."""

from patchword.weights.formats import Format as Format
from patchword.weights.formats import HeadFormat as HeadFormat
from patchword.weights.formats import Layered as Layered
from patchword.weights.formats import Tensors as Tensors
from patchword.weights.formats import fill as fill
from patchword.weights.formats import recognise as recognise
from patchword.weights.rules import POINTWISE as POINTWISE
from patchword.weights.rules import Rule as Rule
from patchword.weights.rules import Rules as Rules
from patchword.weights.rules import View as View
from patchword.weights.rules import modules as modules
from patchword.weights.rules import multihead as multihead
from patchword.weights.rules import normed as normed
from patchword.weights.rules import within as within
