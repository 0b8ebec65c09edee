"""Typed values out of YAML mappings; what is wrong is noted in the source, and a default stands in for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from collections.abc import Mapping as ReadOnly
from typing import TypeVar

from aiframe.store.yaml_nodes import Mapping, Node, Scalar, Sequence, Source

T = TypeVar("T")
_SHOWN = 80
"""How many characters of a name a message shows."""


class Fields:
    """Reads the fields of the mapping *node*, which messages call *name*."""

    def __init__(self, source: Source, node: Mapping, name: str = "") -> None:
        self.source = source
        self.node = node
        self.name = name

    def complain(self, node: Node, message: str, hint: str = "") -> None:
        """Note what is wrong with *node*, a part of this mapping."""
        self.source.complain(node.start, f"{self.name[:_SHOWN]}: {message}" if self.name else message, hint)

    def text(self, name: str, default: str = "") -> str:
        """A text, or a list of lines."""
        node = self.node.get(name)
        if isinstance(node, Sequence):
            return "\n".join(self._lines(name, node))
        if isinstance(node, Mapping):
            self.complain(node, f"{name} must be a text", f"write `{name}: |` and indent the text below it")
            return default
        return default if node is None else node.value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; a single text counts as a list of one."""
        node = self.node.get(name)
        if node is None:
            return ()
        if isinstance(node, Scalar):
            return (node.value,)
        if isinstance(node, Mapping):
            self.complain(
                node, f"{name} must be a list of texts", "begin each entry with `- `; quote one that holds `: `"
            )
            return ()
        return tuple(self._lines(name, node))

    def _lines(self, name: str, node: Sequence) -> list[str]:
        lines = []
        for item in node.items:
            if isinstance(item, Scalar) and not item.is_null:
                lines.append(item.value)
            elif isinstance(item, Scalar):
                self.complain(item, f"{name} has an empty entry", "fill it in or remove it")
            else:
                self.complain(item, f"an entry of {name} is no single text", "put the entry in quotes")
        return lines

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        node = self.node.get(name)
        value = node.flag if isinstance(node, Scalar) else None
        if node is not None and value is None:
            self.complain(node, f"{name} must be true or false", "write true or false, without quotes")
        return default if value is None else value

    def number(self, name: str, default: T, *, whole: bool = False, least: float = 0, above: bool = False) -> T | float:
        """A number of at least *least*, or *above* it; *whole*: without a fraction."""
        node = self.node.get(name)
        if node is None:
            return default
        value = node.number if isinstance(node, Scalar) else None
        fits = value is not None and (value > least if above else value >= least)
        if value is None or not fits or (whole and value != int(value)):
            wanted = f"a {'whole ' if whole else ''}number {'above' if above else 'of at least'} {least:g}"
            self.complain(node, f"{name} must be {wanted}", "write it in digits, without quotes")
            return default
        return int(value) if whole else value

    def word(self, name: str, words: ReadOnly[str, T], default: T) -> T:
        """One of *words*, in any case; gives what stands for it."""
        node = self.node.get(name)
        if node is None:
            return default
        word = node.value.strip().lower() if isinstance(node, Scalar) else ""
        if word in words:
            return words[word]
        shown = f"`{word}`" if isinstance(node, Scalar) else "this"
        self.complain(node, f"{name} {shown} is unknown", f"use one of {', '.join(words)}{_guess(word, words)}")
        return default

    def inner(self, name: str) -> Fields | None:
        """The mapping below *name*."""
        node = self.node.get(name)
        if node is None:
            return None
        if isinstance(node, Mapping):
            return Fields(self.source, node, f"{self.name}.{name}" if self.name else name)
        self.complain(node, f"{name} must hold keys and values", f"write `{name}:` and its keys indented below")
        return None

    def only(self, names: Iterable[str]) -> None:
        """Note every key that is none of *names*."""
        known = list(names)
        for key, _ in self.node.pairs:
            if key.value not in known:
                cure = f"use one of {', '.join(known)}{_guess(key.value, known)}"
                self.complain(key, f"the key {key.value!r} is unknown", cure)


def _guess(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean `{close[0]}`?" if close else ""
