"""To the agent: its .git is made what aiframe writes there, with the branch where it stands."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from aiframe.durable import replace_file, sync_folder
from aiframe.workspaces.agent_git import is_folder, put, remove, strip, write_branch
from aiframe.workspaces.cleanroom import CleanRoom, clean_room
from aiframe.workspaces.clone import Cloned, Given, nursery, packs_in, read_given, write_given
from aiframe.workspaces.commits import head
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.packs import is_whole, move_packs, pack
from aiframe.workspaces.vault_files import digest


def give(cloned: Repository) -> None:
    """Make the agent's .git what aiframe writes there, with the branch and what it holds; it is made where it is gone.

    Commits and branches that an agent has there stay; settings, hooks and half-done merges of its own do not.
    A linked worktree needs none of this. Raises GitError; then it may be called again.
    """
    if not isinstance(cloned, Cloned):
        return
    try:
        with nursery(cloned.root) as fresh, clean_room(cloned) as room:
            _give(cloned, room, fresh)
    except OSError as error:
        raise GitError("clone", f"{cloned.root}: {error.strerror or error}") from error


def _give(cloned: Cloned, room: CleanRoom, fresh: Path) -> None:
    before, commit = read_given(cloned), head(cloned).commit
    shallow = digest(cloned.common_dir / "shallow")
    new = not is_folder(cloned.inner)
    inner = fresh / "git" if new else cloned.inner
    if new:
        (inner / "objects" / "pack").mkdir(parents=True)
    else:
        strip(inner)
    have = before.covered if not new and before.shallow == shallow else ""
    if have and not before.still_in(inner):  # whoever tidies up throws our packs away; what counts is what is there
        if not is_whole(room, inner, commit):
            remove(inner)
            _give(cloned, room, fresh)
            return
        have = commit
    if have != commit:
        have = have if have and cloned.holds(have) else ""
        wanted = (commit, *(write_tags(cloned, inner, commit) if new else ()))
        packs = pack(room, fresh, wanted, have, cloned.common_dir / "objects")
        move_packs(packs, inner / "objects" / "pack", over=True)
    write_own_files(cloned, room, inner)
    if before.commit != commit or not (inner / "index").is_file():
        room.load(commit)
        shutil.copy2(room.index, fresh / "index")
        put(fresh / "index", inner / "index")
    write_branch(inner, cloned.branch, commit)
    write_given(cloned, Given(commit, shallow, commit, packs_in(inner)))
    if new:
        remove(cloned.inner)
        os.rename(inner, cloned.inner)
        sync_folder(cloned.root)


def write_tags(cloned: Cloned, inner: Path, commit: str) -> tuple[str, ...]:
    """Write the tags in the history of *commit*, by which programs tell a version; what they name."""
    form = "--format=%(objectname) %(refname)"
    listed = cloned.run("for-each-ref", form, f"--merged={commit}", "refs/tags")
    (inner / "packed-refs").write_bytes(listed)
    return tuple(line.partition(b" ")[0].decode() for line in listed.splitlines())


def write_own_files(cloned: Cloned, room: CleanRoom, inner: Path) -> None:
    """Write the configuration, the lists of ignored files and attributes, HEAD, and where a shallow history ends."""
    who = cloned.identity()
    user = "".join(f"\t{key} = {quoted(value)}\n" for key, value in (("name", who.name), ("email", who.email)))
    own = (room.home / "config").read_text(errors="surrogateescape")
    text = f"{own}[user]\n{user}[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
    replace_file(inner / "config", text.encode("utf-8", "surrogateescape"), durable=False)
    replace_file(inner / "HEAD", f"ref: refs/heads/{cloned.branch}\n".encode(), durable=False)
    (inner / "info").mkdir()
    (inner / "refs").mkdir(exist_ok=True)
    for source in (*(room.home / "info").iterdir(), cloned.common_dir / "shallow"):
        if source.is_file():
            shutil.copyfile(source, inner / ("" if source.name == "shallow" else "info") / source.name)


def quoted(value: str) -> str:
    """*value* as git's configuration writes it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
