"""What keeps lanes from going on that have no voice of their own: a file that cannot be read, a runner that gives up.

Their project remembers it, for the lane may be what cannot be written. It decides nothing about work: a file that is
lost, or cannot be read, is begun anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
from msgspec import Struct, to_builtins

from aiframe.core.errors import AiframeError
from aiframe.core.model import Failure, FailureKind
from aiframe.store.atomic import make_folder, read_bounded, write_atomic
from aiframe.store.layout import Layout


class Trouble(Struct, frozen=True):
    """How it went to have a lane go on. *tries* were in vain, for what *message* and *hint* say; 0 for none.

    The next one is at *next_at* (epoch seconds). *failed*: there is none, its task has failed. *over*: that is decided,
    and what the lane held is others'. When it was last begun, its project was at *generation* (-1: it is to be begun)
    and its runners had printed *printed* bytes. *made*: there is a lane, or there should be; *lost* of those that were
    made before are gone.
    """

    message: str = ""
    hint: str = ""
    tries: int = 0
    next_at: float = 0.0
    failed: bool = False
    over: bool = False
    generation: int = -1
    printed: int = 0
    made: bool = False
    lost: int = 0

    @property
    def failure(self) -> Failure | None:
        """Why its task has failed; None while it is tried again."""
        return Failure(FailureKind.INTERRUPTED, self.message, self.hint) if self.failed else None


def read_troubles(layout: Layout) -> dict[str, Trouble]:
    """Those of the lanes of the project, by their tasks."""
    try:
        return msgspec.convert(json.loads(read_bounded(layout.lane_troubles)), dict[str, Trouble])
    except (OSError, AiframeError, ValueError, msgspec.ValidationError):
        return {}


def write_troubles(layout: Layout, troubles: Mapping[str, Trouble]) -> None:
    """Remember *troubles*. Raises StorageError."""
    make_folder(layout.control_dir)
    write_atomic(layout.lane_troubles, json.dumps(to_builtins(troubles), indent=2) + "\n")
