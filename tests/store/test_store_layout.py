"""Where files lie, and what may never be touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aiframe.core.errors import AiframeError, GuardError, UnreadableFile, UsageError
from aiframe.store.guards import check_project_folder
from aiframe.store.layout import CONTROL_PATHS, IGNORED, Layout, contain, is_safe_name


@pytest.mark.parametrize(
    ("name", "relative"),
    [
        ("state_json", "STATE.json"),
        ("tasks_yaml", "TASKS.yaml"),
        ("spec", "SPEC.md"),
        ("roles", "ROLES.md"),
        ("project_yaml", "PROJECT.yaml"),
        ("questions", "INTAKE_QUESTIONS.md"),
        ("answers", "INTAKE_ANSWERS.md"),
        ("history", "INTAKE_HISTORY.md"),
        ("agents_md", "AGENTS.md"),
        ("diagnose_md", "DIAGNOSE_AGENT.md"),
        ("notes", "notes"),
        ("context_snapshot", "notes/context_snapshot.md"),
        ("interaction_notes", "notes/interaction_notes.md"),
        ("approval", "notes/review_approval.md"),
        ("rejection", "notes/review_rejection.md"),
        ("interrupt_flag", "notes/interrupt.flag"),
        ("events", "logs/events.ndjson"),
        ("agent_lock", ".agent_lock"),
        ("control_json", ".git/aiframe/control.json"),
        ("run_lock", ".git/aiframe-run.lock"),
    ],
)
def test_every_file_has_its_place(tmp_path: Path, name: str, relative: str) -> None:
    assert getattr(Layout(tmp_path), name) == tmp_path / relative


def test_the_files_of_a_run(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout.tick_log("r1") == tmp_path / "logs/tick-r1.log"
    assert layout.result_json("r1") == tmp_path / "logs/runs/r1/result.json"
    for bad in ("", "..", "a/b", "-x", "x" * 65, "a\0"):
        with pytest.raises(UsageError):
            layout.run_dir(bad)


def test_a_layout_is_a_value(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout == Layout(tmp_path)
    assert len({layout, Layout(tmp_path)}) == 1
    with pytest.raises(AttributeError):
        layout.root = tmp_path / "other"


def test_the_control_folder_of_a_linked_worktree(tmp_path: Path) -> None:
    main, linked = tmp_path / "main", tmp_path / "linked"
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(main))
    subprocess.run(("git", "init", "-q", str(main)), check=True)
    subprocess.run((*git, "commit", "-q", "--allow-empty", "-m", "x"), check=True)
    subprocess.run((*git, "worktree", "add", "-q", str(linked)), check=True, capture_output=True)
    asked = subprocess.run(("git", "-C", str(linked), "rev-parse", "--git-dir"), check=True, capture_output=True)
    assert Layout(linked).git_dir == Path(asked.stdout.decode().strip())
    assert Layout(main).git_dir == main / ".git"


@pytest.mark.parametrize("content", [b"", b"rubbish", b"gitdir:", b"gitdir: a\0b", b"\xff\xfe"])
def test_a_git_file_that_names_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".git").write_bytes(content)
    with pytest.raises(UnreadableFile, match="names no repository"):
        _ = Layout(tmp_path).control_json


def test_product_files_are_no_control_files() -> None:
    assert "README.md" not in CONTROL_PATHS
    assert "TASKS.yaml" in CONTROL_PATHS
    assert "STATE.json" in IGNORED


@pytest.mark.parametrize("name", ["T1", "a.b-c_d", "0", "x" * 64])
def test_safe_names(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "-x", ".x", "a/b", "a b", "ä", "a\n", "x" * 65])
def test_unsafe_names(name: str) -> None:
    assert not is_safe_name(name)


def test_f17_paths_are_contained(tmp_path: Path) -> None:
    root = tmp_path / "p"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "sub")
    (root / "loop").symlink_to(root / "loop")
    assert contain(root, "sub/new.txt") == root / "sub/new.txt"
    assert contain(root, "in/x") == root / "sub/x"
    assert contain(root, "sub/../a") == root / "a"
    for bad in ("../secret", "out/secret", "/etc/passwd", str(root / "sub"), "a\0b", "loop/x", "sub/../../secret"):
        with pytest.raises(UsageError):
            contain(root, bad)


def test_a_cheap_look_imports_nothing_heavy() -> None:
    program = (
        "import sys; from aiframe.store.layout import Layout; from aiframe.store.locks import is_run_locked;"
        "from pathlib import Path; assert not is_run_locked(Layout(Path('/nowhere')));"
        "print([m for m in ('msgspec', 'yaml', 'filelock', 'dataclasses', 'tempfile') if m in sys.modules])"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _frame(root: Path) -> None:
    (root / "projects").mkdir(parents=True)
    (root / "prompts").mkdir()


def _template_root(root: Path) -> None:
    root.mkdir()
    (root / "TEMPLATE_ROOT").touch()


@pytest.mark.parametrize(
    ("name", "make", "error"),
    [
        pytest.param("shop", Path.mkdir, None, id="project"),
        pytest.param("shop", lambda p: None, UsageError, id="missing"),
        pytest.param("shop", Path.touch, UsageError, id="a file"),
        pytest.param("shop", _template_root, GuardError, id="TEMPLATE_ROOT"),
        pytest.param("frame", _frame, GuardError, id="frame root"),
        pytest.param("my-Template-x", Path.mkdir, GuardError, id="template in the name"),
    ],
)
def test_guards(tmp_path: Path, name: str, make: object, error: type[AiframeError] | None) -> None:
    root = tmp_path / name
    make(root)  # type: ignore[operator]
    if error is None:
        check_project_folder(root)
        return
    with pytest.raises(error) as caught:
        check_project_folder(root)
    assert caught.value.hint
    if error is GuardError:
        assert "--project" in caught.value.hint
        assert "--all" in caught.value.hint


def test_a_link_does_not_hide_a_template(tmp_path: Path) -> None:
    (tmp_path / "TEMPLATE").mkdir()
    (tmp_path / "shop").symlink_to(tmp_path / "TEMPLATE")
    with pytest.raises(GuardError):
        check_project_folder(tmp_path / "shop")
