"""What all pages share: the template environment and the words for numbers."""

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from patchword.pages.figures import number

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, values: Mapping[str, object]) -> str:
    r"""Fill a template; every value is escaped, whatever it holds.

    File names may hold bytes that are no text (lone surrogates): they are written out as `\udcxx`.
    """
    page = _environment().get_template(template).render(values)
    return page.encode("utf-8", "backslashreplace").decode()


def percent(share: float) -> str:
    """Write a share from 0 to 1 in percent; what is not a number as a dash."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else "—"


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("patchword.pages")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def verbatim(name: str) -> str:  # our own style sheet and script, the only text not escaped
        return Markup(loader.get_source(environment, name)[0])

    environment.filters |= {"percent": percent, "number": number, "verbatim": verbatim}
    return environment
