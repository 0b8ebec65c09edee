"""What a task lays claim to while it is worked at: shares of resources, to read or to write, and which claims collide.

A lock of a task names a resource, or is itself a pattern of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from aiframe.core.model import Task
from aiframe.core.patterns import may_meet
from aiframe.core.resources import Resources


class Claim(Struct, frozen=True, order=True):
    """One lock of a task: on the resource *name*, or on files alone. *write*: it shares them with nobody."""

    name: str
    paths: tuple[str, ...]
    write: bool

    def __str__(self) -> str:
        return self.name or ", ".join(self.paths)


def claims_of(task: Task, resources: Resources) -> tuple[Claim, ...]:
    """The claims of *task*, each once and always in the same order, whatever the order in which it declares them.

    What it both reads and writes is written.
    """
    if not (task.reads or task.writes):
        return ()
    found = {_claim(lock, resources, write=False) for lock in task.reads}
    writes = {_claim(lock, resources, write=True) for lock in task.writes}
    same = {(claim.name, claim.paths) for claim in writes}
    return tuple(sorted(writes | {claim for claim in found if (claim.name, claim.paths) not in same}))


def _claim(lock: str, resources: Resources, *, write: bool) -> Claim:
    resource = resources.get(lock)
    return Claim(lock, resource.paths, write) if resource is not None else Claim("", (lock,), write)


def writable_paths(task: Task, resources: Resources) -> tuple[str, ...]:
    """The patterns of the files that *task* may change; empty where it declares none, and so may change any."""
    return tuple(path for lock in task.writes for path in (resources[lock].paths if lock in resources else (lock,)))


def collide(one: Claim, other: Claim, resources: Resources) -> bool:
    """Whether two tasks may not hold the two at once; those of a resource with places are counted instead."""
    if one.name and one.name == other.name and resources[one.name].places:
        return False
    return (one.write or other.write) and _meet(one, other)


def _meet(one: Claim, other: Claim) -> bool:
    if one.name and one.name == other.name:
        return True
    return any(may_meet(path, another) for path in one.paths for another in other.paths)


def values_for(claims: Sequence[Claim], taken: Iterable[Mapping[str, str]], resources: Resources) -> dict[str, str]:
    """The value that each of *claims* gets of a resource with values: the first that is not *taken*."""
    in_use = {pair for given in taken for pair in given.items()}
    named = [resources[claim.name] for claim in claims if claim.name]
    return {
        resource.name: next(value for value in resource.values if (resource.name, value) not in in_use)
        for resource in named
        if resource.values
    }
