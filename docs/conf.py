"""How the documentation is built: `make docs`, or Read the Docs."""

from __future__ import annotations

import re
import sys
import typing
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from l3embedding.settings import Experiment, Settings, groups, kind_of  # noqa: E402

project = "Specialized Embedding Approximation"
copyright = "the authors of this repository, MIT licence"
html_theme = "furo"
html_title = "l3embedding"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"NDArray": "NDArray"}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
# A type such as np.str_ in the text would be read as a link.
napoleon_attr_annotations = False

myst_enable_extensions = ["colon_fence"]


def _type(annotation: object) -> str:
    """An annotation in the words of a YAML file."""
    if annotation in (str, int, float, bool):
        return {str: "text", int: "whole number", float: "number", bool: "true or false"}[annotation]
    options = [each for each in typing.get_args(annotation) if each not in (type(None), Ellipsis)]
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{each}`" for each in options)
    if origin is typing.Annotated:
        return _type(options[0])
    if origin is tuple:
        item = _type(options[0])
        return f"list of {item}" if "`" in item else f"list of {item}s"
    return " or ".join(_type(each) for each in options)


def _default(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)


def _table(group: type[Settings]) -> str:
    """A table of the fields of a group, from the class that validates them."""
    rows = ["| key | default | takes | effect | only with | description |", "| --- | --- | --- | --- | --- | --- |"]
    for name, field in group.model_fields.items():
        if name in groups() and group is Experiment:
            continue
        when = field.json_schema_extra["when"]
        only = "; ".join(f"`{other}`: {', '.join(map(_default, values))}" for other, values in when.items())
        main = " (main)" if name == group.main else ""
        description = str(field.description).replace("*", r"\*").replace("|", r"\|")
        cells = (f"`{name}`{main}", _default(field.default), _type(field.annotation), kind_of(field), only, description)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def fill_tables(page: str) -> str:
    """Replace each table of settings, between `<!-- GROUP -->` and `<!-- end -->`, by the current one."""
    tables = {"experiment": _table(Experiment)}
    tables |= {name: f"{group.__doc__}\n\n{_table(group)}" for name, group in groups().items()}
    return re.sub(
        r"<!-- (\w+) -->\n.*?<!-- end -->",
        lambda found: f"<!-- {found[1]} -->\n\n{tables[found[1]]}\n\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


# The page is kept with its tables, so that it can be read without building the documentation.
SETTINGS_PAGE = REPOSITORY / "docs" / "settings.md"
SETTINGS_PAGE.write_text(fill_tables(SETTINGS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
