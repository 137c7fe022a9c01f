"""What tests ask of the settings."""

from __future__ import annotations

import typing

from l3embedding.settings import Settings


def values_of(group: type[Settings], field: str) -> set[str]:
    """The vocabulary of a field: the values of its `Literal`, without None."""
    return _values(typing.get_type_hints(group)[field])


def _values(annotation: object) -> set[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return set(typing.get_args(annotation))
    return set().union(*(_values(each) for each in typing.get_args(annotation) if each is not type(None)))
