"""Each lane's trouble is its own: what is in the way of one keeps no other waiting. It is told once, the lane is begun
again after growing pauses, and in the end its task fails for that reason, with its locks free and its work kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec.structs import replace

from aiframe.app.attempts.outages import outage
from aiframe.app.project.lane_troubles import Trouble, read_troubles, write_troubles
from aiframe.app.project.lanes import lane_root
from aiframe.app.project.last_words import last_words, printed
from aiframe.app.project.site import Site
from aiframe.app.project.telling import tell_of_task
from aiframe.app.protection.secrets import redactor_of
from aiframe.core.errors import AiframeError, LockHeld, UnreadableFile
from aiframe.core.model import Failure, FailureKind
from aiframe.core.timing import pause_before
from aiframe.process import now
from aiframe.store.control import read_control
from aiframe.store.journal import append_event
from aiframe.store.layout import Layout


class Troubles:
    """What came in between in one look at the lanes, beside what is known of the looks before."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._before = read_troubles(site.layout)
        self._known = dict(self._before)
        self._found: dict[str, Failure] = {}
        self._others: list[AiframeError] = []

    @contextmanager
    def of(self, task_id: str, root: Path | None = None) -> Iterator[None]:
        """Go on after the block whatever it raises: what is the lane's own is its trouble, anything else is kept."""
        root = root or lane_root(self._site.root, task_id)
        try:
            yield
        except AiframeError as error:
            if _is_its_own(error, root):
                self.find(task_id, error.message, error.hint)
            else:
                self._others.append(error)

    def find(self, task_id: str, message: str, hint: str) -> None:
        """The lane of *task_id* cannot go on, for what *message* says."""
        self._found.setdefault(task_id, Failure(FailureKind.INTERRUPTED, message, hint))

    def is_begun_in_vain(self, task_id: str, root: Path) -> bool:
        """Whether the lane stands where it stood when it was last begun: its runner gave up, and nobody was told."""
        begun = self._known.get(task_id, Trouble())
        if begun.generation < 0 or begun.generation != _generation(root):
            return False
        words = last_words(Layout(root), after=begun.printed)
        silent = "its runner ended without a word", f"read {Layout(root).runner_log}"
        self.find(task_id, *((words.message, words.hint) if words.message else silent))
        return True

    def note_begun(self, task_id: str, root: Path) -> None:
        """The lane is begun now."""
        before = self._known.get(task_id, Trouble())
        self._known[task_id] = replace(before, generation=_generation(root), printed=printed(Layout(root)))
        self._write()  # first: after a kill, too, it is known

    def forget(self, task_id: str) -> None:
        """A person, or the machine, has the lane go on: its tries begin anew."""
        self._known[task_id] = Trouble(made=True)

    def note_made(self, task_id: str) -> None:
        """The lane is made now. Where there was one before, somebody has removed that: it may be what is done there."""
        before = self._known.get(task_id, Trouble())
        self._known[task_id] = Trouble(tries=before.lost, made=True, lost=before.lost + before.made)
        if before.made:
            cure = f"find what did that, then `aiframe retry {task_id}`"
            self.find(task_id, "its lane, or the .git in there, was removed while it was worked at", cure)

    def put_away(self, task_id: str) -> None:
        """There is to be no lane any more."""
        self._known.pop(task_id, None)

    def is_found(self, task_id: str) -> bool:
        """Whether something is in the lane's way, by this very look."""
        return task_id in self._found

    def let_go(self, task_id: str) -> None:
        """What the lane held is others' from now on."""
        if task_id in self._known:
            self._known[task_id] = replace(self._known[task_id], over=True)

    def settle(self, there: Collection[str]) -> tuple[str, ...]:
        """Remember what was found, of the lanes that are *there*; in words, what is new. Raises StorageError."""
        for name, known in self._known.items():
            if name in there and self._is_past(name):
                self._known[name] = Trouble(made=True, lost=known.lost)
        self._known = {name: known for name, known in self._known.items() if name in there or known.made}
        said = [line for name in self._found if name in there for line in self._count(name)]
        self._write()
        return tuple(said)

    def raise_others(self) -> None:
        """Raise what came in between that is not one lane's."""
        if self._others:
            raise self._others[0]

    def _is_past(self, task_id: str) -> bool:
        """Whether the lane has gone on since it was begun."""
        known = self._known[task_id]
        return task_id not in self._found and known.generation not in (-1, _generation(self._root(task_id)))

    def _count(self, task_id: str) -> Iterator[str]:
        before, found, clock = self._known.get(task_id, Trouble()), self._found[task_id], now().wall
        if before.tries and clock < before.next_at:
            return
        rules, tries = self._site.rules, before.tries + 1
        away = outage(self._site)
        if away is not None:  # no fault of the lane's
            found = Failure(FailureKind.INTERRUPTED, away.message, away.hint)
            tries = min(tries, rules.transient_limit - 1)
        redact = redactor_of(self._site).text
        message, hint = redact(f"{task_id} cannot be looked after: {found.message}"), redact(found.hint)
        pause = pause_before(tries, rules)
        failed = tries >= rules.transient_limit and away is None
        if failed:
            message = f"{message} ({tries} times in a row)"
        next_at = clock + pause if before.failed or not failed else 0.0
        after = Trouble(message, hint, tries, next_at, failed, before.over, made=before.made, lost=before.lost)
        self._known[task_id] = after
        if failed and not before.failed:
            yield f"{task_id} is given up after {tries} tries"
        if not before.tries:
            again = f"it is tried again in {pause:.0f} s; the others go on"
            self._tell(task_id, message, clock)
            yield f"{message}\n  cure: {hint}; {again}" if hint else f"{message}; {again}"

    def _tell(self, task_id: str, message: str, clock: float) -> None:
        key = f"trouble:{task_id}:{round(clock, 3)}"
        append_event(self._site.layout, tell_of_task(task_id, key, message, clock))

    def _write(self) -> None:
        if self._known != self._before:
            write_troubles(self._site.layout, self._known)
            self._before = dict(self._known)

    def _root(self, task_id: str) -> Path:
        return lane_root(self._site.root, task_id)


def _is_its_own(error: AiframeError, root: Path) -> bool:
    """Whether *error* is about the lane in *root*, and not about its project or about somebody who holds a lock."""
    if isinstance(error, LockHeld) or not root.exists():
        return False
    return not isinstance(error, UnreadableFile) or any(each.path.is_relative_to(root) for each in error.problems)


def _generation(root: Path) -> int:
    """How far the lane's project is; -2 where nobody can tell."""
    with suppress(AiframeError):
        record = read_control(Layout(root))
        return record.project.generation if record is not None else 0
    return -2
