"""Bytes in and out of a child's pipes, in one thread and in bounded memory."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    from _typeshed import HasFileno

CHUNK_BYTES = 64 * 1024
Ready: TypeAlias = Sequence[Callable[[], bool]]

_PIPEFUL_CHUNKS = 64
"""More than the largest pipe that an ordinary user can make holds."""


class Pump:
    """Moves bytes between this process and a child's pipes without ever waiting for a single one of them."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()  # the pipes stay open: they are the child's starter's

    @property
    def busy(self) -> bool:
        """Whether a pipe is still connected."""
        return bool(self._selector.get_map())

    def read(
        self, pipe: HasFileno, sink: Callable[[bytes], object], at_end: Callable[[], object] = lambda: None
    ) -> None:
        """Hand what comes out of *pipe* to *sink*, in pieces of at most CHUNK_BYTES, and tell *at_end* its end."""

        def take() -> bool:
            try:
                chunk = os.read(pipe.fileno(), CHUNK_BYTES)
            except BlockingIOError:
                return False
            except ConnectionResetError:  # a socket's, whose other end has gone with words of ours unread
                chunk = b""
            if chunk:
                sink(chunk)
            else:
                self._selector.unregister(pipe)
                at_end()
            return bool(chunk)

        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, selectors.EVENT_READ, take)

    def write(self, pipe: IO[bytes], text: bytes) -> None:
        """Write *text* into *pipe* as fast as it is taken, then close it."""
        left = memoryview(text)

        def give() -> bool:
            nonlocal left
            try:
                left = left[os.write(pipe.fileno(), left[:CHUNK_BYTES]) :]
            except BlockingIOError:
                return False
            except BrokenPipeError:
                left = left[:0]  # the child does not want the rest
            if not left:
                self._selector.unregister(pipe)
                pipe.close()
            return False

        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, selectors.EVENT_WRITE, give)

    def wait(self, timeout_s: float) -> Ready:
        """Wait until something can be moved, at most *timeout_s*; say what."""
        return [key.data for key, _ in self._selector.select(timeout_s)]

    @staticmethod
    def move(ready: Ready) -> None:
        """Move a piece through each pipe that is ready."""
        for once in ready:
            once()

    def drain(self) -> None:
        """Take what the pipes hold now, and no more: a stranger may keep one open and fill it for ever."""
        for key in tuple(self._selector.get_map().values()):
            _empty(key.data)

    def finish(self, pipe: HasFileno) -> None:
        """Take what *pipe* holds now, and no more, and serve it no longer."""
        served = self._selector.get_map()
        if pipe in served:
            _empty(served[pipe].data)
        if pipe in served:
            self._selector.unregister(pipe)


def _empty(take: Callable[[], bool]) -> None:
    for _ in range(_PIPEFUL_CHUNKS):
        if not take():
            break
