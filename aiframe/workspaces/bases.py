"""A branch for the work to start from, made in a person's repository where they ask for it.

Only refs and objects are added: files, index and HEAD of their checkout stay as they are.
"""

from __future__ import annotations

import os

from aiframe.workspaces.commits import current_branch, write_commit
from aiframe.workspaces.create import has_commit
from aiframe.workspaces.git import NOT_YET, Repository
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.host import host_lock, is_branch_name
from aiframe.workspaces.worktree import move_branch

FIRST_MESSAGE = "first commit, without files"


def create_base(host: Repository, name: str, date: float) -> str:
    """Let branch *name* be there (without a name: the one that is checked out); says in words what was made.

    It starts from what is checked out; from the branch of that name of a remote, where there is one; from an empty
    commit, where there is no commit at all. Empty where nothing was to be made. Raises GitError.
    """
    branch = name or current_branch(host) or ""
    if not branch:
        raise GitError("branch", f"no branch is checked out in {host.root}", hint="name the one to make with --base")
    if host.call("rev-parse", "-q", "--verify", "--end-of-options", f"{branch}^{{commit}}").code == 0:
        return ""
    if branch.startswith("-") or branch == "HEAD" or not is_branch_name(branch):
        raise GitError("branch", f"{branch} cannot be a branch", hint="name it with letters, digits, - and /")
    with host_lock(host):
        start, why = _start(host, branch, date)
        if move_branch(host, branch, NOT_YET, start, "branch: made by aiframe", date):
            return f"made the branch {branch} in {host.root}, {why}"
    return ""  # somebody else was faster


def _start(host: Repository, branch: str, date: float) -> tuple[str, str]:
    """The commit that *branch* is to start from, and in words which one it is."""
    of_remotes = os.fsdecode(host.run("for-each-ref", "--format=%(refname)", f"refs/remotes/*/{branch}")).split()
    if len(of_remotes) > 1:
        names = [ref.removeprefix("refs/remotes/") for ref in of_remotes]
        raise GitError("branch", f"{' and '.join(names)} are both there", hint=f"name one of them: --base {names[0]}")
    for ref in of_remotes:
        commit = host.commit_of(ref)
        if commit is not None:
            return commit, f"from {ref.removeprefix('refs/remotes/')}"
    if has_commit(host):
        commit = host.text("rev-parse", "--verify", "HEAD^{commit}")
        return commit, f"from what is checked out there ({commit[:10]})"
    if host.call("rev-list", "-n", "1", "--all").out.strip():
        cure = "name a branch that is there with --base: `git branch -a` lists them"
        raise GitError("branch", f"what is checked out in {host.root} has no commit, other branches have", hint=cure)
    commit = write_commit(host, host.text("mktree"), (), FIRST_MESSAGE, {}, date)
    return commit, "with an empty first commit: the repository had none"
