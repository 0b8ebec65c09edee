"""The doctor starts what it reports on: each fault is made for real and found, with its cure, in good time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.needs import require

from aiframe.app.making.frame import lay_frame
from aiframe.app.making.init import init_project
from aiframe.app.reports.doctor import Finding, examine
from aiframe.app.reports.machine_checks import check_lock, check_supervision, check_text, check_watcher, scratch
from aiframe.core.errors import AiframeError
from aiframe.process import now
from aiframe.store.layout import Layout

NAMES = [
    "python", "git", "frame", "claude", "codex", "opencode", "supervision", "run lock", "sandbox", "file watcher",
    "disk", "clock", "locale", "optional tools",
]  # fmt: skip


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    return lay_frame(tmp_path / "frame").root


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def without_codex() -> dict[str, str]:
    agents = ("claude", "codex", "opencode")
    folders = [path for path in os.environ["PATH"].split(":") if not any(Path(path, name).exists() for name in agents)]
    return {**os.environ, "PATH": ":".join(folders)}


def with_codex(tmp_path: Path, script: str, name: str = "codex", **environ: str) -> dict[str, str]:
    """An environment in which the program codex, or *name*, is the shell script *script*; there is no other agent."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    home = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "elsewhere")}
    clean = without_codex()
    return {**clean, **home, **environ, "PATH": f"{folder}:{clean['PATH']}"}


def test_a_machine_that_works(frame: Path) -> None:
    started = time.monotonic()
    findings = examine(frame, None, without_codex())
    assert time.monotonic() - started < 5
    assert [finding.name for finding in findings] == NAMES
    assert [finding for finding in findings if finding.ok is False] == []
    found = by_name(findings)
    assert found["frame"].detail == f"{frame}, 0 projects"
    assert "a commit works" in found["git"].detail
    assert "bubblewrap" in found["sandbox"].detail
    assert found["codex"].ok is None
    assert "npm install" in found["codex"].cure
    assert all(finding.cure for finding in findings if finding.ok is None)
    assert sorted(path.name for path in (frame / "projects").iterdir()) == [".gitignore"]


def test_without_a_frame() -> None:
    found = by_name(examine(None, None, without_codex()))
    assert found["frame"].ok is None
    assert "aiframe frame DIR" in found["frame"].cure
    assert found["run lock"].ok is not False


def test_a_project(frame: Path, tmp_path: Path) -> None:
    project = init_project(frame, "shop", clock=now(), cwd=frame, environ=without_codex()).path
    found = by_name(examine(frame, project, without_codex()))
    assert found["project"] == Finding("project", True, f"{project}: INTAKE_READY, 0 tasks, files readable")
    assert found["frame"].detail.endswith("1 project")
    assert found["codex"].ok is False, "the project needs it"
    assert sorted(path.name for path in Layout(project).control_dir.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("file", "text", "named", "told"),
    [
        pytest.param("STATE.json", "{", "project", "STATE.json:1", id="state"),
        pytest.param("TASKS.yaml", "tasks:\n- id: [", "project", "TASKS.yaml:", id="tasks"),
        pytest.param("PROJECT.yaml", "agnet: codex", "project", "PROJECT.yaml:1", id="settings"),
        pytest.param("TEMPLATE_ROOT", "", "project", "TEMPLATE_ROOT", id="guard"),
        pytest.param("PROJECT.yaml", "agent: codx", "codx", "no agent that aiframe knows", id="agent"),
    ],
)
def test_a_project_with_a_fault(frame: Path, file: str, text: str, named: str, told: str) -> None:
    project = init_project(frame, "shop", clock=now(), cwd=frame, environ=without_codex()).path
    (project / file).write_text(text)
    finding = by_name(examine(frame, project, without_codex()))[named]
    assert finding.ok is False
    assert told in finding.detail
    assert finding.cure


ANSWERS = 'case "$1" in --version) echo "codex-cli 9.9";; *) exit {login};; esac'


@pytest.mark.parametrize(
    ("script", "environ", "name", "ok", "told"),
    [
        pytest.param(ANSWERS.format(login=0), {}, "codex", True, "codex-cli 9.9", id="version"),
        pytest.param("exit 3", {}, "codex", False, "ended with 3", id="does not start"),
        pytest.param("sleep 60", {}, "codex", False, "did not end within", id="hangs"),
        pytest.param(ANSWERS.format(login=0), {}, "codex login", True, "says yes", id="login"),
        pytest.param(ANSWERS.format(login=1), {}, "codex login", False, "none", id="no login"),
        pytest.param(ANSWERS.format(login=1), {"CODEX_API_KEY": "k"}, "codex login", True, "is set", id="key"),
        pytest.param(ANSWERS.format(login=1), {"OPENAI_API_KEY": "k"}, "codex login", False, "not enough", id="no key"),
    ],
)
def test_codex(
    frame: Path, tmp_path: Path, script: str, environ: dict[str, str], name: str, ok: bool, told: str
) -> None:
    started = time.monotonic()
    finding = by_name(examine(frame, None, with_codex(tmp_path, script, **environ)))[name]
    assert time.monotonic() - started < 5
    assert (finding.ok, told in finding.detail) == (ok, True), finding
    assert bool(finding.cure) is not ok


def test_codex_with_a_provider_of_its_own_may_need_no_login(frame: Path, tmp_path: Path) -> None:
    environ = with_codex(tmp_path, ANSWERS.format(login=1))
    (tmp_path / "home" / ".codex").mkdir(parents=True)
    (tmp_path / "home" / ".codex" / "config.toml").write_text('model_provider = "ours"\n')
    finding = by_name(examine(frame, None, environ))["codex login"]
    assert finding.ok is None
    assert "ours" in finding.detail


@pytest.mark.parametrize(
    ("login", "used", "ok"),
    [
        pytest.param(0, True, True, id="logged in"),
        pytest.param(1, True, False, id="not logged in"),
        pytest.param(1, False, None, id="not logged in, but not asked for"),
    ],
)
def test_claude(frame: Path, tmp_path: Path, login: int, used: bool, ok: bool | None) -> None:
    environ = with_codex(tmp_path, ANSWERS.format(login=login), "claude")
    project = init_project(frame, "shop", clock=now(), cwd=frame, environ=environ).path
    assert "\nagent: claude\n" in (project / "PROJECT.yaml").read_text(), "init takes what is there"
    found = by_name(examine(frame, project if used else None, environ))
    assert found["claude"].ok is True
    assert found["claude login"].ok is ok
    assert ok is True or "claude auth login" in found["claude login"].cure


@pytest.mark.parametrize(
    ("kept", "environ", "ok", "told"),
    [
        pytest.param('{"openai": {"type": "api", "key": "secret"}}', {}, True, "for openai", id="kept"),
        pytest.param("{", {}, None, "none kept", id="a file that is broken"),
        pytest.param("", {}, None, "none kept", id="none"),
        pytest.param("", {"OPENAI_API_KEY": "secret"}, True, "OPENAI_API_KEY is set", id="key"),
    ],
)
def test_opencode(frame: Path, tmp_path: Path, kept: str, environ: dict[str, str], ok: bool | None, told: str) -> None:
    if kept:
        (tmp_path / "data" / "opencode").mkdir(parents=True)
        (tmp_path / "data" / "opencode" / "auth.json").write_text(kept)
    environ = {"XDG_DATA_HOME": str(tmp_path / "data"), **environ}
    findings = examine(frame, None, with_codex(tmp_path, "echo 9.9", "opencode", **environ))
    found = by_name(findings)
    assert found["opencode"] == Finding("opencode", True, "9.9")
    assert found["opencode login"].ok is ok
    assert told in found["opencode login"].detail
    assert "secret" not in str(findings)


def test_an_agent_that_hangs_is_no_fault_where_none_asks_for_it(frame: Path, tmp_path: Path) -> None:
    finding = by_name(examine(frame, None, with_codex(tmp_path, "sleep 60", "claude")))["claude"]
    assert finding.ok is None
    assert "did not end within" in finding.detail


def test_the_real_claude(frame: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "claude").symlink_to(require("claude"))
    home = {"HOME": str(tmp_path), "CLAUDE_CONFIG_DIR": str(tmp_path / "none"), "DISABLE_AUTOUPDATER": "1"}
    environ = {**without_codex(), **home, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    found = by_name(examine(frame, None, environ))
    assert "Claude Code" in found["claude"].detail
    assert found["claude login"].ok is None


def test_the_real_codex(frame: Path, tmp_path: Path) -> None:
    program = require("codex")
    environ = {
        **os.environ,
        "PATH": f"{Path(program).parent}:{os.environ['PATH']}",
        "CODEX_HOME": str(tmp_path / "none"),
    }
    found = by_name(examine(frame, None, environ))
    assert found["codex"].detail.startswith("codex-cli "), found["codex"]
    assert found["codex set-up"].ok is False, "its home lies in the temporary folder"
    assert found["codex login"].ok is False


def test_no_git(frame: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = by_name(examine(frame, None, {"PATH": str(tmp_path / "empty")}))
    assert (found["git"].ok, found["git"].detail) == (False, "was not found on PATH")
    assert "apt-get install git" in found["git"].cure
    assert "not there: entr" in found["optional tools"].detail
    assert "is not installed" in found["sandbox"].detail


def test_a_frame_that_cannot_be_written(tmp_path: Path) -> None:
    frame = lay_frame(tmp_path).root
    (frame / "projects" / ".gitignore").unlink()
    (frame / "projects").rmdir()
    (frame / "projects").symlink_to("/proc/self")  # takes no files, not even from root
    found = by_name(examine(frame, None, without_codex()))
    assert [name for name, finding in found.items() if finding.ok is False] == ["projects folder"]
    assert "cannot make the folder" in found["projects folder"].detail
    assert found["projects folder"].cure


# The checks, each on a system that does not do what it should


def test_a_lock_that_somebody_holds_is_noticed(tmp_path: Path) -> None:
    from aiframe.store.locks import RunLock

    lock = RunLock.try_take(Layout(tmp_path))
    assert lock is not None
    assert check_lock(tmp_path).ok is False
    lock.close_here()
    assert check_lock(tmp_path).ok is not False


def test_a_watcher_without_events_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "changed").mkdir()  # so that the file cannot be written
    finding = check_watcher(tmp_path, 0)
    assert finding.ok is False
    assert finding.cure


def test_too_few_watches_are_noticed(tmp_path: Path) -> None:
    limit = Path("/proc/sys/fs/inotify/max_user_watches")
    if not limit.exists():
        pytest.skip("only Linux limits the number of watches")
    finding = check_watcher(tmp_path, int(limit.read_text()))
    assert finding.ok is None
    assert "max_user_watches" in finding.cure


@pytest.mark.parametrize("within_s", [0.0, 5.0])
def test_supervision(tmp_path: Path, within_s: float) -> None:
    finding = check_supervision(tmp_path, os.environ, within_s)
    assert finding.ok is (within_s > 0), finding


def test_the_locale_is_named() -> None:
    assert "ab_CD" in check_text({"LANG": "xx", "LC_ALL": "ab_CD"}).detail
    assert "not set" in check_text({}).detail


def test_a_scratch_folder_is_gone_afterwards_whatever_happens(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        (folder / "file").write_text("")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError), scratch(tmp_path):
        int("x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AiframeError), scratch(tmp_path / "missing"):
        pass
