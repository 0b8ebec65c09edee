"""What tasks share while they are worked at side by side: resources, and places for agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct, field


class Resource(Struct, frozen=True):
    """Something that tasks share: a set of files, a number of slots, or a row of values (ports, devices).

    *paths* are the patterns of its files, *slots* how many may hold it at once. *values* are what the holders get, each
    another one; there are then as many slots. Without slots and values many may read, and one alone may write.
    """

    name: str
    paths: tuple[str, ...] = ()
    slots: int = 0
    values: tuple[str, ...] = ()

    @property
    def places(self) -> int:
        """How many may hold it at once; 0 where readers and writers decide that."""
        return len(self.values) or self.slots


Resources: TypeAlias = Mapping[str, Resource]


class Capacity(Struct, frozen=True):
    """How many tasks may be worked at at once: in all, and by agent (one that is not named has no limit of its own)."""

    slots: int = 1
    of_agent: Mapping[str, int] = field(default_factory=dict)


def variable_of(resource: str) -> str:
    """The variable by which a task learns its value of *resource*."""
    return "AIFRAME_RESOURCE_" + "".join(letter if letter.isalnum() else "_" for letter in resource).upper()
