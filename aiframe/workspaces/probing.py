"""Which work that is not finished yet will not go together: tried out early, in objects that are thrown away.

Nothing is written into the person's repository, neither objects nor refs, and no workspace is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from types import TracebackType
from typing import Self

from msgspec import Struct

from aiframe.workspaces.cleanroom import scratch_room
from aiframe.workspaces.git import Repository, names
from aiframe.workspaces.git_errors import checked
from aiframe.workspaces.trees import add_everything

_WHO = ("-c", "user.name=aiframe", "-c", "user.email=aiframe@localhost")


class Branch(Struct, frozen=True):
    """Work on *task_id*, begun on the tree *base*: all that lies in its workspace now is *tree*."""

    task_id: str
    base: str
    tree: str


class Clash(Struct, frozen=True):
    """Work on *task_id* and that on *other*, a task or the branch that work lands on, change *files* differently."""

    task_id: str
    other: str
    files: tuple[str, ...]


Known = MutableMapping[str, tuple[str, ...]]
"""What was found out before, by the trees that it hangs on: files that differ, files in conflict."""


class Probe:
    """Merges of what lies in several workspaces of *host*. *known* is looked into before a merge, and filled after."""

    def __init__(self, host: Repository, known: Known) -> None:
        self._host = host
        self._known = known
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._room = self._stack.enter_context(scratch_room(self._host))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def branch(self, task_id: str, workspace: Repository, base: str) -> Branch:
        """All that lies in *workspace* now, committed or not, which was begun on commit *base*. Raises GitError."""
        with scratch_room(workspace, self._room.scratch) as room:
            room.load(base)
            return Branch(task_id, room.repo.tree_of(base), add_everything(room, base, ()))

    def clashes(self, branches: Sequence[Branch], target: str, onto: str) -> Iterator[Clash]:
        """What will not go together: with the branch *target*, whose tree is *onto*, and with each other.

        Raises GitError.
        """
        alone = {one.task_id: self._with_target(one, onto) for one in branches}
        for name, files in alone.items():
            if files:
                yield Clash(name, target, files)
        for one, other in combinations(branches, 2):
            if alone[one.task_id]:
                continue  # what it will be once it is mended, nobody knows
            files = tuple(file for file in self._together(one, other, onto) if file not in alone[other.task_id])
            if files:
                yield Clash(one.task_id, other.task_id, files)

    def _with_target(self, one: Branch, onto: str) -> tuple[str, ...]:
        """The files in conflict when *one* lands on *onto*."""
        if onto == one.base or self._changes(one).isdisjoint(self._between(one.base, onto)):
            return ()
        key = f"{one.base} {one.tree} {onto}"
        if key not in self._known:
            self._known[key] = self._merge(one, onto)[1:]
        return self._known[key]

    def _together(self, one: Branch, other: Branch, onto: str) -> tuple[str, ...]:
        """The files in conflict when *one* has landed on *onto*, which goes well, and then *other* lands."""
        if self._changes(one).isdisjoint(self._changes(other)):
            return ()
        key = f"{one.base} {one.tree} {other.base} {other.tree} {onto}"
        if key not in self._known:
            first = one.tree if onto == one.base else self._merge(one, onto)[0]
            self._known[key] = self._merge(other, first)[1:]
        return self._known[key]

    def _merge(self, branch: Branch, onto: str) -> tuple[str, ...]:
        """The tree that landing *branch* on *onto* gives, then the files in conflict."""
        root = self._bare(branch.base)
        sides = (self._bare(onto, root), self._bare(branch.tree, root))
        done = self._room.call("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", *sides)
        if done.code not in (0, 1):
            checked("merge-tree", done)
        tree, *conflicts = names(done.out)
        return (tree, *dict.fromkeys(conflicts))

    def _bare(self, tree: str, *parents: str) -> str:
        args = [part for parent in parents for part in ("-p", parent)]
        return self._room.run(*_WHO, "commit-tree", tree, *args, "-m", "probe").decode().strip()

    def _changes(self, branch: Branch) -> frozenset[str]:
        return self._between(branch.base, branch.tree)

    def _between(self, old: str, new: str) -> frozenset[str]:
        key = f"{old} {new}"
        if key not in self._known:
            found = self._room.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)
            self._known[key] = names(found)
        return frozenset(self._known[key])
