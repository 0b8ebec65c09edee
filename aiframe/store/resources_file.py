"""`resources` and `parallel` in PROJECT.yaml: what tasks share, and how many are worked at side by side."""

from __future__ import annotations

import re

from aiframe.core.resources import Capacity, Resource, variable_of
from aiframe.store.yaml_fields import Fields
from aiframe.store.yaml_nodes import Mapping, Scalar, Sequence

KINDS = ("paths", "slots", "range", "values")
"""What a resource may be; each has one of them, but files may have slots too."""
MOST_VALUES = 10_000
MOST_SLOTS = 64
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_CURE = "write `api: [src/api/**]`, `db: {slots: 1}`, `port: {range: [9000, 9100]}` or `board: {values: [/dev/tty1]}`"


def read_resources(top: Fields) -> dict[str, Resource]:
    """What is below `resources`; mistakes are collected in *top*."""
    inner = top.inner("resources")
    if inner is None:
        return {}
    found: dict[str, Resource] = {}
    variables: dict[str, str] = {}
    for key, node in inner.node.pairs:
        if not _NAME.fullmatch(key.value):
            inner.complain(key, f"{key.value[:80]!r} is no name of a resource", "use letters, digits, _ and -")
        elif isinstance(node, Mapping):
            found[key.value] = _described(inner, key.value)
            _told_apart(inner, key, found[key.value], variables)
        elif isinstance(node, Scalar | Sequence):
            found[key.value] = Resource(key.value, _paths(inner, key.value))
    return found


def _described(parent: Fields, name: str) -> Resource:
    inner = parent.inner(name)
    if inner is None:
        return Resource(name)
    inner.only(KINDS)
    slots = int(inner.number("slots", 0, whole=True, least=1)) if inner.node.get("slots") is not None else 0
    values = inner.texts("values") or _range(inner)
    if len(set(values)) < len(values):
        inner.complain(inner.node, f"{name}: a value stands there twice", "each holder gets a value of its own")
    if not any(inner.node.get(kind) for kind in KINDS) or (inner.node.get("values") and not values):
        inner.complain(inner.node, f"{name} says neither what it holds nor how many share it", _CURE)
    if slots and values:
        inner.complain(inner.node, f"{name} has slots and values: the values are its slots", "take one of them out")
    return Resource(name, _paths(inner, "paths"), slots, values)


def _told_apart(inner: Fields, key: Scalar, resource: Resource, variables: dict[str, str]) -> None:
    """Complain where a task could not tell its value of *resource* from that of one of those in *variables*."""
    variable = variable_of(resource.name)
    if resource.values and variables.setdefault(variable, resource.name) != resource.name:
        other = variables[variable]
        inner.complain(key, f"{resource.name} and {other} would both be {variable} to a task", "rename one of them")


def _paths(parent: Fields, key: str) -> tuple[str, ...]:
    patterns = parent.texts(key)
    node = parent.node.get(key)
    for pattern in patterns:
        if node is not None and (not pattern.strip() or pattern.startswith(("/", "~")) or ".." in pattern.split("/")):
            cure = "name files below the top folder, such as src/api/**"
            parent.complain(node, f"{key}: {pattern[:80]!r} names no file of the project", cure)
    return patterns


def _range(inner: Fields) -> tuple[str, ...]:
    """The numbers from the first to the last, both included, as texts."""
    node = inner.node.get("range")
    if node is None:
        return ()
    words = inner.texts("range")
    if len(words) != 2 or not all(re.fullmatch("[0-9]{1,9}", word) for word in words):
        inner.complain(node, "range is no pair of numbers", "write `range: [9000, 9100]`")
        return ()
    first, last = map(int, words)
    if not first <= last < first + MOST_VALUES:
        inner.complain(node, f"range {first} to {last} is empty or too long", f"at most {MOST_VALUES} numbers, upwards")
        return ()
    return tuple(str(number) for number in range(first, last + 1))


def read_capacity(top: Fields) -> Capacity:
    """What `parallel` says: a number, or `{tasks: 4, agents: {codex: 2}}`; one task at a time where it is left out."""
    node = top.node.get("parallel")
    if node is None or isinstance(node, Scalar):
        return Capacity(_count(top, "parallel"))
    inner = top.inner("parallel")
    if inner is None:
        return Capacity()
    inner.only(("tasks", "agents"))
    agents = inner.inner("agents")
    of_agent = {key.value: _count(agents, key.value) for key, _ in agents.node.pairs} if agents is not None else {}
    return Capacity(_count(inner, "tasks"), of_agent)


def _count(fields: Fields, key: str) -> int:
    count = int(fields.number(key, 1, whole=True, least=1))
    node = fields.node.get(key)
    if count > MOST_SLOTS and node is not None:
        fields.complain(node, f"{key}: {count} tasks at once are too many", f"at most {MOST_SLOTS}")
    return min(count, MOST_SLOTS)
