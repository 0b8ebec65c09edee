"""The three protocols that coding-agent CLIs speak to a model: how they ask, and a reply in their events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from support.model_replies import Streamed

Body: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wire:
    """One protocol. *path* ends the address of its requests; *stream* gives the reply as server-sent events.

    *prompt* is the text of the last message that a user sent, *tool_outputs* what the tool calls of the conversation
    gave. The number that *stream* gets makes its ids different from those of other replies.
    """

    path: str
    prompt: Callable[[Body], str]
    tool_outputs: Callable[[Body], Sequence[str]]
    stream: Callable[[Streamed, int, Body], Iterator[bytes]]


def text_in(content: Any) -> str:
    """The text of a message's content, which is text or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The JSON objects in a list; none where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
