"""A long command under supervision: its output as it comes, its limits, and its whole tree gone at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from aiframe.core.ports import Command, EndReason, Exit
from aiframe.process.cookies import cookie, outer_cookies
from aiframe.process.pump import Pump
from aiframe.process.start import check_startable
from aiframe.process.tree import PATIENCE_S, Tree

STDERR_BYTES = 8 * 1024
STOOD_STILL_S = 2.0
"""A wait that lasts this much longer than asked for means that the machine, or this process, stood still."""
_LOOKS = 4  # at the workspace in one stall_s of silence


class Limits(Struct, frozen=True):
    """When to end a command, in seconds.

    *stall_s* (0: off) is the longest time without output and without a change in the workspace; it is noticed at most
    a quarter later. *term_grace_s* lies between SIGTERM and SIGKILL. *linger_s* is what a command gets that has given
    its result. *poll_s* is how often ``should_stop`` is asked.
    """

    timeout_s: float
    stall_s: float
    term_grace_s: float = 5
    linger_s: float = 10
    beat_every_s: float = 30
    poll_s: float = 0.5


def never() -> bool:
    """The answer of ``complete`` and ``should_stop`` where nobody has another one."""
    return False


class _Watch(Struct):
    """Says when a command has to be ended, and why. All times are of the monotonic clock.

    *active* is when it last printed something or changed something, *looked* when its workspace was last looked at.
    """

    limits: Limits
    fingerprint: Callable[[], object]
    complete: Callable[[], bool]
    should_stop: Callable[[], bool]
    started: float
    active: float
    looked: float
    polled: float = float("-inf")
    completed: float | None = None
    seen: object = field(default_factory=object)

    def stood_still(self, seconds: float) -> None:
        """Take out a time in which nothing could run."""
        self.started += seconds
        self.active += seconds
        self.looked += seconds
        if self.completed is not None:
            self.completed += seconds

    def verdict(self, now: float) -> EndReason | None:
        """Why the command has to be ended now; None when it may go on."""
        if now - self.polled >= self.limits.poll_s:
            self.polled = now
            if self.should_stop():
                return "stopped"
        if not self.complete():
            self.completed = None  # it may go on after a result: a task in the background has ended
        elif self.completed is None:
            self.completed = now
        if self.completed is not None:
            return "lingered" if now - self.completed >= self.limits.linger_s else None
        if now - self.started >= self.limits.timeout_s:
            return "timeout"
        return "stalled" if self._stalled(now) else None

    def _stalled(self, now: float) -> bool:
        """Whether nothing has happened for too long. Looking may be dear: only after some silence, and not often."""
        stall_s = self.limits.stall_s
        if stall_s <= 0 or now - max(self.active, self.looked) < stall_s / _LOOKS:
            return False
        self.looked = now
        seen = self.fingerprint()
        if seen != self.seen:  # the first look always: what was before is not known
            self.seen, self.active = seen, now
        return now - self.active >= stall_s


class _Beats(Struct):
    """Calls *beat* at once and then every *every_s*."""

    beat: Callable[[], None]
    every_s: float
    last: float = float("-inf")

    def keep(self, now: float) -> None:
        """Beat when it is time."""
        if now - self.last >= self.every_s:
            self.last = now
            self.beat()


def supervise(
    command: Command, *, run_id: str, limits: Limits, on_stdout: Callable[[bytes], None],
    on_stderr: Callable[[bytes], None], beat: Callable[[], None], fingerprint: Callable[[], object],
    complete: Callable[[], bool] = never, should_stop: Callable[[], bool] = never, env_base: Mapping[str, str],
) -> Exit:  # fmt: skip
    """Run *command* to its end; when this returns or raises, nothing of its tree is left.

    Its environment is *env_base*, on top of it ``command.env`` and the run's cookie. Output goes to *on_stdout* and
    *on_stderr* as it comes, in pieces of at most 64 KiB. *beat* is called at once and every ``beat_every_s``.
    *fingerprint* gives a value that changes with the workspace; it is asked in longer silences only. *complete* says
    that the command has given its result, *should_stop* that somebody wants it stopped. Whatever one of these raises
    is raised here once the tree is gone. *run_id* is unique on this machine, and has one command at a time: the end of
    one would be the end of the other.

    Raises MissingProgram, MissingFolder.
    """
    env = {**env_base, **outer_cookies(), **command.env, cookie(run_id): "1"}
    check_startable(command.argv, command.cwd, env)
    started = time.monotonic()
    watch = _Watch(limits, fingerprint, complete, should_stop, started, active=started, looked=started)
    tail = bytearray()

    def take_stdout(chunk: bytes) -> None:
        watch.active = time.monotonic()
        on_stdout(chunk)

    def take_stderr(chunk: bytes) -> None:
        watch.active = time.monotonic()
        tail.extend(chunk)
        del tail[:-STDERR_BYTES]
        on_stderr(chunk)

    with Pump() as pump, Tree(command, env, cookie(run_id)) as tree:
        tree.connect(pump, take_stdout, take_stderr)
        reason = _attend(tree, pump, watch, _Beats(beat, limits.beat_every_s))
        tree.end()
        pump.drain()
        return Exit(tree.exit_code(), reason, tail.decode(errors="replace"), time.monotonic() - started)


def _attend(tree: Tree, pump: Pump, watch: _Watch, beats: _Beats) -> EndReason:
    """Move bytes, beat and watch until the tree is gone or has used up its grace; say why it ended."""
    limits, last_call = watch.limits, float("inf")
    reason: EndReason | None = None
    while not tree.gone:
        now = time.monotonic()
        beats.keep(now)
        if tree.ended or reason:
            last_call = min(last_call, now + (PATIENCE_S if tree.ended else limits.term_grace_s))
            if now >= last_call:
                break
        elif reason := watch.verdict(now):
            tree.ask_to_end()
        _step(pump, watch, limits.poll_s)
    return reason or "exit"


def _step(pump: Pump, watch: _Watch, timeout_s: float) -> None:
    before = time.monotonic()
    ready = pump.wait(timeout_s)
    late = time.monotonic() - before - timeout_s
    if late > STOOD_STILL_S:
        watch.stood_still(late)
    pump.move(ready)
