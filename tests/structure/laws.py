"""Every law that can be a test: each maps the package's folder to its faults, one a line."""

from tests.structure import code, house, parts

LAWS = (
    house.layering,
    house.families_apart,
    house.libraries,
    house.file_names,
    house.headers,
    house.registry,
    house.budgets,
    parts.parts,
    code.parameters,
    code.no_hasattr,
    code.docstrings,
    code.nothing_at_import,
    code.commands,
    code.exports,
)
