"""Whatever a step did to what steers the project or git is seen, put back and kept for a person to look at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from support.needs import needs
from support.projects import dev, lay_project, task
from workspaces.person import CONTROL, DAY, commit_all, files_of, git, sound, write

from aiframe.workspaces import inplace, vault
from aiframe.workspaces.git import Repository

SEALED = (
    "PROJECT.yaml",
    "AGENTS.md",
    "DIAGNOSE_AGENT.md",
    "prompts",
    "notes/interrupt.flag",
    "notes/review_approval.md",
)
Attack: TypeAlias = Callable[[Path], object]


def quarantine(root: Path) -> Path:
    return root / ".git/aiframe/quarantine"


def steering(root: Path) -> dict[str, bytes]:
    """The files that steer git, and the control files, by name."""
    parts = ("config", "config.worktree", "HEAD", "commondir", "objects/info/alternates", "packed-refs")
    places = [root / ".git" / part for part in parts] + [root / name for name in SEALED]
    places += [*(root / ".git/hooks").rglob("*"), *(root / ".git/info").rglob("*"), *(root / "prompts").rglob("*")]
    return {str(p.relative_to(root)): p.read_bytes() for p in places if p.is_file()}


def linked_hooks(root: Path) -> None:
    (root.parent / "evil").mkdir()
    write(root.parent, {"evil/pre-commit": "x"})
    shutil.rmtree(root / ".git/hooks", ignore_errors=True)
    (root / ".git/hooks").symlink_to(root.parent / "evil")


def linked_prompts(root: Path) -> None:
    shutil.move(root / "prompts", root.parent / "prompts")
    (root / "prompts").symlink_to(root.parent / "prompts")


def pipe_for_config(root: Path) -> None:
    (root / ".git/config").unlink()
    os.mkfifo(root / ".git/config")


def folder_for_control_file(root: Path) -> None:
    (root / "AGENTS.md").unlink()
    write(root, {"AGENTS.md/inner.txt": "x"})


ATTACKS = [
    pytest.param(lambda root: git(root, "config", "core.editor", "evil"), "git/config", "changed", id="config"),
    pytest.param(lambda root: (root / ".git/config").unlink(), "git/config", "deleted", id="no config"),
    pytest.param(lambda root: (root / ".git/config").chmod(0o777), "git/config", "changed", id="mode of config"),
    pytest.param(pipe_for_config, "git/config", "changed", id="pipe for config"),
    pytest.param(lambda r: write(r, {".git/hooks/pre-commit": "x"}), "git/hooks/pre-commit", "created", id="hook"),
    pytest.param(linked_hooks, "git/hooks", "created", id="hooks are a link"),
    pytest.param(lambda r: write(r, {".git/info/exclude": "*"}), "git/info/exclude", "changed", id="exclude"),
    pytest.param(lambda r: write(r, {".git/info/grafts": "x"}), "git/info/grafts", "created", id="grafts"),
    pytest.param(
        lambda r: write(r, {".git/objects/info/alternates": "/x\n"}), "git/objects/info/alternates", "created",
        id="alternates",
    ),
    pytest.param(lambda r: write(r, {".git/commondir": "../x\n"}), "own-git/commondir", "created", id="commondir"),
    pytest.param(lambda r: write(r, {".git/index.lock": ""}), "own-git/index.lock", "created", id="index.lock"),
    pytest.param(
        lambda r: write(r, {".git/rebase-merge/git-rebase-todo": "exec evil\n"}),
        "own-git/rebase-merge/git-rebase-todo", "created", id="rebase to-do",
    ),
    pytest.param(lambda r: git(r, "checkout", "-q", "-b", "other"), "git/HEAD", "changed", id="other branch"),
    pytest.param(lambda r: git(r, "checkout", "-q", "--detach"), "git/HEAD", "changed", id="detached"),
    pytest.param(lambda r: (r / ".git/HEAD").unlink(), "git/HEAD", "deleted", id="no HEAD"),
    pytest.param(lambda r: write(r, {"PROJECT.yaml": "agent: x\n"}), "project/PROJECT.yaml", "changed", id="rules"),
    pytest.param(lambda r: write(r, {"AGENTS.md": None}), "project/AGENTS.md", "deleted", id="instructions"),
    pytest.param(folder_for_control_file, "project/AGENTS.md/inner.txt", "created", id="a folder in its place"),
    pytest.param(lambda r: write(r, {"DIAGNOSE_AGENT.md": "x"}), "project/DIAGNOSE_AGENT.md", "created", id="new"),
    pytest.param(lambda r: write(r, {"prompts/DEV.md.j2": "x"}), "project/prompts/DEV.md.j2", "changed", id="prompt"),
    pytest.param(lambda r: write(r, {"prompts/PO.md.j2": "x"}), "project/prompts/PO.md.j2", "created", id="new prompt"),
    pytest.param(linked_prompts, "project/prompts", "created", id="prompts are a link"),
    pytest.param(
        lambda r: write(r, {"notes/review_approval.md": "ok"}), "project/notes/review_approval.md", "created",
        id="approval",
    ),
]  # fmt: skip


@pytest.mark.parametrize("later", [False, True], ids=["same process", "later process"])
@pytest.mark.parametrize(("attack", "path", "what"), ATTACKS)
def test_put_back_and_recorded(
    repo: Repository, folder: Path, attack: Attack, path: str, what: str, later: bool
) -> None:
    """F14, F26."""
    before, base = steering(folder), inplace.head(repo)
    sealed: vault.Seal | None = vault.seal(folder, SEALED, "r1")
    if later:
        assert sealed is not None
        sealed.write(folder / ".git/aiframe/seal/r1.json")
        sealed = vault.Seal.read(folder / ".git/aiframe/seal/r1.json")
    assert sealed is not None
    attack(folder)
    breaches = {breach.path: breach for breach in vault.compare_and_restore(sealed, quarantine(folder))}
    assert breaches[path].what == what
    assert breaches[path].action == ("set aside" if what == "created" else "restored")
    assert what == "deleted" or os.path.lexists(breaches[path].kept_at)
    assert all(breach.action != "failed" for breach in breaches.values())
    assert steering(folder) == before
    assert vault.compare_and_restore(sealed, quarantine(folder)) == ()
    vault.settle_refs(repo, sealed, quarantine(folder), DAY)
    assert inplace.head(repo) == base
    assert sound(folder)


def test_foreign_version_is_kept(repo: Repository, folder: Path) -> None:
    sealed = vault.seal(folder, SEALED, "r1")
    write(folder, {"PROJECT.yaml": "agent: evil\n"})
    (breach,) = vault.compare_and_restore(sealed, quarantine(folder))
    assert breach.kept_at == str(quarantine(folder) / "r1/project/PROJECT.yaml")
    assert Path(breach.kept_at).read_text() == "agent: evil\n"


def test_nothing_done_is_no_breach(repo: Repository, folder: Path) -> None:
    sealed = vault.seal(folder, SEALED, "r1")
    write(folder, {"src/app.py": "2\n", "notes/context_snapshot.md": "more\n", "SPEC.md": "new\n"})
    assert vault.compare_and_restore(sealed, quarantine(folder)) == ()
    assert vault.settle_refs(repo, sealed, quarantine(folder), DAY) == ()
    assert not quarantine(folder).exists()


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        pytest.param(None, "stop", "stop", id="created: a person may have, it stands"),
        pytest.param("stop", None, "stop", id="deleted: comes back"),
        pytest.param("stop", "stop here", "stop here", id="changed: stands"),
    ],
)
def test_interrupt_flag(repo: Repository, folder: Path, before: str | None, after: str | None, left: str) -> None:
    flag = folder / "notes/interrupt.flag"
    if before is not None:
        flag.write_text(before)
    sealed = vault.seal(folder, SEALED, "r1")
    write(folder, {"notes/interrupt.flag": after})
    breaches = vault.compare_and_restore(sealed, quarantine(folder))
    assert flag.read_text() == left
    assert bool(breaches) == (after is None)


def test_agents_commit_on_top_of_the_base_stays(repo: Repository, folder: Path) -> None:
    sealed = vault.seal(folder, SEALED, "r1")
    write(folder, {"src/app.py": "2\n"})
    own = commit_all(folder, "agent")
    assert vault.compare_and_restore(sealed, quarantine(folder)) == ()
    assert vault.settle_refs(repo, sealed, quarantine(folder), DAY) == ()
    assert inplace.head(repo).commit == own


@pytest.mark.parametrize("detached", [False, True], ids=["branch", "detached"])
def test_rewritten_history_is_put_back_and_kept(repo: Repository, folder: Path, detached: bool) -> None:
    if detached:
        git(folder, "checkout", "-q", "--detach")
    write(folder, {"src/app.py": "2\n"})
    commit_all(folder, "second")
    base = inplace.head(repo)
    sealed = vault.seal(folder, SEALED, "r1")
    git(folder, "reset", "-q", "--hard", "HEAD^")
    write(folder, {"evil.txt": "e\n"})
    foreign = commit_all(folder, "foreign")
    assert vault.compare_and_restore(sealed, quarantine(folder)) == ()
    (breach,) = vault.settle_refs(repo, sealed, quarantine(folder), DAY)
    assert inplace.head(repo) == base
    assert git(folder, "rev-parse", breach.kept_at) == foreign
    assert breach.kept_at.startswith("refs/aiframe/quarantine/r1/")


def refs(root: Path) -> dict[str, str]:
    rows = (line.split() for line in git(root, "for-each-ref", "--format=%(refname) %(objectname)").splitlines())
    return {name: value for name, value in rows if not name.startswith("refs/aiframe/")}


REF_ATTACKS: list[object] = [
    pytest.param([("branch", "new")], id="new branch"),
    pytest.param([("branch", "-D", "side")], id="deleted branch"),
    pytest.param([("branch", "-f", "side", "HEAD")], id="moved branch"),
    pytest.param([("tag", "-d", "v1")], id="deleted tag"),
    pytest.param([("branch", "-D", "side"), ("branch", "side/below", "HEAD")], id="a folder in its place"),
    pytest.param([("branch", "new"), ("pack-refs", "--all")], id="new branch, packed"),
    pytest.param([("branch", "-f", "side", "HEAD"), ("pack-refs", "--all")], id="moved branch, packed"),
    pytest.param([("update-ref", "-d", "refs/heads/main")], id="own branch deleted"),
    pytest.param([("stash", "-u")], id="stash"),
    pytest.param([("symbolic-ref", "refs/heads/sym", "refs/heads/side")], id="symbolic ref"),
]


@pytest.mark.parametrize("packed", [False, True], ids=["loose", "packed"])
@pytest.mark.parametrize("commands", REF_ATTACKS)
def test_refs(repo: Repository, folder: Path, commands: list[tuple[str, ...]], packed: bool) -> None:
    git(folder, "checkout", "-q", "-b", "side")
    write(folder, {"side.txt": "s\n"})
    commit_all(folder, "side")
    git(folder, "checkout", "-q", "main")
    git(folder, "tag", "-a", "-m", "first", "v1")
    if packed:
        git(folder, "pack-refs", "--all")
    before, sealed = refs(folder), vault.seal(folder, SEALED, "r1")
    write(folder, {"untracked.txt": "u\n"})
    for command in commands:
        git(folder, *command)
    breaches = vault.compare_and_restore(sealed, quarantine(folder))
    assert breaches
    assert all(breach.action != "failed" for breach in breaches)
    vault.settle_refs(repo, sealed, quarantine(folder), DAY)
    assert refs(folder) == before
    assert sound(folder)
    assert vault.compare_and_restore(sealed, quarantine(folder)) == ()


def test_stashed_work_is_kept(repo: Repository, folder: Path) -> None:
    sealed = vault.seal(folder, SEALED, "r1")
    write(folder, {"src/app.py": "stashed\n"})
    git(folder, "stash")
    vault.compare_and_restore(sealed, quarantine(folder))
    vault.settle_refs(repo, sealed, quarantine(folder), DAY)
    vault.settle_refs(repo, sealed, quarantine(folder), DAY)
    kept = git(folder, "for-each-ref", "--format=%(refname)", "refs/aiframe/quarantine").splitlines()
    assert len(kept) == 1
    assert files_of(folder, kept[0])["src/app.py"] == "stashed"


def test_packing_refs_is_no_breach(repo: Repository, folder: Path) -> None:
    git(folder, "branch", "side")
    sealed = vault.seal(folder, SEALED, "r1")
    git(folder, "gc", "-q")
    assert vault.compare_and_restore(sealed, quarantine(folder)) == ()


@pytest.mark.parametrize("text", ["nonsense\n", "\0\0\0", "^\n1111 refs/heads/x"])
def test_broken_packed_refs(repo: Repository, folder: Path, text: str) -> None:
    git(folder, "branch", "side")
    git(folder, "pack-refs", "--all")
    before, sealed = refs(folder), vault.seal(folder, SEALED, "r1")
    (folder / ".git/packed-refs").write_text(text)
    assert vault.compare_and_restore(sealed, quarantine(folder))
    assert refs(folder) == before


@pytest.mark.parametrize("value", ["nonsense", "1" * 40, "", "ref: refs/heads/main"])
def test_broken_own_branch(repo: Repository, folder: Path, value: str) -> None:
    base, sealed = inplace.head(repo), vault.seal(folder, SEALED, "r1")
    (folder / ".git/refs/heads/main").write_text(value)
    vault.compare_and_restore(sealed, quarantine(folder))
    vault.settle_refs(repo, sealed, quarantine(folder), DAY)
    assert inplace.head(repo) == base


def test_aiframes_own_refs_are_not_touched(repo: Repository, folder: Path) -> None:
    sealed = vault.seal(folder, SEALED, "r1")
    kept = inplace.keep_ref(repo, "T1", "HEAD", "m", DAY)
    assert vault.compare_and_restore(sealed, quarantine(folder)) == ()
    assert git(folder, "rev-parse", kept) == inplace.head(repo).commit


def gone(root: Path) -> None:
    shutil.rmtree(root / ".git")


def fresh(root: Path) -> None:
    gone(root)
    git(root, "init", "-q", "-b", "main")
    commit_all(root, "all mine")


def a_file(root: Path) -> None:
    gone(root)
    (root / ".git").write_text("gitdir: /nowhere\n")


def a_link(root: Path) -> None:
    shutil.move(root / ".git", root.parent / "away")
    (root / ".git").symlink_to(root.parent / "away")


@pytest.mark.parametrize("attack", [gone, fresh, a_file, a_link])
def test_whole_git_folder_gone(repo: Repository, folder: Path, attack: Attack) -> None:
    """F27. What can be restored is; that the objects are gone is said with the cure; the files stay."""
    sealed = vault.seal(folder, SEALED, "r1")
    before = steering(folder)
    attack(folder)
    breaches = vault.compare_and_restore(sealed, quarantine(folder))
    breaches += vault.settle_refs(Repository(folder), sealed, quarantine(folder), DAY)
    lost = [breach for breach in breaches if breach.action == "failed"]
    assert lost
    assert all("backup" in breach.hint for breach in lost)
    assert steering(folder) == before
    assert (folder / "src/app.py").read_text() == "print(1)\n"


def test_persons_own_link_for_git_stays(repo: Repository, folder: Path) -> None:
    a_link(folder)
    again = Repository(folder)
    sealed = vault.seal(folder, SEALED, "r1")
    write(folder, {"src/app.py": "2\n"})
    own = commit_all(folder, "agent")
    assert vault.compare_and_restore(sealed, again.private_dir / "quarantine") == ()
    assert vault.settle_refs(again, sealed, again.private_dir / "quarantine", DAY) == ()
    assert (folder / ".git").is_symlink()
    assert inplace.head(again).commit == own


def test_clean_fdx_in_a_step(repo: Repository, folder: Path) -> None:
    """F27. What lies in .git survives it; sealed files that were ignored come back."""
    write(folder, {"notes/interrupt.flag": "stop\n", "SPEC.md": "dirty\n"})
    sealed = vault.seal(folder, SEALED, "r1")
    sealed.write(folder / ".git/aiframe/seal/r1.json")
    git(folder, "clean", "-fdxq")
    assert not (folder / "notes").exists()
    again = vault.Seal.read(folder / ".git/aiframe/seal/r1.json")
    assert again is not None
    assert again == sealed
    (breach,) = vault.compare_and_restore(again, quarantine(folder))
    assert (breach.path, breach.action) == ("project/notes/interrupt.flag", "restored")


def test_linked_worktree(repo: Repository, folder: Path, tmp_path: Path) -> None:
    git(folder, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = Repository(tmp_path / "side")
    before = refs(folder)
    sealed = vault.seal(side.root, SEALED, "r1")
    write(side.root, {"a.txt": "a\n"})
    own = commit_all(side.root, "agent")
    git(side.root, "config", "core.editor", "evil")
    git(side.root, "branch", "other")
    (side.root / ".git").write_text("gitdir: /nowhere\n")
    breaches = vault.compare_and_restore(sealed, side.private_dir / "quarantine")
    assert {b.path for b in breaches} == {"git/config", "git/refs/heads/other", "project/.git"}
    assert vault.settle_refs(side, sealed, side.private_dir / "quarantine", DAY) == ()
    assert refs(folder) == {**before, "refs/heads/side": own}


def test_submodules_configuration(repo: Repository, folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "lib", {"code.py": "1\n"})
    git(tmp_path / "lib", "init", "-q")
    commit_all(tmp_path / "lib", "lib")
    git(folder, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "lib"), "lib")
    commit_all(folder, "with submodule")
    sealed = vault.seal(folder, SEALED, "r1")
    git(folder / "lib", "config", "core.fsmonitor", "/evil")
    (breach,) = vault.compare_and_restore(sealed, quarantine(folder))
    assert breach.path == "git/modules/lib/config"
    assert git(folder / "lib", "config", "core.fsmonitor", check=False) == ""


@pytest.mark.parametrize("name", ["index", "index.note"])
def test_forged_cache_is_dropped(repo: Repository, folder: Path, name: str) -> None:
    inplace.candidate(repo, inplace.head(repo).commit, CONTROL)
    sealed = vault.seal(folder, SEALED, "r1")
    assert vault.compare_and_restore(sealed, quarantine(folder)) == ()
    assert (folder / ".git/aiframe/index").exists()
    (folder / ".git/aiframe" / name).write_bytes(b"forged")
    assert vault.compare_and_restore(sealed, quarantine(folder)) == ()
    assert not (folder / ".git/aiframe/index").exists()
    assert not (folder / ".git/aiframe/index.note").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1, "places": 3}'])
def test_seal_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "seal.json").write_text(text)
    assert vault.Seal.read(tmp_path / "seal.json") is None
    assert vault.Seal.read(tmp_path / "absent.json") is None


@needs("strace")
def test_what_a_write_leaves_when_it_is_killed_is_no_work(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "test -e one"), turns=[dev("T1", run=["echo x > AGENTS.md; touch one"])])
    bench.write("AGENTS.md", "Be kind.\n")
    code = (
        "from pathlib import Path; from aiframe.workspaces.vault_files import Entry, write_entry;"
        "write_entry(Path('AGENTS.md'), Entry('file', 0o644, b'x'))"
    )
    inject = "inject=?rename,?renameat,?renameat2:signal=KILL"
    words = ["strace", "-f", "-q", "-o", os.devnull, "-e", inject, sys.executable, "-c", code]
    assert subprocess.run(words, cwd=bench.root, check=False).returncode != 0
    (left,) = bench.root.glob(".*AGENTS*")
    assert bench.tick().code == 0
    assert bench.commits() == ["T1: Task T1"]
    assert left.name not in bench.git("log", "--format=", "--name-only")
    assert not left.exists()
