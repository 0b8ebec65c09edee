"""Tasks side by side on a person's repository: laid out, brought to work at the same moment, and judged at the end."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from support.leftovers import carriers_left
from support.projects import Bench, dev, git, lay_project, wait_for

PATIENCE_S = 60
"""How long an agent waits for the word to go on, and how long agents are waited for."""


@dataclass(frozen=True, slots=True)
class Yard:
    """A project that works for the repository *repo*; its agents leave a mark in *marks* and wait there for `go`."""

    bench: Bench
    repo: Path
    marks: Path

    @property
    def target(self) -> str:
        """The branch on which finished work lands."""
        found = json.loads((self.bench.control_dir / "workspace.json").read_text())
        return str(found["target"])

    def workspace(self, name: str) -> Path:
        """Where the task *name* is worked at."""
        return self.bench.root.parent / "state" / "aiframe" / "workspaces" / f"{self.bench.root.name}.{name}" / name

    def starts(self) -> list[tuple[str, float]]:
        """What the agents were started for and when, in epoch seconds; a task once for each start."""
        path = self.marks / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, float(at)) for name, at in map(str.split, lines)]

    def arrived(self) -> list[str]:
        """What the agents were started for, in the order of their starts."""
        return [name for name, _ in self.starts()]

    @contextmanager
    def at_work(self, *names: str, words: Sequence[str] = ("run",)) -> Iterator[subprocess.Popen[bytes]]:
        """Start `aiframe WORDS` and wait until the agents of the tasks *names* are all at work, for the block.

        At its end they go on, and the command ends.
        """
        argv = self.bench.argv(words[0], "--project", str(self.bench.root), *words[1:])
        with (
            (self.marks / "said").open("ab") as said,
            subprocess.Popen(
                argv, cwd=self.bench.root, env=self.bench.env, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            ) as running,
        ):
            try:
                wait_for(lambda: set(names) <= set(self.arrived()), f"{', '.join(names)} at work: {self.said()}")
                yield running
            finally:
                (self.marks / "go").touch()
            running.wait(PATIENCE_S * 1.5)

    def said(self) -> str:
        """What the commands of `at_work` have said so far."""
        path = self.marks / "said"
        return path.read_text(errors="replace") if path.exists() else ""

    def turn(self, name: str, *lines: str, meets: bool = True, **more: Any) -> dict[str, Any]:
        """A turn of the scripted agent for the task *name*: it says that it is there, waits for `go`, runs *lines*.

        It writes NAME.txt where *more* has no files. With *meets* false it waits for nobody.
        """
        come = f"echo {name} $(date +%s.%N) >>{shlex.quote(str(self.marks / 'starts'))}"
        go = shlex.quote(str(self.marks / "go"))
        wait = f"for i in $(seq {PATIENCE_S * 10}); do test -e {go} && break; sleep 0.1; done"
        lines = (come, *([wait] if meets else []), *lines)
        return dev(name, **{"files": {f"{name}.txt": f"{name}\n"}, **more, "run": lines})


def lay_yard(folder: Path, *tasks: Mapping[str, Any], files: Mapping[str, str] | None = None, **settings: Any) -> Yard:
    """A repository with *files* on master, in which a person is at work, and an unattended project for it.

    *settings* are keys of PROJECT.yaml. Its scripted agent has yet to be given turns.
    """
    repo, marks = folder / "app", folder / "marks"
    marks.mkdir(parents=True)
    for name, text in {"a.txt": "a\n", ".gitignore": "*.log\n", **(files or {})}.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(text)
    git(repo, "init", "-q", "-b", "master")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "first")
    (repo / "of a person").write_text("not yet committed\n")
    more = {"parallel": 4, "workspace": {"kind": "worktree", "repo": str(repo)}, **settings}
    bench = lay_project(folder, *tasks, settings=more)
    home = folder / "home"
    home.mkdir()
    env = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(folder / "state")}
    return Yard(replace(bench, env=env), repo, marks)


def runner_of(yard: Yard, name: str) -> int:
    """The process that carries the step of the task *name*."""
    record = yard.bench.root / "lanes" / f"{yard.bench.root.name}.{name}" / ".git" / "aiframe" / "control.json"
    return int(json.loads(record.read_text())["project"]["run"]["runner"]["pid"])


def shown(repo: Path) -> tuple[str, ...]:
    """What a person sees of the checkout: its files, index, HEAD and stash."""
    words = (["status", "--porcelain=v2", "--branch"], ["rev-parse", "HEAD"], ["stash", "list"], ["diff", "HEAD"])
    return tuple(git(repo, *each) for each in words)


# What became of it ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """One run of a task, in epoch seconds, as the journal has it."""

    task: str
    began: float
    ended: float

    def meets(self, other: Span) -> bool:
        """Whether there was a moment at which both ran."""
        return self.began < other.ended and other.began < self.ended


def spans(bench: Bench) -> list[Span]:
    """The runs of all tasks, the earliest first."""
    began = {e["run_id"]: e for e in bench.events if e["kind"] == "step_started"}
    ended = {e["run_id"]: e["ts"] for e in bench.events if e["kind"] == "step_ended"}
    assert set(began) == set(ended), "a run without an end, or without a beginning"
    return sorted((Span(e["task"], e["ts"], ended[run]) for run, e in began.items()), key=lambda span: span.began)


def most_at_once(runs: Sequence[Span]) -> int:
    """How many of *runs* lived at the same moment at most."""
    return max(sum(other.began <= span.began < other.ended for other in runs) for span in runs)


def check_apart(runs: Sequence[Span], tasks: Sequence[Mapping[str, Any]], places: Mapping[str, int]) -> None:
    """No two of *runs* wrote, or wrote and read, the same at the same time; of what has *places*, so many had it."""
    locks = {each["id"]: each.get("locks", {}) for each in tasks}
    reads = {name: set(lock.get("reads", ())) for name, lock in locks.items()}
    writes = {name: set(lock.get("writes", ())) for name, lock in locks.items()}
    for one, other in combinations(runs, 2):
        mine, its = one.task, other.task
        shared = (writes[mine] & (reads[its] | writes[its])) | (writes[its] & reads[mine])
        apart = mine == its or shared - set(places)
        assert not (apart and one.meets(other)), f"{mine} and {its} at the same time: {shared}"
    for name, count in places.items():
        holders = [span for span in runs if name in reads[span.task] | writes[span.task]]
        assert most_at_once(holders) <= count, f"{name} was given to more than {count}"


def check_landed(yard: Yard, *names: str) -> None:
    """Of the tasks *names*, and of no others: one commit each on the target, with all checks passed on its tree."""
    bench, target = yard.bench, yard.target
    form = "--format=%H %(trailers:key=Aiframe-Task,valueonly,separator=)"
    told = git(yard.repo, "log", "--first-parent", form, target)
    landed = [line.split() for line in told.splitlines() if len(line.split()) == 2]
    assert sorted(name for _, name in landed) == sorted(names)
    committed = [result for result in bench.results() if result["commit"]]
    good = {result["task_id"]: result for result in committed}
    assert len(committed) == len(good), "finished work, bought twice"
    for commit, name in landed:
        result, tree = good[name], git(yard.repo, "rev-parse", f"{commit}^{{tree}}")
        assert result["commit"] == commit
        gates = [gate for gate in result["gates"] if not gate["ran_on"]]
        assert gates, f"nothing was proven of {name}"
        assert {(gate["exit_code"], gate["tree"]) for gate in gates} == {(0, tree)}, f"{name} landed unproven"


def check_clear(yard: Yard) -> None:
    """Nothing is left of lanes that are over: no process, worktree, branch or folder; and the repository is sound."""
    bench, repo = yard.bench, yard.repo
    assert not carriers_left(f"HOME={bench.env['HOME']}", grace_s=5)
    assert not list((bench.root / "lanes").iterdir())
    assert git(repo, "worktree", "list").count("\n") == 0
    branches = git(repo, "branch", "--list", "--format=%(refname:short)", "aiframe/*").splitlines()
    assert branches == [yard.target]
    left = [path for path in (bench.root.parent / "state").rglob("*") if path.is_file() and path.name != ".owner.json"]
    assert not left, "files of a workspace are left"
    assert git(repo, "fsck", "--no-dangling") == ""
    assert bench.git("status", "--porcelain") == ""
