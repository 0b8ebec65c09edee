"""Whatever an agent plants in a repository: aiframe's own git never runs it, with or without the vault's help."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest
from workspaces.person import CONTROL, DAY, IGNORED, commit_all, git, write

from aiframe.core.errors import StepError
from aiframe.workspaces import git_program, inplace, vault
from aiframe.workspaces.git import Repository

Plant: TypeAlias = Callable[[Path, str], None]


def hooks(root: Path, program: str) -> None:
    for name in ("pre-commit", "post-commit", "post-checkout", "post-index-change", "reference-transaction"):
        place = root / ".git/hooks" / name
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(program)


def hooks_path(root: Path, program: str) -> None:
    (root / "tools").mkdir()
    (root / "tools/pre-commit").symlink_to(program)
    git(root, "config", "core.hooksPath", str(root / "tools"))


def fsmonitor(root: Path, program: str) -> None:
    git(root, "config", "core.fsmonitor", program)


def fsmonitor_of_the_worktree(root: Path, program: str) -> None:
    git(root, "config", "extensions.worktreeConfig", "true")
    git(root, "config", "--worktree", "core.fsmonitor", program)


def included(root: Path, program: str) -> None:
    write(root, {"notes/evil.cfg": f"[core]\n\tfsmonitor = {program}\n"})
    git(root, "config", "include.path", "../notes/evil.cfg")


def included_if(root: Path, program: str) -> None:
    write(root, {"notes/evil.cfg": f"[core]\n\tfsmonitor = {program}\n"})
    git(root, "config", f"includeIf.gitdir:{root}/.path", "../notes/evil.cfg")


def clean_filter(root: Path, program: str) -> None:
    write(root, {".gitattributes": "* filter=evil\n"})
    git(root, "config", "filter.evil.clean", program)
    git(root, "config", "filter.evil.smudge", program)
    git(root, "config", "filter.evil.required", "true")


def process_filter(root: Path, program: str) -> None:
    write(root, {".gitattributes": "* filter=a.b=c\n"})
    git(root, "config", "filter.a.b=c.process", program)


def filter_by_info(root: Path, program: str) -> None:
    write(root, {".git/info/attributes": "* filter=evil\n"})
    git(root, "config", "filter.evil.clean", program)


def external_diff(root: Path, program: str) -> None:
    git(root, "config", "diff.external", program)


def text_conversion(root: Path, program: str) -> None:
    write(root, {".gitattributes": "* diff=evil\n"})
    git(root, "config", "diff.evil.textconv", program)


def alias(root: Path, program: str) -> None:
    for name in ("st", "add", "commit", "rev-parse"):
        git(root, "config", f"alias.{name}", f"!{program}")


def credential_helper(root: Path, program: str) -> None:
    git(root, "config", "credential.helper", program)


def signing(root: Path, program: str) -> None:
    git(root, "config", "commit.gpgSign", "true")
    git(root, "config", "gpg.program", program)


def lazy_fetch(root: Path, program: str) -> None:
    for key, value in {
        "remote.origin.url": f"ext::{program}", "remote.origin.promisor": "true", "protocol.ext.allow": "always",
        "extensions.partialClone": "origin", "core.repositoryFormatVersion": "1",
    }.items():  # fmt: skip
        git(root, "config", key, value)


def nested(root: Path, program: str) -> None:
    write(root, {"inner/x": "x\n"})
    git(root / "inner", "init", "-q")
    commit_all(root / "inner", "inner")
    commit_all(root, "a link to it")
    git(root / "inner", "config", "core.fsmonitor", program)
    write(root, {"inner/x": "y\n"})


def other_common_dir(root: Path, program: str) -> None:
    git(root, "clone", "-q", "--bare", ".", str(root / "logs/evil.git"))
    git(root / "logs/evil.git", "config", "core.fsmonitor", program)
    (root / ".git/commondir").write_text("../logs/evil.git\n")


STATUS: tuple[tuple[str, ...], ...] = (("status",),)
ADD: tuple[tuple[str, ...], ...] = (("add", "-A"), ("commit", "-q", "-m", "x"))
PLANTS = [
    pytest.param(hooks, ADD, id="hooks"),
    pytest.param(hooks_path, ADD, id="hooks path"),
    pytest.param(fsmonitor, STATUS, id="fsmonitor"),
    pytest.param(fsmonitor_of_the_worktree, STATUS, id="fsmonitor in config.worktree"),
    pytest.param(included, STATUS, id="include"),
    pytest.param(included_if, STATUS, id="includeIf"),
    pytest.param(clean_filter, ADD, id="clean filter"),
    pytest.param(process_filter, ADD, id="process filter"),
    pytest.param(filter_by_info, ADD, id="filter by info/attributes"),
    pytest.param(external_diff, (("diff",),), id="external diff"),
    pytest.param(text_conversion, (("diff",),), id="textconv"),
    pytest.param(alias, (("st",),), id="alias"),
    pytest.param(credential_helper, (("credential", "fill"),), id="credential helper"),
    pytest.param(signing, ADD, id="signing program"),
    pytest.param(lazy_fetch, (("fetch", "origin"),), id="lazy fetch"),
    pytest.param(nested, STATUS, id="nested repository"),
    pytest.param(other_common_dir, STATUS, id="other common dir"),
]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that the planted program writes when it is run."""
    return tmp_path / "it ran"


@pytest.fixture
def program(tmp_path: Path, marker: Path) -> str:
    """A program that says that it was run."""
    path = tmp_path / "evil"
    path.write_text(f"#!/bin/sh\necho \"$0 $*\" >> '{marker}'\n")
    path.chmod(0o755)
    return str(path)


def everything(repo: Repository, base: inplace.Head) -> None:
    """Every function that an attempt uses, each even when the one before it has failed."""
    root = repo.root
    tree = repo.tree_of(base.commit)
    with suppress(StepError):
        inplace.ensure_repository(root, IGNORED)
    with suppress(StepError):
        tree = inplace.candidate(repo, base.commit, CONTROL).tree
    for call in (
        lambda: inplace.head(repo),
        lambda: inplace.unchanged(repo, tree, CONTROL),
        lambda: inplace.changed_files(repo, base.commit, tree),
        lambda: inplace.log(repo, 5),
        lambda: inplace.show_file(repo, base.commit, "src/app.py"),
        lambda: inplace.show_file(repo, "1" * 40, "src/app.py"),
        lambda: inplace.find_run_commit(repo, "r1", base.commit),
        lambda: inplace.keep_ref(repo, "T1", tree, "backup", DAY),
        lambda: inplace.commit_control(repo, CONTROL, "control", {}, DAY),
        lambda: inplace.checkpoint(repo, CONTROL, "checkpoint", DAY),
        lambda: inplace.commit_candidate(
            repo, base_head=inplace.head(repo), tree=tree, parent=inplace.head(repo).commit, message="m",
            trailers={"Aiframe-Run": "r1"}, date=DAY,
        ),
        lambda: inplace.restore_tree(
            repo, base.commit, CONTROL,
            backup=inplace.keep_ref(repo, "T2", inplace.candidate(repo, base.commit, CONTROL).tree, "b", DAY),
        ),
        lambda: inplace.fingerprint(root),
    ):  # fmt: skip
        with suppress(StepError):
            call()


def edit(root: Path) -> None:
    write(root, {"src/app.py": "print(2)\n", "src/new.py": "n\n", "SPEC.md": "edited\n"})


@pytest.mark.parametrize(("plant", "trigger"), PLANTS)
def test_nothing_planted_runs(
    repo: Repository, folder: Path, program: str, marker: Path, plant: Plant, trigger: tuple[tuple[str, ...], ...]
) -> None:
    """F26. An ordinary git shows that the plant is live; aiframe's does not run it, without and with the vault."""
    base = inplace.head(repo)
    sealed = vault.seal(folder, CONTROL, "r0")
    plant(folder, program)
    edit(folder)
    planted = folder.with_name("planted")
    shutil.copytree(folder, planted, symlinks=True)
    for command in trigger:
        git(folder, *command, check=False, stdin="protocol=https\nhost=localhost\n\n")
    assert marker.exists(), "the plant is not live: the test would show nothing"

    shutil.rmtree(folder)
    planted.rename(folder)
    marker.unlink()
    everything(repo, base)
    assert not marker.exists()

    quarantine = folder / ".git/aiframe/quarantine"
    vault.compare_and_restore(sealed, quarantine)
    vault.settle_refs(Repository(folder), sealed, quarantine, DAY)
    edit(folder)
    everything(Repository(folder), base)
    assert not marker.exists()


@pytest.mark.parametrize(("plant", "trigger"), [case for case in PLANTS if case.id not in ("nested repository",)])
def test_the_vault_disarms_it(
    repo: Repository, folder: Path, program: str, marker: Path, plant: Plant, trigger: tuple[tuple[str, ...], ...]
) -> None:
    """After the vault even an ordinary git of the person's own is safe again."""
    sealed = vault.seal(folder, CONTROL, "r0")
    plant(folder, program)
    marker.unlink(missing_ok=True)
    breaches = vault.compare_and_restore(sealed, folder / ".git/aiframe/quarantine")
    assert breaches
    assert all(breach.action != "failed" for breach in breaches)
    edit(folder)
    for command in trigger:
        git(folder, *command, check=False, stdin="protocol=https\nhost=localhost\n\n")
    assert not marker.exists()
    assert vault.compare_and_restore(vault.seal(folder, CONTROL, "r1"), folder / ".git/aiframe/quarantine") == ()


@pytest.mark.parametrize(("plant", "trigger"), PLANTS[2:3])
def test_what_was_there_before_stays_and_is_not_run(
    repo: Repository, folder: Path, program: str, marker: Path, plant: Plant, trigger: tuple[tuple[str, ...], ...]
) -> None:
    """The person's own fsmonitor belongs to the person."""
    plant(folder, program)
    config = (folder / ".git/config").read_bytes()
    sealed = vault.seal(folder, CONTROL, "r0")
    edit(folder)
    everything(repo, inplace.head(repo))
    assert [b for b in vault.compare_and_restore(sealed, folder / ".git/q") if b.path.startswith("git/")] == []
    assert (folder / ".git/config").read_bytes() == config
    assert not marker.exists()


def test_content_is_stored_as_it_is_under_a_planted_filter(repo: Repository, folder: Path) -> None:
    write(folder, {".gitattributes": "* filter=up\n", "a.txt": "low\n"})
    git(folder, "config", "filter.up.clean", "tr a-z A-Z")
    tree = inplace.candidate(repo, inplace.head(repo).commit, CONTROL).tree
    assert inplace.show_file(repo, tree, "a.txt") == b"low\n"


def test_replaced_objects_are_not_believed(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    write(folder, {"src/app.py": "forged\n"})
    forged = commit_all(folder, "forged")
    git(folder, "reset", "-q", "--hard", base.commit)
    git(folder, "replace", base.commit, forged)
    assert git(folder, "show", f"{base.commit}:src/app.py") == "forged"
    assert inplace.show_file(repo, base.commit, "src/app.py") == b"print(1)\n"


def test_a_git_in_the_project_is_not_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{os.pathsep}.{os.pathsep}bin{os.pathsep}{tmp_path}{os.pathsep}/usr/bin")
    assert git_program.search_path.__wrapped__() == f"{tmp_path}{os.pathsep}/usr/bin"


@pytest.mark.parametrize(
    "name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CONFIG_PARAMETERS", "GIT_EXEC_PATH"]
)
def test_nothing_of_gits_comes_from_the_parent(
    repo: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = inplace.head(repo)
    monkeypatch.setenv(name, "/nowhere")
    write(folder, {"a.py": "1\n"})
    assert inplace.head(repo) == before
    assert inplace.candidate(repo, before.commit, CONTROL).parent == before.commit
