"""Errors of depth maps, by the field's names, after an alignment of the answer that has a name too.

Each picture's errors are means over its valid pixels, and those of a data set are means over its
pictures, as in the protocols of Eigen et al. (2014, arXiv:1406.2283) and of MiDaS (Ranftl et al.
2020, arXiv:1907.01341).
"""

from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, field
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from patchword.data import Kind
from patchword.errors import DataError, ShapeError
from patchword.evaluation.protocol import Finding, Judged, Protocol, Score
from patchword.evaluation.viewing import Viewer, Viewing
from patchword.factory import metric

Values: TypeAlias = Float64[np.ndarray, " n"]
Alignment = Literal["none", "median", "scale", "scale_shift", "disparity"]
"""How an answer is brought to the truth's scale, over a picture's valid pixels: left alone; times
the ratio of the medians (Zhou et al. 2017); times the factor of least squares; times a factor plus
a shift of least squares; or the last in 1 / depth, which is what MiDaS and DPT answer with."""


@dataclass(frozen=True, kw_only=True)
class DepthErrors:
    """How far depths are off: of one picture, or the mean of several."""

    abs_rel: float  # mean of |d - g| / g
    sq_rel: float  # mean of (d - g)^2 / g, in the truth's unit
    rmse: float  # in the truth's unit
    rmse_log: float  # of natural logarithms
    log10: float  # mean of |log10 d - log10 g|
    silog: float  # 100 times the standard deviation of log d - log g
    delta1: float  # share of max(d / g, g / d) < 1.25
    delta2: float  # < 1.25^2
    delta3: float  # < 1.25^3


@dataclass(frozen=True, kw_only=True)
class DepthRule:
    """What is compared: between which depths, and after which alignment."""

    near: float = 1e-3  # in the truth's unit; answers are cut to this range once aligned
    far: float = 80.0  # KITTI's; NYU's is 10
    alignment: Alignment = "none"


def depth_errors(
    answer: Float[Tensor, "h w"],
    truth: Float[Tensor, "H W"],
    valid: Bool[Tensor, "H W"],
    by: DepthRule,
) -> DepthErrors:
    """Score one picture's depths.

    Args:
        answer: depths in the truth's unit; for `disparity`, anything that 1 / depth is linear in.
        truth: of any unit.
        valid: where there is a truth; those outside the rule's range do not count either.
        by: range and alignment.

    Raises:
        ShapeError: the maps differ in size.
        DataError: no pixel counts, or an answer is not finite there.
    """
    if not answer.shape == truth.shape == valid.shape:
        raise ShapeError(
            f"the answer is of size {tuple(answer.shape)}, the truth of {tuple(truth.shape)}, "
            f"what is valid of {tuple(valid.shape)}; resize the answer to the truth"
        )
    counts = valid & (truth >= by.near) & (truth <= by.far)
    found, wanted = answer[counts].double().cpu().numpy(), truth[counts].double().cpu().numpy()
    if not found.size:
        raise DataError(f"no depth lies between {by.near:g} and {by.far:g}; is the unit right?")
    if not np.isfinite(found).all():
        raise DataError("an answer is no finite number where the truth is known")
    return _errors(np.clip(ALIGNMENTS[by.alignment](found, wanted), by.near, by.far), wanted)


def _errors(found: Values, wanted: Values) -> DepthErrors:
    off, ratio = found - wanted, np.maximum(found / wanted, wanted / found)
    logs = np.log(found) - np.log(wanted)
    one, two, three = (float((ratio < 1.25**power).mean()) for power in (1, 2, 3))
    return DepthErrors(
        abs_rel=float((np.abs(off) / wanted).mean()),
        sq_rel=float((off**2 / wanted).mean()),
        rmse=float(np.sqrt((off**2).mean())),
        rmse_log=float(np.sqrt((logs**2).mean())),
        log10=float(np.abs(logs).mean() / np.log(10)),
        silog=float(100 * logs.std()),
        delta1=one,
        delta2=two,
        delta3=three,
    )


def mean_errors(of: list[DepthErrors]) -> DepthErrors:
    """Return the mean over pictures; nan of none."""
    rows = np.array([astuple(errors) for errors in of]).reshape(-1, 9)
    means = rows.mean(axis=0) if len(rows) else np.full(9, np.nan)
    return DepthErrors(**dict(zip(DepthErrors.__dataclass_fields__, means.tolist(), strict=True)))


def _median(found: Values, wanted: Values) -> Values:
    middle = np.median(found)
    return found * (np.median(wanted) / middle) if middle > 0 else found


def _scale(found: Values, wanted: Values) -> Values:
    squared = found @ found
    return found * ((found @ wanted) / squared) if squared > 0 else found


def _scale_shift(found: Values, wanted: Values) -> Values:
    centre, middle = found.mean(), wanted.mean()
    spread = (found - centre) @ (found - centre)
    factor = (found - centre) @ (wanted - middle) / spread if spread > 0 else 0.0
    return factor * (found - centre) + middle


def _disparity(found: Values, wanted: Values) -> Values:
    aligned = _scale_shift(found, 1 / wanted)
    with np.errstate(divide="ignore"):
        return np.where(aligned > 0, 1 / aligned, np.inf)  # at or behind infinity: the far end


ALIGNMENTS: dict[Alignment, Callable[[Values, Values], Values]] = {
    "none": lambda found, wanted: found,
    "median": _median,
    "scale": _scale,
    "scale_shift": _scale_shift,
    "disparity": _disparity,
}

SHARES = ("delta1", "delta2", "delta3")
NUMBERS = {
    **{"abs_rel": "AbsRel", "sq_rel": "SqRel", "rmse": "RMSE", "rmse_log": "RMSE log"},
    **{"log10": "log10", "silog": "SILog"},
}


@dataclass(frozen=True, kw_only=True)
class Distances(Protocol):
    """Errors of depths at the maps' own resolution, after an alignment that the notes name."""

    wants: ClassVar[tuple[Kind, ...]] = ("depth",)
    near: float = 1e-3  # metres; readings that are not from near to far do not count
    far: float = 80.0
    alignment: Alignment | Literal["auto"] = (
        "auto"  # auto: disparity of relative answers, else none
    )
    view: Viewing = field(default_factory=Viewing)

    def __call__(self, subject: Viewer, data: Judged) -> Finding:
        """Score the depths of all pixels that have a reading."""
        own: Alignment = "none" if metric(subject.card) else "disparity"
        how = own if self.alignment == "auto" else self.alignment
        rule = DepthRule(near=self.near, far=self.far, alignment=how)
        found: list[DepthErrors] = []
        unreadable: list[str] = []
        pictures: list[tuple[int, float]] = []
        for seen in subject.scenes(data.test):
            if isinstance(seen, str):
                unreadable.append(seen)
                continue
            truth = seen.scene.depth
            assert truth is not None
            if not ((truth >= self.near) & (truth <= self.far)).any():
                unreadable.append(f"{data.test.name(seen.number)}: has no reading that counts")
                continue
            answer = subject.depths(seen.picture, self.view)
            found.append(depth_errors(answer, truth, truth > 0, rule))
            pictures.append((seen.number, found[-1].delta1))
        means = asdict(mean_errors(found))
        return Finding(
            data=data.name,
            split=data.split,
            count=len(found),
            scores=(
                *(Score(name=name, value=means[name]) for name in SHARES),
                *(Score(name=n, value=means[k], unit="number") for k, n in NUMBERS.items()),
            ),
            notes=(
                f"pictures were seen {subject.words(data.test, self.view)}",
                f"depths from {self.near:g} to {self.far:g} m count, alignment {how}",
            ),
            unreadable=tuple(unreadable),
            pictures=tuple(pictures),
        )


PROTOCOL = Distances()
