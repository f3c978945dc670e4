"""Weights: foreign names read both ways, safe files, and other sizes."""

from patchword.weights.formats import POINTWISE as POINTWISE
from patchword.weights.formats import Count as Count
from patchword.weights.formats import Format as Format
from patchword.weights.formats import Rule as Rule
from patchword.weights.formats import View as View
from patchword.weights.formats import fill as fill
from patchword.weights.formats import normed as normed
from patchword.weights.formats import recognise as recognise
from patchword.weights.stages import counted as counted
