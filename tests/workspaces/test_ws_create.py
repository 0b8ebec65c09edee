"""A repository of the folder's own, whatever is around it or in it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from workspaces.person import DAY, IGNORED, commit_all, files_of, git, sound, write

from aiframe.workspaces import inplace, vault
from aiframe.workspaces.create import BLOCK_END, BLOCK_START, ensure_repository
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import EmbeddedRepositories, GitError
from aiframe.workspaces.inplace import head


def test_new_folder(folder: Path) -> None:
    repo = ensure_repository(folder, IGNORED)
    assert git(folder, "rev-parse", "--show-toplevel") == str(folder)
    assert head(repo).branch == "main"
    assert sorted(files_of(folder, "HEAD")) == [
        "AGENTS.md", "PROJECT.yaml", "README.md", "SPEC.md", "TASKS.yaml", "prompts/DEV.md.j2", "src/app.py",
    ]  # fmt: skip
    assert git(folder, "status", "--porcelain") == ""
    assert not list(folder.glob(".aiframe-new-*"))


def test_again_changes_nothing(repo: Repository, folder: Path) -> None:
    before = head(repo)
    exclude = (folder / ".git/info/exclude").read_text()
    assert head(ensure_repository(folder, IGNORED)) == before
    assert (folder / ".git/info/exclude").read_text() == exclude


def test_own_ignore_lines_stay(repo: Repository, folder: Path) -> None:
    exclude = folder / ".git/info/exclude"
    exclude.write_text("*.mine\n" + exclude.read_text() + "*.after\n")
    ensure_repository(folder, ("/other/",))
    assert exclude.read_text().splitlines() == ["*.mine", BLOCK_START, "/other/", BLOCK_END, "*.after"]


def test_parents_repository_is_untouched(tmp_path: Path) -> None:
    write(tmp_path, {"frame.md": "frame\n", "projects/p/app.py": "1\n"})
    git(tmp_path, "init", "-q")
    before = commit_all(tmp_path, "frame")
    index = (tmp_path / ".git/index").read_bytes()
    repo = ensure_repository(tmp_path / "projects/p", IGNORED)
    assert repo.git_dir == tmp_path / "projects/p/.git"
    assert files_of(repo.root, "HEAD") == {"app.py": "1"}
    assert git(tmp_path, "rev-parse", "HEAD") == before
    assert (tmp_path / ".git/index").read_bytes() == index


def test_folder_without_repository_is_never_its_parents(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    git(tmp_path, "init", "-q")
    with pytest.raises(GitError, match="no repository of its own"):
        Repository(tmp_path / "inner")


def test_repository_that_vanishes_is_noticed(repo: Repository, folder: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (folder / ".git").rename(tmp_path / "elsewhere")
    with pytest.raises(GitError, match="no repository of its own"):
        head(repo)


def test_unborn_head_of_a_person(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "trunk")
    repo = ensure_repository(folder, IGNORED)
    assert head(repo).branch == "trunk"


def test_longer_object_ids(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "main", "--object-format=sha256")
    repo = ensure_repository(folder, IGNORED)
    base = head(repo)
    assert len(base.commit) == 64
    sealed = vault.seal(folder, ("AGENTS.md",), "r1")
    write(folder, {"src/app.py": "2\n", "SPEC.md": "2\n", "AGENTS.md": "2\n"})
    assert len(vault.compare_and_restore(sealed, repo.private_dir / "quarantine")) == 1
    assert inplace.checkpoint(repo, ("SPEC.md",), "m", DAY) is not None
    assert inplace.keep_ref(repo, "T1", head(repo).commit, "m", DAY)
    assert git(folder, "status", "--porcelain") == " M SPEC.md"


def test_existing_history_is_taken_as_it_is(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "master")
    there = commit_all(folder, "theirs")
    write(folder, {"dirty.txt": "dirty\n"})
    repo = ensure_repository(folder, IGNORED)
    assert (head(repo).commit, head(repo).branch) == (there, "master")
    assert git(folder, "status", "--porcelain") == "?? dirty.txt"


def test_project_of_the_original_with_lock_folder(folder: Path) -> None:
    (folder / ".agent_lock").mkdir()
    ensure_repository(folder, IGNORED)
    assert (folder / ".agent_lock").is_dir()
    assert "STATE.json" not in files_of(folder, "HEAD")


def test_linked_worktree(repo: Repository, folder: Path, tmp_path: Path) -> None:
    git(folder, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = ensure_repository(tmp_path / "side", IGNORED)
    assert side.common_dir == repo.git_dir
    assert side.git_dir == repo.git_dir / "worktrees" / "side"
    assert head(side).branch == "side"


def bare_itself(folder: Path) -> None:
    git(folder, "init", "-q", "--bare", ".")


def marked_bare(folder: Path) -> None:
    git(folder, "init", "-q")
    git(folder, "config", "core.bare", "true")


def without_head(folder: Path) -> None:
    git(folder, "init", "-q")
    (folder / ".git/HEAD").unlink()


def missing_commit(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "main")
    (folder / ".git/refs/heads/main").write_text("1" * 40 + "\n")


def nonsense_in_branch(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "main")
    (folder / ".git/refs/heads/main").write_text("nonsense\n")


def broken_config(folder: Path) -> None:
    git(folder, "init", "-q")
    (folder / ".git/config").write_text("[core\nbroken")


def lost_link(folder: Path) -> None:
    (folder / ".git").write_text("gitdir: /nowhere/at/all\n")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(bare_itself, "bare repository", id="bare"),
        pytest.param(marked_bare, "bare repository", id="marked bare"),
        pytest.param(without_head, "HEAD is missing", id="no HEAD"),
        pytest.param(missing_commit, "missing", id="missing commit"),
        pytest.param(nonsense_in_branch, "broken|bad|fatal", id="broken branch"),
        pytest.param(broken_config, "config", id="broken config"),
        pytest.param(lost_link, "no git directory", id="lost link"),
    ],
)
def test_damage_is_named_with_its_cure(folder: Path, damage: object, says: str) -> None:
    damage(folder)  # type: ignore[operator]
    listing = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    with pytest.raises(GitError, match=says) as caught:
        ensure_repository(folder, ())
    assert caught.value.hint
    left = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    assert [path for path in left if path not in listing and ".git" not in path.parts] == []
    assert (folder / "src/app.py").read_text() == "print(1)\n"


@pytest.mark.parametrize("commits", [0, 1], ids=["without commit", "with commit"])
def test_nested_repository_is_refused(folder: Path, commits: int) -> None:
    write(folder, {"vendor/lib/code.py": "1\n"})
    git(folder / "vendor/lib", "init", "-q")
    if commits:
        commit_all(folder / "vendor/lib", "theirs")
    with pytest.raises(EmbeddedRepositories, match="vendor/lib") as caught:
        ensure_repository(folder, ())
    assert caught.value.folders == ("vendor/lib",)
    write(folder, {".gitignore": "/vendor/lib/\n"})
    assert "vendor/lib" not in files_of(ensure_repository(folder, ()).root, "HEAD")


def test_fifty_at_once(folder: Path) -> None:
    """Eight processes and many threads in each: one repository, one commit."""
    code = (
        "import sys; from pathlib import Path; from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "from aiframe.workspaces.create import ensure_repository\n"
        "from aiframe.workspaces.inplace import head\n"
        "ask = lambda _: head(ensure_repository(Path(sys.argv[1]), ('/logs/',))).commit\n"
        "print(*set(Pool(7).map(ask, range(7))))\n"
    )

    def one(_: int) -> str:
        done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(one, range(8)))
    assert len(answers) == 1
    assert git(folder, "rev-list", "--count", "HEAD") == "1"
    assert sound(folder)
    assert not list(folder.glob(".aiframe-new-*"))


def test_killed_in_the_making(folder: Path) -> None:
    """What a killed process left of a repository in the making is neither taken nor committed."""
    (folder / ".aiframe-new-dead/.git").mkdir(parents=True)
    ensure_repository(folder, ())
    assert not (folder / ".aiframe-new-dead").exists()
