"""How the documentation is built: `make docs`, or Read the Docs."""

from __future__ import annotations

import sys
import typing
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from l3embedding.jobs.experiment import Experiment  # noqa: E402

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

myst_enable_extensions = ["substitution", "colon_fence"]


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
    return "list" if origin is tuple else " or ".join(_type(each) for each in options)


def experiment_keys() -> str:
    """A table of every key of an experiment, from the model that validates it."""
    rows = ["| key | default | takes | what it is |", "| --- | --- | --- | --- |"]
    for name, field in Experiment.model_fields.items():
        default = "" if field.is_required() else f"`{list(field.default)}`" if field.default == () else field.default
        if default is None:
            default = "none"
        elif isinstance(default, tuple):
            default = f"[{', '.join(map(str, default))}]"
        description = str(field.description).replace("*", r"\*").replace("|", r"\|")
        rows.append(f"| `{name}` | {default} | {_type(field.annotation)} | {description} |")
    return "\n".join(rows)


myst_substitutions = {"experiment_keys": experiment_keys()}
