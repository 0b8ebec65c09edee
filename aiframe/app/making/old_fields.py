"""What stands in a configuration of another tool: read by any of several names, with a list of what nobody has read."""

from __future__ import annotations

import re

from aiframe.store.yaml_fields import Fields
from aiframe.store.yaml_nodes import Node, Scalar


class OldFields:
    """A mapping of the old file. Names are found however they are written: ``main_branch``, ``mainBranch``."""

    def __init__(self, fields: Fields, left: list[str]) -> None:
        self._fields = fields
        self._left = left
        self._names = {plain_name(key.value): key.value for key, _ in fields.node.pairs}
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return plain_name(name) in self._names

    def node(self, *names: str) -> Node | None:
        """The value of the first of *names* that is there; None where it is missing or null."""
        found = self._name(names)
        return self._fields.node.get(found) if found else None

    def text(self, *names: str) -> str:
        """A text; a list of texts becomes lines."""
        found = self._name(names)
        return self._fields.text(found).strip() if found else ""

    def texts(self, *names: str) -> tuple[str, ...]:
        """A list of texts; one text is a list of one."""
        found = self._name(names)
        return tuple(text for text in self._fields.texts(found) if text.strip()) if found else ()

    def count(self, *names: str, most: int = 1_000_000) -> int:
        """A whole number from 1 to *most*; 0 where there is none."""
        node = self.node(*names)
        if node is None:
            return 0
        value = node.number if isinstance(node, Scalar) else None
        if value is None or value != int(value) or not 1 <= value <= most:
            self.complain(node, f"{self._name(names)} must be a whole number from 1 to {most}", "write it in digits")
            return 0
        return int(value)

    def inner(self, *names: str) -> OldFields | None:
        """The mapping of that name."""
        found = self._name(names)
        inner = self._fields.inner(found) if found else None
        return OldFields(inner, self._left) if inner else None

    def leave(self, why: str, *names: str) -> None:
        """Say of each of *names* that is there that it is not taken over, and *why*."""
        for name in names:
            if name in self:
                self._left.append(f"not taken over: {self._path(self._name((name,)))}, because {why}")

    def leave_rest(self, why: str) -> None:
        """The same of everything that nobody has read."""
        self.leave(why, *(name for name in self._names if name not in self._read))

    def complain(self, node: Node, message: str, cure: str) -> None:
        """Note what is wrong with *node*."""
        self._fields.complain(node, message, cure)

    def _name(self, names: tuple[str, ...]) -> str:
        """The first of *names* that is there, as the file writes it; it counts as read."""
        plain = next((name for name in map(plain_name, names) if name in self._names), "")
        self._read.add(plain)
        return self._names.get(plain, "")

    def _path(self, name: str) -> str:
        return f"{self._fields.name}.{name}" if self._fields.name else name


def plain_name(name: str) -> str:
    """*name* without what people write differently."""
    return re.sub(r"[\s_-]+", "", name).lower()
