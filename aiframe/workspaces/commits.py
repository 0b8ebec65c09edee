"""Commits made from trees, and the refs that name them: every move of a ref is a compare-and-swap."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

from msgspec import Struct

from aiframe.workspaces.git import NOT_YET, Repository
from aiframe.workspaces.git_errors import HeadMoved, checked, message_of, refused
from aiframe.workspaces.locks import announced, ref_locks

RUN_TRAILER = "Aiframe-Run"
TASK_TRAILER = "Aiframe-Task"
AGENT_TRAILER = "Aiframe-Agent"
BASE_TRAILER = "Aiframe-Base"
"""The commit that the work of a task began on; an agent's own commits may lie between the two."""
UNDO_TRAILER = "Aiframe-Undo"
"""The commit that is taken back."""
PLAIN_HEAD = re.compile(rb"ref: refs/heads/([A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*)\n")
"""A HEAD that needs no git to be understood. All others do: git alone knows which names are good."""


class Head(Struct, frozen=True):
    """Where the project stands: its commit and its branch, None for a detached HEAD."""

    commit: str
    branch: str | None


class LogEntry(Struct, frozen=True):
    """One commit as people read it. *date* is the committer's, in epoch seconds; *run_id* is empty for a person's."""

    commit: str
    date: float
    author: str
    subject: str
    run_id: str


def head(repo: Repository) -> Head:
    """The commit and branch of HEAD. Raises GitError when there is no commit yet or it is damaged."""
    branch = current_branch(repo)
    commit = repo.commit_of(f"refs/heads/{branch}") if branch is not None else None
    return Head(commit or repo.text("rev-parse", "--verify", "--end-of-options", "HEAD^{commit}"), branch)


def current_branch(repo: Repository) -> str | None:
    """The branch that HEAD names, born or not; None for a detached HEAD."""
    repo.assert_own()
    with suppress(OSError):
        plain = PLAIN_HEAD.fullmatch((repo.git_dir / "HEAD").read_bytes())
        if plain:
            return plain[1].decode()
    done = repo.call("symbolic-ref", "-q", "HEAD")
    return os.fsdecode(done.out).strip().removeprefix("refs/heads/") if done.code == 0 else None


def commit_text(message: str, trailers: Mapping[str, str]) -> bytes:
    """A commit message with its trailers as the last paragraph; none of them can be forged by the text above."""
    body = message.replace("\0", "").strip() or "aiframe"
    lines = [f"{key}: {' '.join(str(value).replace(chr(0), '').split())}" for key, value in trailers.items()]
    text = body + "\n" + ("\n" + "\n".join(lines) + "\n" if lines else "")
    return text.encode("utf-8", "replace")


def write_commit(
    repo: Repository, tree: str, parents: Sequence[str], message: str, trailers: Mapping[str, str], date: float
) -> str:
    """Store a commit that no ref names yet. The same arguments and identity always give the same id."""
    args = [part for parent in parents for part in ("-p", parent)]
    text = commit_text(message, trailers)
    commit = repo.text("commit-tree", "--no-gpg-sign", tree, *args, stdin=text, env=signed(repo, date))
    repo.remember(commit, tree)
    return commit


def signed(repo: Repository, date: float) -> dict[str, str]:
    """The environment that says who commits, and when (epoch seconds)."""
    who = repo.identity()
    stamp = f"@{int(date)} +0000"
    return {
        "GIT_AUTHOR_NAME": who.name, "GIT_AUTHOR_EMAIL": who.email, "GIT_AUTHOR_DATE": stamp,
        "GIT_COMMITTER_NAME": who.name, "GIT_COMMITTER_EMAIL": who.email, "GIT_COMMITTER_DATE": stamp,
    }  # fmt: skip


def move_head(repo: Repository, at: Head, new: str, reason: str, date: float) -> None:
    """Move the branch (or the detached HEAD) from *at* to *new*. Raises HeadMoved when it is not there any more."""
    target = "HEAD" if at.branch is None else f"refs/heads/{at.branch}"
    flags = ("--no-deref",) if at.branch is None else ()
    with announced(repo, ref_locks(repo, target)) as held:
        who = signed(repo, date)
        done = repo.call("update-ref", *flags, "-m", reason, target, new, at.commit, env=who, keep_fds=held)
    if done.code == 0 or repo.call("rev-parse", "-q", "--verify", target).out.decode().strip() == new:
        return
    if re.search(r"but expected|already exists|unable to resolve reference", message_of(done)):
        raise moved(repo, at)
    raise refused("update-ref", done)


def moved(repo: Repository, expected: Head) -> HeadMoved:
    """The error for a branch that went somewhere else meanwhile."""
    where = expected.branch or "HEAD"
    return HeadMoved(
        "commit", f"{where} is no longer at {expected.commit[:12]}: somebody committed or switched branches meanwhile",
        hint=f"nothing was lost: the work is in the folder {repo.root}; run the command again",
    )  # fmt: skip


def find_run_commit(repo: Repository, run_id: str, since: str, *, tree: str | None = None) -> str | None:
    """The newest commit between *since* and HEAD whose trailer names *run_id*; with *tree*, only one that holds it.

    A trailer alone proves nothing: an agent that knows its run id can write one. Give *tree* from a durable result.
    """
    form = f"--format=%H%x00%T%x00%(trailers:key={RUN_TRAILER},valueonly,separator=%x2C)"
    out = repo.text("log", form, "--end-of-options", f"{since}..HEAD")
    for line in out.splitlines():
        commit, its_tree, runs = line.split("\0")
        if run_id in runs.split(",") and tree in (None, its_tree):
            return commit
    return None


def log(repo: Repository, count: int, start: str = "HEAD") -> tuple[LogEntry, ...]:
    """The newest *count* commits, newest first."""
    form = f"--format=%H%x00%ct%x00%an%x00%s%x00%(trailers:key={RUN_TRAILER},valueonly,separator=%x2C)%x00"
    out = repo.run("log", f"-{int(count)}", "-z", form, "--end-of-options", start)
    fields = out.decode("utf-8", "replace").split("\0")
    rows = [fields[at : at + 5] for at in range(0, len(fields) - 5, 6)]
    return tuple(LogEntry(commit, float(date), author, subject, run) for commit, date, author, subject, run in rows)


def commits_by_run(repo: Repository, tips: Sequence[str] = ("HEAD",)) -> dict[str, str]:
    """The newest commit in the history of *tips* for each run that a trailer names; for people to see, it proves
    nothing."""
    if not tips:
        return {}
    form = f"--format=%H%x00%(trailers:key={RUN_TRAILER},valueonly,separator=%x2C)"
    named: dict[str, str] = {}
    for line in repo.text("log", form, f"--grep=^{RUN_TRAILER}: ", "--end-of-options", *tips).splitlines():
        commit, _, runs = line.partition("\0")
        for run_id in filter(None, runs.split(",")):
            named.setdefault(run_id, commit)
    return named


def show_file(repo: Repository, commit: str, path: str) -> bytes | None:
    """The bytes of *path* in *commit*; None when it holds no such file (a folder is none)."""
    entry = repo.run("ls-tree", "-z", "--full-tree", f"{commit}^{{tree}}", "--", path).partition(b"\0")[0]
    if not entry:
        return None
    kind, blob = entry.partition(b"\t")[0].decode().split()[1:3]
    return repo.run("cat-file", "blob", blob) if kind == "blob" else None


def create_ref(repo: Repository, name: str, commit: str, date: float) -> str:
    """A new ref *name*, or *name*-2, -3, ... where it is taken by another commit; returns the full name."""
    candidate, number = name, 1
    while True:
        with announced(repo, ref_locks(repo, candidate)) as held:
            who = signed(repo, date)
            done = repo.call("update-ref", "-m", "aiframe: backup", candidate, commit, NOT_YET, env=who, keep_fds=held)
        if done.code == 0:
            return candidate
        there = repo.call("rev-parse", "-q", "--verify", candidate)
        if there.code != 0:
            raise refused("update-ref", done)
        if there.out.decode().strip() == commit:
            return candidate
        number += 1
        candidate = f"{name}-{number}"


def set_ref(repo: Repository, name: str, commit: str) -> None:
    """Let the ref *name* be at *commit*, wherever it was. Raises GitError."""
    with announced(repo, ref_locks(repo, name)) as held:
        done = repo.call("update-ref", name, commit, keep_fds=held)
    checked("update-ref", done)


def safe_ref(name: str) -> str:
    """*name* as one component of a ref."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "work"
