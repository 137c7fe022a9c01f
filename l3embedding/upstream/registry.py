"""Choices by name, where an unknown name is an error that lists the known ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from l3embedding.utils.errors import InputError

Choice = TypeVar("Choice")


def lookup(registry: Mapping[str, Choice], name: str, setting: str) -> Choice:
    """Look up what a setting names.

    Raises
    ------
    InputError
        The name is not in the registry.
    """
    if name not in registry:
        raise InputError(f"{setting}: {name!r} is not known; choose one of {', '.join(registry)}.")
    return registry[name]
