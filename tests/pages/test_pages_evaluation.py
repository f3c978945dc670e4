"""The page of evaluations: all that was found is on it, escaped, and nothing is fetched."""

import re

from patchword.pages.evaluation import Cell, EvaluationPage, Grid, Section, render_evaluation
from patchword.pages.figures import Chart, Series
from tests.pages.conftest import HOSTILE


def shown(name="digits", *, coloured=False):
    rows = ((name, (Cell(text="52.2%", note="47.1% to 57.3%", share=0.522), Cell(text="—"))),)
    line = Series(name=name, x=(0.0, 100.0), y=(10.0, 90.0))
    return EvaluationPage(
        title=f"Evaluation of {name}",
        sections=(
            Section(
                title=name,
                lead=name,
                grids=(Grid(title=name, columns=("top-1", name), rows=rows, coloured=coloured),),
                charts=(Chart(title=name, x_label="sure", y_label="right", series=(line,)),),
                notes=(name,),
                settings=f'{{"bins": "{name}"}}',
            ),
        ),
    )


def test_all_that_was_found_is_on_it():
    page = render_evaluation(shown())
    assert page.count("<section") == 1 and 'href="#part-1"' in page
    for words in ("52.2%", "47.1% to 57.3%", "—", "data-readings", "&#34;bins&#34;"):
        assert words in page
    assert "--share" not in page.split("</style>")[1]


def test_a_heat_map_colours_each_share():
    page = render_evaluation(shown(coloured=True)).split("</style>")[1]
    assert re.findall(r"--share: ([\d.]+)%", page) == ["52.2"]


def test_names_are_escaped_and_nothing_is_fetched():
    page = render_evaluation(shown(HOSTILE))
    assert HOSTILE not in page and "<img src=http" not in page
    assert not re.search(r"""(?:src|href)=["']?https?:""", render_evaluation(shown()))
