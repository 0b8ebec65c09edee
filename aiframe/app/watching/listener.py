"""``python -P -m aiframe.app.watching.listener``: hears what changes in folders, for the watch that has started it.

A process of its own, because file events need threads, and a process with threads cannot be copied: the watch could
then not start a runner without a new interpreter. It reads lines of JSON, each a list of the folders to listen to from
now on, and leaves when they end. It prints lines of JSON: ``["listening"]``, ``["changed", PATH...]``, ``["lost"]``
where it has to be told anew, ``["deaf", REASON]`` where the system grants no file events.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from watchfiles import watch

if TYPE_CHECKING:
    from watchfiles.main import FileChange

_WAIT_MS = 100
_STEP_MS = 20
_GROUP_MS = 50


class Orders:
    """What the watch wants; of several lists of folders only the last counts. Leaves where the watch has left."""

    def __init__(self) -> None:
        self._held = b""

    def wait(self) -> list[str]:
        """The next list."""
        said = b""
        while not said:
            chunk = os.read(0, 1 << 16)
            if not chunk:
                sys.exit()
            whole, _, self._held = (self._held + chunk).rpartition(b"\n")
            said = whole.rpartition(b"\n")[2]
        return list(json.loads(said))

    def have_come(self) -> bool:
        """Whether there is something to be read, be it the end."""
        return bool(select.select([0], [], [], 0)[0])


def listen(folders: list[str], orders: Orders) -> None:
    """Tell what changes in *folders* until there are other orders."""
    changes = watch(
        *folders, watch_filter=None, step=_STEP_MS, debounce=_GROUP_MS, rust_timeout=_WAIT_MS,
        yield_on_timeout=True, recursive=False,
    )  # fmt: skip
    with closing(changes):
        try:
            next(changes)
        except FileNotFoundError:  # removed meanwhile
            say("lost")
            return
        except (OSError, RuntimeError) as error:
            say("deaf", f"{error}")
            return
        say("listening")
        for found in heard(changes):
            if found:
                say("changed", *found)
            if orders.have_come():
                return
    say("lost")


def heard(changes: Iterator[set[FileChange]]) -> Iterator[list[str]]:
    """The paths of each group of changes; none every tenth of a second. Ends where the system gives up."""
    try:
        for found in changes:
            yield [path for _, path in found]
    except (OSError, RuntimeError):  # a folder was removed just now
        return


def say(*words: str) -> None:
    """One line for the watch."""
    text = json.dumps(words).encode() + b"\n"
    try:
        while text:
            text = text[os.write(1, text) :]
    except (BrokenPipeError, ConnectionResetError):
        sys.exit()


if __name__ == "__main__":
    its_orders = Orders()
    while True:
        if wanted := its_orders.wait():
            listen(wanted, its_orders)
