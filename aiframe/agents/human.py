"""The agent that is a person, with or without a chat of their own: aiframe shows the prompt, waits, and checks.

Nothing is started for it. aiframe knows it by its name, writes down what is asked, and takes the work in when the
person says ``aiframe done``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from aiframe.agents.options import read_options
from aiframe.core.errors import UsageError
from aiframe.core.ports import AgentRequest


class HumanOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """There are none."""


class Human:
    """A person who edits the workspace by hand."""

    name = "human"
    tells_cost = True
    variables: tuple[str, ...] = ()

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        read_options(self.name, dict(options or {}), HumanOptions)

    def command(self, request: AgentRequest) -> NoReturn:
        """There is none. Raises UsageError."""
        raise UsageError("agent 'human' is no program that can be run", hint="edit the files, then `aiframe done`")

    def reader(self, request: AgentRequest) -> NoReturn:
        """There is nothing to read. Raises UsageError."""
        self.command(request)
