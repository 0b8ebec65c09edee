"""A candidate is what the files say; a commit moves the branch once; nothing of anybody's is lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from workspaces.person import CONTROL, DAY, commit_all, files_of, git, sound, write

from aiframe.workspaces import inplace
from aiframe.workspaces.commits import move_head
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import EmbeddedRepositories, GitError, HeadMoved
from aiframe.workspaces.trees import covered

RUN = {"Aiframe-Run": "r1", "Aiframe-Task": "T1"}


def index_bytes(root: Path) -> bytes:
    return (root / ".git/index").read_bytes()


def finish(repo: Repository, base: inplace.Head, found: inplace.Candidate, run: str = "r1") -> str:
    return inplace.commit_candidate(
        repo, base_head=base, tree=found.tree, parent=found.parent, message="T1: it works",
        trailers={"Aiframe-Run": run}, date=DAY,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"src/new.py": "2\n"}, {"src/new.py": "2"}, id="new file"),
        pytest.param({"src/app.py": "3\n"}, {"src/app.py": "3"}, id="changed file"),
        pytest.param({"src/app.py": None}, {"src/app.py": None}, id="deleted file"),
        pytest.param({"SPEC.md": "mine\n", "prompts/x.md": "y"}, {}, id="control files stay as in base"),
        pytest.param({"TASKS.yaml": None}, {}, id="deleted control file stays"),
        pytest.param({"logs/x.log": "x", "notes/y.md": "y", "STATE.json": "z"}, {}, id="ignored files stay out"),
        pytest.param({".gitignore": "*.tmp\n", "a.tmp": "x"}, {".gitignore": "*.tmp"}, id="gitignore is honoured"),
        pytest.param({"sp ace/ünï\tcode": "x\n"}, {"sp ace/ünï\tcode": "x"}, id="spaces, tabs and letters"),
        pytest.param(
            {"two\nlines.txt": "x\n", '"quoted"': "q"}, {"two\nlines.txt": "x", '"quoted"': "q"}, id="newline"
        ),
        pytest.param({"-rf": "x", ":(top)odd*": "y"}, {"-rf": "x", ":(top)odd*": "y"}, id="names like options"),
        pytest.param({"SPEC.md.bak": "x\n"}, {"SPEC.md.bak": "x"}, id="a name that only begins like a control file"),
        pytest.param({"src/SPEC.md": "x\n"}, {"src/SPEC.md": "x"}, id="a control file's name elsewhere"),
    ],
)
def test_candidate(
    repo: Repository, folder: Path, changes: dict[str, str | None], expected: dict[str, str | None]
) -> None:
    base, index = inplace.head(repo), index_bytes(folder)
    before = files_of(folder, base.commit)
    write(folder, changes)
    found = inplace.candidate(repo, base.commit, CONTROL)
    assert files_of(folder, found.tree) == {k: v for k, v in {**before, **expected}.items() if v is not None}
    assert found.parent == base.commit
    assert (inplace.head(repo), index_bytes(folder)) == (base, index)
    assert inplace.unchanged(repo, found.tree, CONTROL) == ()


def test_name_that_is_no_utf8(repo: Repository, folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (folder / name).write_text("x")
    base = inplace.head(repo)
    found = inplace.candidate(repo, base.commit, CONTROL)
    assert [c.path for c in inplace.changed_files(repo, base.commit, found.tree)] == [name]
    assert inplace.show_file(repo, found.tree, name) == b"x"


def test_symlinks_are_stored_as_links(repo: Repository, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "out").symlink_to(tmp_path)
    found = inplace.candidate(repo, inplace.head(repo).commit, CONTROL)
    assert files_of(folder, found.tree)["link"] == str(tmp_path / "secret")
    assert "out/secret" not in files_of(folder, found.tree)


def test_agents_own_commit_is_the_parent_without_its_control_files(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    write(folder, {"src/new.py": "1\n", "SPEC.md": "weaker\n", "kept.log": "x\n", ".gitignore": "*.log\n"})
    git(folder, "add", "-f", "kept.log")
    own = commit_all(folder, "by the agent")
    found = inplace.candidate(repo, base.commit, CONTROL)
    assert found.parent == own
    assert files_of(folder, found.tree)["SPEC.md"] == "spec"
    assert files_of(folder, found.tree)["kept.log"] == "x"
    commit = finish(repo, base, found)
    assert git(folder, "rev-parse", f"{commit}^") == own
    assert inplace.head(repo).commit == commit


def test_commit_elsewhere_is_no_parent(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    git(folder, "checkout", "-q", "--orphan", "other")
    commit_all(folder, "other")
    assert inplace.candidate(repo, base.commit, CONTROL).parent == base.commit


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_no_flag_of_the_agents_index_hides_a_change(repo: Repository, folder: Path, flag: str) -> None:
    base = inplace.head(repo)
    inplace.candidate(repo, base.commit, CONTROL)
    git(folder, "update-index", flag, "src/app.py")
    write(folder, {"src/app.py": "hidden\n"})
    found = inplace.candidate(repo, base.commit, CONTROL)
    assert files_of(folder, found.tree)["src/app.py"] == "hidden"


def test_same_size_and_time_is_still_seen(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    inplace.candidate(repo, base.commit, CONTROL)
    path = folder / "src/app.py"
    times = path.stat()
    path.write_text("print(2)\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert inplace.unchanged(repo, base.commit, CONTROL) == ("src/app.py",)


def test_forged_or_torn_cache_is_no_harm(repo: Repository, folder: Path) -> None:
    (folder / ".git/aiframe/index").write_bytes(b"DIRC nonsense")
    write(folder, {"a.py": "1\n"})
    found = inplace.candidate(repo, inplace.head(repo).commit, CONTROL)
    assert files_of(folder, found.tree)["a.py"] == "1"


@pytest.mark.parametrize("commits", [0, 1], ids=["without commit", "with commit"])
@pytest.mark.parametrize("where", ["vendor/x", "src"], ids=["new folder", "folder with tracked files"])
def test_nested_repository(repo: Repository, folder: Path, commits: int, where: str) -> None:
    base = inplace.head(repo)
    write(folder, {f"{where}/code.py": "work\n"})
    git(folder / where, "init", "-q")
    if commits:
        commit_all(folder / where, "inner")
    if where == "src":
        found = inplace.candidate(repo, base.commit, CONTROL)
        assert files_of(folder, found.tree)["src/code.py"] == "work"
    else:
        with pytest.raises(EmbeddedRepositories) as caught:
            inplace.candidate(repo, base.commit, CONTROL)
        assert caught.value.folders == (where,)


def test_nested_repository_in_the_agents_commit(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    write(folder, {"vendor/x/code.py": "work\n"})
    git(folder / "vendor/x", "init", "-q")
    commit_all(folder / "vendor/x", "inner")
    commit_all(folder, "outer")
    with pytest.raises(EmbeddedRepositories, match="vendor/x"):
        inplace.candidate(repo, base.commit, CONTROL)


def test_known_submodule_stays_as_it_is(repo: Repository, folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "lib", {"code.py": "1\n"})
    git(tmp_path / "lib", "init", "-q")
    commit_all(tmp_path / "lib", "lib")
    git(folder, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "lib"), "lib")
    base_commit = commit_all(folder, "with submodule")
    write(folder, {"lib/code.py": "2\n", "src/app.py": "2\n"})
    commit_all(folder / "lib", "moved")
    found = inplace.candidate(repo, base_commit, CONTROL)
    assert [c.path for c in inplace.changed_files(repo, base_commit, found.tree)] == ["src/app.py"]


def test_sparse_checkout_is_refused(repo: Repository, folder: Path) -> None:
    git(folder, "sparse-checkout", "set", "src")
    with pytest.raises(GitError, match="sparse"):
        inplace.candidate(repo, inplace.head(repo).commit, CONTROL)


def test_file_becomes_a_folder_and_a_pipe_is_no_file(repo: Repository, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "src/app.py").unlink()
    (folder / "src/app.py").mkdir()
    write(folder, {"src/app.py/inner.txt": "x"})
    found = inplace.candidate(repo, inplace.head(repo).commit, CONTROL)
    assert set(files_of(folder, found.tree)) >= {"src/app.py/inner.txt"}
    assert "pipe" not in files_of(folder, found.tree)


@pytest.mark.parametrize("place", ["main", "master", "feature/ünï", None], ids=str)
def test_commit_moves_the_branch_or_the_detached_head(repo: Repository, folder: Path, place: str | None) -> None:
    if place is None:
        git(folder, "checkout", "-q", "--detach")
    elif place != "main":
        git(folder, "checkout", "-q", "-b", place)
    base = inplace.head(repo)
    assert base.branch == place
    write(folder, {"src/app.py": "2\n", "src/new.py": "1\n"})
    found = inplace.candidate(repo, base.commit, CONTROL)
    commit = finish(repo, base, found)
    assert inplace.head(repo) == inplace.Head(commit, place)
    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "log", "-1", "--format=%an <%ae> %ct %s|%(trailers:key=Aiframe-Run,valueonly)") == (
        "aiframe <aiframe@localhost> 1700000000 T1: it works|r1"
    )
    assert sound(folder)


def test_replay_gives_the_same_commit_once(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    write(folder, {"src/app.py": "2\n"})
    found = inplace.candidate(repo, base.commit, CONTROL)
    first = finish(repo, base, found)
    assert finish(repo, base, found) == first
    write(folder, {"SPEC.md": "later\n"})
    inplace.commit_control(repo, CONTROL, "later", {}, DAY)
    git(folder, "config", "user.name", "somebody else")  # the replay may be done under another name
    assert finish(repo, base, found) == first
    assert inplace.find_run_commit(repo, "r1", base.commit) == first
    assert inplace.find_run_commit(repo, "r2", base.commit) is None
    assert git(folder, "rev-list", "--count", f"{base.commit}..HEAD") == "2"


def test_forged_trailer_is_not_the_runs_commit(repo: Repository, folder: Path) -> None:
    """An agent that writes the trailer itself has not finished the run."""
    base = inplace.head(repo)
    write(folder, {"src/app.py": "2\n"})
    forged = commit_all(folder, "done\n\nAiframe-Run: r1")
    write(folder, {"src/app.py": "3\n"})
    found = inplace.candidate(repo, base.commit, CONTROL)
    assert inplace.find_run_commit(repo, "r1", base.commit) == forged
    assert inplace.find_run_commit(repo, "r1", base.commit, tree=found.tree) is None
    commit = finish(repo, base, found)
    assert commit != forged
    assert git(folder, "rev-parse", f"{commit}^") == forged
    assert inplace.find_run_commit(repo, "r1", base.commit, tree=found.tree) == commit


def test_trailers_cannot_be_forged_by_a_title(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    commit = inplace.commit_candidate(
        repo, base_head=base, tree=repo.tree_of(base.commit), parent=base.commit, allow_empty=True, date=DAY,
        message="title\n\nAiframe-Run: other", trailers={"Aiframe-Run": "r1\nAiframe-Run: third"},
    )  # fmt: skip
    assert inplace.log(repo, 1)[0].run_id == "r1 Aiframe-Run: third"
    assert inplace.find_run_commit(repo, "other", base.commit) is None
    assert inplace.head(repo).commit == commit


def test_nothing_to_commit(repo: Repository) -> None:
    base = inplace.head(repo)
    found = inplace.candidate(repo, base.commit, CONTROL)
    assert finish(repo, base, found) == base.commit
    assert inplace.head(repo) == base


def person_commits(root: Path) -> None:
    write(root, {"person.txt": "p\n"})
    git(root, "add", "person.txt")
    git(root, "commit", "-q", "-m", "person", "--", "person.txt")


def person_switches(root: Path) -> None:
    git(root, "checkout", "-q", "-b", "elsewhere")


def person_detaches(root: Path) -> None:
    git(root, "checkout", "-q", "--detach")


@pytest.mark.parametrize("meanwhile", [person_commits, person_switches, person_detaches])
def test_moved_base_is_an_error_and_nothing_is_lost(repo: Repository, folder: Path, meanwhile: object) -> None:
    base = inplace.head(repo)
    write(folder, {"src/app.py": "2\n"})
    found = inplace.candidate(repo, base.commit, CONTROL)
    meanwhile(folder)  # type: ignore[operator]
    refs, index = git(folder, "for-each-ref"), index_bytes(folder)
    with pytest.raises(HeadMoved) as caught:
        finish(repo, base, found)
    assert caught.value.hint
    assert (git(folder, "for-each-ref"), index_bytes(folder)) == (refs, index)
    assert (folder / "src/app.py").read_text() == "2\n"


def test_branch_moves_by_compare_and_swap(repo: Repository, folder: Path) -> None:
    """The last look before the move is not what protects it: the ref itself is swapped only from the old value."""
    old = inplace.head(repo)
    person_commits(folder)
    now = inplace.head(repo)
    with pytest.raises(HeadMoved):
        move_head(repo, old, old.commit, "m", DAY)
    with pytest.raises(HeadMoved):
        move_head(repo, inplace.Head("", "main"), old.commit, "m", DAY)
    move_head(repo, old, now.commit, "m", DAY)  # where it is to go it already is: a killed writer's git did it
    assert inplace.head(repo) == now


def test_change_in_the_same_second_is_seen(repo: Repository, folder: Path) -> None:
    """Same size, same second as the cached index: git compares seconds, so the cache must keep the index's own time."""
    base = inplace.head(repo)
    time.sleep(1.02 - time.time() % 1)
    write(folder, {"src/app.py": "print(3)\n"})
    first = inplace.candidate(repo, base.commit, CONTROL)
    write(folder, {"src/app.py": "print(4)\n"})
    time.sleep(1.1)
    assert inplace.unchanged(repo, first.tree, CONTROL) == ("src/app.py",)


@pytest.mark.parametrize(
    ("path", "control", "expected"),
    [("a", ("a",), True), ("a/b", ("a",), True), ("a/b", ("a/",), True), ("ab", ("a",), False), ("b/a", ("a",), False)],
)
def test_covered(path: str, control: tuple[str, ...], expected: bool) -> None:
    assert covered(path, control) == expected


def test_locked_index_commits_nothing_and_names_the_lock(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    write(folder, {"src/app.py": "2\n"})
    found = inplace.candidate(repo, base.commit, CONTROL)
    (folder / ".git/index.lock").touch()
    with pytest.raises(GitError) as caught:
        finish(repo, base, found)
    assert str(folder / ".git/index.lock") in caught.value.hint
    assert inplace.head(repo) == base
    (folder / ".git/index.lock").unlink()
    assert inplace.head(repo).commit == base.commit
    commit = finish(repo, base, found)
    assert inplace.head(repo).commit == commit != base.commit


def test_control_commit_takes_nothing_else(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    write(folder, {"SPEC.md": "new\n", "prompts/a.md": "a\n", "prompts/DEV.md.j2": None, "src/app.py": "dirty\n"})
    write(folder, {"staged.py": "staged\n", "notes/x.md": "ignored\n"})
    git(folder, "add", "staged.py")
    commit = inplace.commit_control(repo, (*CONTROL, "notes"), "bookkeeping", RUN, DAY)
    assert commit is not None
    changed = {c.path: c.status for c in inplace.changed_files(repo, base.commit, commit)}
    assert changed == {"SPEC.md": "M", "prompts/a.md": "A", "prompts/DEV.md.j2": "D"}
    assert git(folder, "status", "--porcelain").splitlines() == [" M src/app.py", "A  staged.py"]
    assert inplace.commit_control(repo, CONTROL, "bookkeeping", RUN, DAY) is None


def test_control_commit_without_any_of_the_files(repo: Repository) -> None:
    assert inplace.commit_control(repo, ("NOTHERE.md", "nor/this"), "m", {}, DAY) is None
    assert inplace.commit_control(repo, (), "m", {}, DAY) is None


def test_checkpoint_takes_a_persons_work(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    write(folder, {"src/app.py": "person\n", "SPEC.md": "not this\n"})
    commit = inplace.checkpoint(repo, CONTROL, "aiframe: what was uncommitted", DAY)
    assert commit is not None
    assert [c.path for c in inplace.changed_files(repo, base.commit, commit)] == ["src/app.py"]
    assert inplace.checkpoint(repo, CONTROL, "again", DAY) is None


def test_checkpoint_refuses_in_a_merge(repo: Repository, folder: Path) -> None:
    git(folder, "checkout", "-q", "-b", "side")
    write(folder, {"src/app.py": "side\n"})
    commit_all(folder, "side")
    git(folder, "checkout", "-q", "main")
    write(folder, {"src/app.py": "main\n"})
    before = commit_all(folder, "main")
    git(folder, "merge", "side", check=False)
    with pytest.raises(GitError, match="MERGE_HEAD"):
        inplace.checkpoint(repo, CONTROL, "m", DAY)
    assert inplace.head(repo).commit == before


def test_backup_refs_are_never_overwritten(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    refs = []
    for text in ("1\n", "2\n", "2\n", "3\n"):
        write(folder, {"src/app.py": text})
        tree = inplace.candidate(repo, base.commit, CONTROL).tree
        refs.append(inplace.keep_ref(repo, "T1/a b", tree, "backup", DAY))
    top = "refs/aiframe/unverified/T1-a-b"
    assert refs == [top, f"{top}-2", f"{top}-2", f"{top}-3"]
    assert [files_of(folder, ref)["src/app.py"] for ref in (top, f"{top}-2", f"{top}-3")] == ["1", "2", "3"]


def test_restore_needs_a_backup_of_what_is_there_now(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    write(folder, {"src/app.py": "bad\n", "junk/new.txt": "j\n", "SPEC.md": "edited\n", "logs/l.log": "l\n"})
    ref = inplace.keep_ref(repo, "T1", inplace.candidate(repo, base.commit, CONTROL).tree, "backup", DAY)
    write(folder, {"late.txt": "late\n"})
    with pytest.raises(GitError, match=r"late\.txt"):
        inplace.restore_tree(repo, base.commit, CONTROL, backup=ref)
    with pytest.raises(GitError):
        inplace.restore_tree(repo, base.commit, CONTROL, backup="refs/aiframe/unverified/none")
    assert (folder / "junk/new.txt").exists()
    write(folder, {"late.txt": None})
    assert inplace.restore_tree(repo, base.commit, CONTROL, backup=ref) == ()
    assert (folder / "src/app.py").read_text() == "print(1)\n"
    assert not (folder / "junk").exists()
    assert (folder / "SPEC.md").read_text() == "edited\n"
    assert (folder / "logs/l.log").read_text() == "l\n"
    assert files_of(folder, ref)["junk/new.txt"] == "j"
    assert git(folder, "status", "--porcelain") == " M SPEC.md"


def test_restore_leaves_what_no_backup_holds(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    write(folder, {".gitignore": "/heavy/\n", "heavy/x": "x\n"})
    ref = inplace.keep_ref(repo, "T1", inplace.candidate(repo, base.commit, CONTROL).tree, "backup", DAY)
    assert inplace.restore_tree(repo, base.commit, CONTROL, backup=ref) == ("heavy/x",)
    assert (folder / "heavy/x").exists()


def test_verify_that_touches_files_is_seen(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    write(folder, {"src/app.py": "2\n"})
    tree = inplace.candidate(repo, base.commit, CONTROL).tree
    write(folder, {"src/app.py": "3\n", "made.txt": "x\n", "logs/y": "ignored\n", "README.md": None})
    assert inplace.unchanged(repo, tree, CONTROL) == ("README.md", "made.txt", "src/app.py")


def test_log_and_show(repo: Repository, folder: Path) -> None:
    base = inplace.head(repo)
    write(folder, {"b.bin": "x\n"})
    commit = finish(repo, base, inplace.candidate(repo, base.commit, CONTROL))
    newest, first = inplace.log(repo, 5)
    assert (newest.commit, newest.date, newest.subject, newest.run_id) == (commit, DAY, "T1: it works", "r1")
    assert (first.commit, first.run_id) == (base.commit, "")
    assert inplace.show_file(repo, commit, "b.bin") == b"x\n"
    assert inplace.show_file(repo, base.commit, "b.bin") is None
    assert inplace.show_file(repo, base.commit, "src") is None
    with pytest.raises(GitError):
        inplace.show_file(repo, "1" * 40, "b.bin")


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        pytest.param({"src/new.py": "1"}, True, id="new"),
        pytest.param({"src/app.py": None}, True, id="deleted"),
        pytest.param({"src/app.py": "print(1)\n"}, True, id="rewritten"),
        pytest.param({"src/logs/x": "1"}, True, id="a folder called logs below"),
        pytest.param({"logs/x": "1", "STATE.json": "{ }", ".git/x": "y"}, False, id="own files"),
    ],
)
def test_fingerprint(repo: Repository, folder: Path, change: dict[str, str | None], seen: bool) -> None:
    os.utime(folder / "src/app.py", ns=(0, 0))
    before = inplace.fingerprint(folder)
    assert inplace.fingerprint(folder) == before
    write(folder, change)
    assert (inplace.fingerprint(folder) != before) == seen


def test_persons_identity_is_used(folder: Path, repo: Repository) -> None:
    git(folder, "config", "user.name", "Ada <Lovelace>")
    git(folder, "config", "user.email", "ada@example.org")
    write(folder, {"SPEC.md": "new\n"})
    inplace.commit_control(repo, CONTROL, "m", {}, DAY)
    assert git(folder, "log", "-1", "--format=%an %ae %cn") == "Ada Lovelace ada@example.org Ada Lovelace"
