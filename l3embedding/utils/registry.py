"""Registries: a dictionary from the values of a setting to what implements them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from l3embedding.utils.errors import InputError

Entry = TypeVar("Entry")


def look_up(registry: Mapping[str, Entry], name: str, setting: str) -> Entry:
    """Return the entry of a name; an unknown name is an `InputError` that mentions the setting."""
    if name not in registry:
        raise InputError(f"{setting} {name!r} is not one of {', '.join(registry)}.")
    return registry[name]
