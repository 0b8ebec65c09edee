"""What an agent in a container prints, followed to its end: by one child of the runner after another, if need be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from aiframe.app.attempts.outages import EngineAway, asked
from aiframe.app.project.site import Site
from aiframe.core.errors import AiframeError, StepError
from aiframe.core.model import Run
from aiframe.core.ports import Command, EndReason, Exit
from aiframe.core.timing import elapsed
from aiframe.process import Limits, never, now, supervise
from aiframe.sandbox import worker
from aiframe.sandbox.engine import Engine

_ENDED_WITHIN_S = 2.0
_LOOK_S = 2.0
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_TRIES = 8
Sink = Callable[[bytes], None]


class _Passed:
    """Hands bytes on that have not been handed on before, of a stream that is read again from its beginning."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._skip = 0
        self.passed = 0

    def again(self) -> None:
        self._skip = self.passed

    def take(self, chunk: bytes) -> None:
        new = chunk[self._skip :]
        self._skip -= len(chunk) - len(new)
        if new:
            self.passed += len(new)
            self._sink(new)


class Followed:
    """A container's output, followed by a child of this process, and by another one where somebody kills that."""

    def __init__(
        self, site: Site, engine: Engine, name: str, run_id: str, on_stdout: Sink, on_stderr: Sink,
        attended: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self._site, self._engine, self._name = site, engine, name
        self._run_id, self._attended = run_id, attended
        self.out, self._err = _Passed(on_stdout), _Passed(on_stderr)
        self._seconds = 0.0
        self._over = False

    def follow(self, run: Run, limits: Limits, complete: Any, should_stop: Any) -> Exit:
        """Follow it to its end, or end it for the reasons of `supervise`.

        Raises StepError where it cannot be followed.
        """
        tries = 0
        while True:
            before = self.out.passed
            left = max(1.0, run.timeout_s - elapsed(run.started, now()))
            ended = self._read(True, replace(limits, timeout_s=left), complete, self._over_or(should_stop))
            if ended.reason == "stopped" and self._over:
                ended = replace(ended, reason="exit", code=0)
            if ended.reason != "exit":
                worker.end(self._engine, self._name)
            found = self._ended(run, should_stop, patiently=ended.code == 0 or ended.reason != "exit")
            if found is None or not found.alive:
                break
            tries = 0 if self.out.passed > before else tries + 1
            if tries >= _TRIES:
                raise StepError(
                    f"the output of the agent's container cannot be followed: {ended.stderr.strip()[-200:]}",
                    hint=f"`{self._engine.name} logs {self._name}` may say why",
                )
            time.sleep(_PAUSE_S * tries)
        if found is None:
            return Exit(-9, ended.reason, "the container is gone", self._seconds)
        last = self._read(False, Limits(timeout_s=limits.timeout_s, stall_s=0), never, never)
        past = elapsed(run.started, now()) >= run.timeout_s and found.code in (worker.OUT_OF_TIME, 128 + 9)
        reason: EndReason = "timeout" if past and ended.reason == "exit" else ended.reason
        return Exit(worker.exit_code(found.code), reason, last.stderr, self._seconds)

    def _over_or(self, should_stop: Callable[[], bool]) -> Callable[[], bool]:
        """*should_stop*, or that the container has ended: an engine that follows its log may fail to notice."""
        looked = time.monotonic()

        def ask() -> bool:
            nonlocal looked
            if should_stop():
                return True
            if time.monotonic() - looked < _LOOK_S:
                return False
            with suppress(AiframeError):  # an engine that is busy says it the next time
                found = worker.condition(self._engine, self._name)
                self._over = found is None or not found.alive
            looked = time.monotonic()
            return self._over

        return ask

    def _read(self, follow: bool, limits: Limits, complete: Any, should_stop: Any) -> Exit:
        """All that it has said, from the beginning; what was handed on before is passed over."""
        self.out.again()
        self._err.again()
        words = worker.log_words(self._engine, self._name, follow=follow)
        ended = supervise(
            Command(words, Path("/")), run_id=self._run_id, limits=limits, on_stdout=self.out.take,
            on_stderr=self._err.take, complete=complete, should_stop=should_stop, env_base=self._engine.environ,
            **self._attended,
        )  # fmt: skip
        self._seconds += ended.duration_s
        return ended

    def _ended(self, run: Run, should_stop: Callable[[], bool], *, patiently: bool) -> worker.Condition | None:
        """How it is; the engine may take a moment to notice that it has ended."""
        deadline = time.monotonic() + (_ENDED_WITHIN_S if patiently else 0)
        while True:
            found = self._told(run, should_stop)
            if found is None or not found.alive or time.monotonic() >= deadline:
                return found
            time.sleep(_PAUSE_S / 4)

    def _told(self, run: Run, should_stop: Callable[[], bool]) -> worker.Condition | None:
        """How it is. An engine that does not answer is waited for, after growing pauses, as long as the step has."""
        pause = _PAUSE_S
        while True:
            try:
                return asked(self._site, lambda: worker.condition(self._engine, self._name))
            except EngineAway:
                if should_stop() or elapsed(run.started, now()) >= run.timeout_s:
                    raise
            self._attended["beat"]()
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
