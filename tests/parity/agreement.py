"""How far a model is from its references, as the catalogue keeps it."""

from pathlib import Path

from patchword import catalogue
from patchword.catalogue import Agreement, Figures
from tests.parity import goldens, page
from tests.parity.compare import affordable, compare

SHARED = Path(__file__).parents[3] / "shared" / "goldens"


def look(name: str) -> tuple[str, tuple[Figures, dict[str, Agreement]] | str]:
    """Count a model and hold it against its live references; or say what went wrong."""
    try:
        return name, (catalogue.count(name), from_peers(name))
    except Exception as fault:
        return name, f"{type(fault).__name__}: {fault}"


def from_peers(name: str) -> dict[str, Agreement]:
    """Hold a model against its live references."""
    return {
        row.reference: Agreement(
            logits=row.logits,
            features=row.features,
            gradients=row.gradients,
            parameters=row.parameters[1],
            run_at=row.run_at,
            passed=row.passed,
            measured=page.measured(),
        )
        for row in compare(name, affordable(name))
    }


def from_goldens(families: set[str]) -> dict[str, dict[str, Agreement]]:
    """Hold families against their authors' tensors: the worst of each family's goldens."""
    found: dict[str, dict[str, Agreement]] = {}
    for folder in sorted(SHARED.glob("*")):
        for name in goldens.names(folder):
            family = goldens.family_of(name)
            if family not in families or family is None:
                continue
            verdict = goldens.check(folder, name)
            if verdict.share is None or verdict.outcome == "unofficial":
                continue
            agreement = Agreement(
                logits=verdict.share,
                run_at=name,
                passed=verdict.outcome == "pass",
                measured=page.measured(),
            )
            worst = found.get(family, {}).get("authors", agreement)
            if (not agreement.passed, agreement.logits) >= (not worst.passed, worst.logits):
                found[family] = {"authors": agreement}
    return found
