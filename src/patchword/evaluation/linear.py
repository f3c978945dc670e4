"""Linear probe: multinomial logistic regression on frozen features.

Paper      Radford et al. 2021, "Learning transferable visual models from natural language
           supervision", arXiv:2103.00020, appendix A.3: L-BFGS, an L2 penalty chosen on a split
Reference  sklearn.linear_model.LogisticRegression: the same objective, C times the summed
           cross-entropy plus half the squared weights, the bias not penalised
Departures features are brought to mean 0 and deviation 1 first, unless another scale is asked for;
           a coarser row of penalties, the smallest C first and each fit from the last
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from patchword.data.source import hold_out
from patchword.errors import ConfigError
from patchword.evaluation.answers import Tokens
from patchword.evaluation.protocol import Finding, Judged, Protocol, Subject
from patchword.evaluation.topk import topk


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Protocol):
    """Logistic regression whose penalty is chosen on a split of the training pictures."""

    C: tuple[float, ...] = (
        1e-4,
        1e-3,
        1e-2,
        1e-1,
        1.0,
        10.0,
        100.0,
    )  # the field's name: less penalty
    holdout: float = 0.2  # share of the training pictures to choose C by; the test set has no part
    seed: int = 0  # of that split
    scale: Literal["standard", "unit", "none"] = "standard"  # unit: each picture's norm is 1
    tolerance: float = 1e-6  # of the mean objective's gradient, its largest entry
    iterations: int = 1000
    tokens: Tokens = "pooled"

    def __post_init__(self) -> None:
        if not self.C or min(self.C) <= 0 or not 0 < self.holdout < 1:
            raise ConfigError(
                f"C is {self.C}, holdout {self.holdout}; wanted: above 0, and a share below 1"
            )

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Choose C on a split of the training pictures, fit to all of them, score once."""
        train = subject.features(data.learnt_from(), self.tokens)
        test = subject.features(data.test, self.tokens)
        inputs, scored = scaled(train.logits, test.logits, self.scale)
        classes = len(data.train.classes)
        kept, held = map(
            torch.from_numpy, hold_out(train.labels.numpy(), share=self.holdout, seed=self.seed)
        )
        fitted = Logistic(inputs.shape[1], classes)
        chosen, best = self.C[0], (-1.0, 0.0)
        for c in sorted(self.C) if len(self.C) > 1 else ():
            self.fit(fitted, inputs[kept], train.labels[kept], c)
            found = topk(fitted(inputs[held]), train.labels[held])
            if (found.top1, -found.loss) > best:
                chosen, best = c, (found.top1, -found.loss)
        self.fit(fitted, inputs, train.labels, chosen)
        found = topk(fitted(scored), test.labels)
        where = f"C = {chosen:g} was chosen on {len(held):,} of the {len(train.labels):,} training"
        return Finding(
            data=data.name,
            split=data.split,
            count=found.count,
            scores=found.scores,
            notes=(f"{where} pictures, where it was right for {best[0]:.1%}",)
            if best[0] >= 0
            else (),
            unreadable=(*train.unreadable, *test.unreadable),
        )

    def fit(
        self, model: "Logistic", x: Float[Tensor, "n d"], y: Int[Tensor, " n"], c: float
    ) -> None:
        """Fit a model, from where it is."""
        model.fit(x, y, c, tolerance=self.tolerance, iterations=self.iterations)


class Logistic:
    """A linear layer in double precision, fitted by L-BFGS."""

    def __init__(self, width: int, classes: int) -> None:
        self.coefficients = torch.zeros(width + 1, classes, dtype=torch.float64)

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Return the logits."""
        return x.double() @ self.coefficients[:-1] + self.coefficients[-1]

    def fit(
        self,
        x: Float[Tensor, "n d"],
        y: Int[Tensor, " n"],
        c: float,
        *,
        tolerance: float,
        iterations: int,
    ) -> None:
        """Minimise the mean cross-entropy plus the squared weights over 2 C n.

        Args:
            x: inputs.
            y: classes.
            c: scikit-learn's C.
            tolerance: of the gradient's largest entry.
            iterations: at most.
        """
        from scipy.optimize import minimize

        x, shape = x.double(), self.coefficients.shape
        truth = F.one_hot(y, shape[1]).double()
        penalty = 1 / (c * len(x))

        def objective(flat: Any) -> tuple[float, Any]:
            b = torch.from_numpy(flat).view(shape)
            logs = (x @ b[:-1] + b[-1]).log_softmax(dim=1)
            loss = -(logs * truth).sum() / len(x) + penalty / 2 * b[:-1].square().sum()
            error = (logs.exp() - truth) / len(x)
            gradient = torch.cat([x.T @ error + penalty * b[:-1], error.sum(dim=0, keepdim=True)])
            return loss.item(), gradient.flatten().numpy()

        found = minimize(
            objective,
            self.coefficients.flatten().numpy(),
            method="L-BFGS-B",
            jac=True,
            options={
                "gtol": tolerance,
                "ftol": 64 * np.finfo(float).eps,
                "maxiter": iterations,
                "maxls": 50,
            },
        )
        self.coefficients = torch.from_numpy(found.x).view(shape)


def scaled(
    train: Float[Tensor, "n d"],
    test: Float[Tensor, "m d"],
    scale: Literal["standard", "unit", "none"],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Bring features to a scale; what is measured for it is measured on the training pictures."""
    train, test = train.double(), test.double()
    match scale:
        case "standard":
            mean, std = train.mean(dim=0), train.std(dim=0, correction=0)
            std = torch.where(std > 0, std, 1.0)
            return (train - mean) / std, (test - mean) / std
        case "unit":
            return F.normalize(train, dim=1), F.normalize(test, dim=1)
        case "none":
            return train, test


PROTOCOL = LinearProbe()
