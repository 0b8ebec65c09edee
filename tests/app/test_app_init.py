"""A new project is there whole or not at all, under a name of its own, with the idea where the interview reads it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.projects import wait_for

from aiframe.app.cleaning.places import clean_nurseries
from aiframe.app.making.frame import all_projects, lay_frame
from aiframe.app.making.init import IDEA_LIMIT, InitReport, init_project
from aiframe.app.making.new_project import NURSERY_PREFIX
from aiframe.app.project.site import open_site
from aiframe.core.errors import AiframeError, GuardError, UnreadableFile, UsageError
from aiframe.core.model import Moment, State
from aiframe.process import now
from aiframe.store.atomic import StorageError
from aiframe.store.guards import check_project_folder
from aiframe.store.hand_edits import Edits
from aiframe.store.layout import Layout
from aiframe.store.project_store import ProjectStore
from aiframe.store.settings_file import SandboxSettings, load_settings
from aiframe.store.tasks_file import load_tasks


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    return lay_frame(tmp_path / "frame").root


def make(frame: Path, name: str | None = "shop", **arguments: object) -> InitReport:
    given: dict[str, object] = {"clock": now(), "cwd": frame, "environ": dict(os.environ)} | arguments
    return init_project(frame, name, **given)  # type: ignore[arg-type]


def names(frame: Path) -> list[str]:
    return sorted(path.name for path in (frame / "projects").iterdir())


def git(project: Path, *argv: str) -> str:
    return subprocess.run(["git", *argv], cwd=project, check=True, capture_output=True, text=True).stdout


def test_a_new_project_is_ready_for_its_interview(frame: Path) -> None:
    report = make(frame, idea="A small shop.\r\n\r\n## For whom\r\n")
    project = frame / "projects" / "shop"
    assert report.path == project
    check_project_folder(project)
    loaded = ProjectStore(Layout(project)).load()
    assert (loaded.project.state, loaded.legacy, loaded.edits) == (State.INTAKE_READY, False, Edits())
    assert loaded.project.settings.interactive_mode
    assert load_tasks(Layout(project).tasks_yaml).tasks == ()
    assert 'project: "shop"' in (project / "TASKS.yaml").read_text()
    assert load_settings(Layout(project).project_yaml, {}).sandbox == SandboxSettings("auto")
    spec = (project / "SPEC.md").read_text()
    assert "## Idea\n\nA small shop.\n\n## For whom\n\n## Goal\n" in spec
    assert (project / "idea.md").read_text() == "A small shop.\n\n## For whom\n"
    assert (project / "notes" / "context_snapshot.md").exists()
    assert not list(project.rglob("*.j2"))


def test_a_new_project_is_a_clean_repository_of_its_own(frame: Path) -> None:
    subprocess.run(["git", "init", "-q", frame], check=True)
    project = make(frame).path
    assert Path(git(project, "rev-parse", "--show-toplevel").strip()) == project.resolve()
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "log", "--format=%s").count("\n") == 1
    tracked = set(git(project, "ls-files").split())
    assert {"SPEC.md", "TASKS.yaml", "PROJECT.yaml", "AGENTS.md", ".gitignore"} <= tracked
    assert not any(name.startswith(("STATE.json", "notes/")) for name in tracked)
    assert git(frame, "status", "--porcelain", "-uall", "projects") == "?? projects/.gitignore\n"


def test_without_interaction(frame: Path) -> None:
    project = make(frame, interactive=False).path
    assert not ProjectStore(Layout(project)).load().project.settings.interactive_mode


def test_the_name_is_the_time_when_none_is_given(frame: Path) -> None:
    clock = Moment(wall=1_740_820_502.0)
    stamp = time.strftime("project-%Y%m%d-%H%M%S", time.localtime(clock.wall))
    assert [make(frame, None, clock=clock).path.name for _ in range(2)] == [stamp, f"{stamp}-2"]


def test_a_taken_name_gets_a_number(frame: Path) -> None:
    (frame / "projects" / "shop").mkdir()
    (frame / "projects" / "shop-2").symlink_to("nowhere")
    report = make(frame)
    assert report.path.name == "shop-3"
    assert 'project: "shop-3"' in (report.path / "TASKS.yaml").read_text()
    assert "the name shop was taken" in report.notes
    long = "x" * 64
    assert [make(frame, long).path.name for _ in range(2)] == [long, "x" * 62 + "-2"]


@pytest.mark.parametrize("name", ["shop", "0", "a.b_c-D", "1.0", "true", "x" * 64])
def test_names_that_will_do(frame: Path, name: str) -> None:
    assert make(frame, name).path == frame / "projects" / name


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        pytest.param("my shop", "aiframe init my-shop", id="space"),
        pytest.param("../evil", "aiframe init evil", id="path upwards"),
        pytest.param("/etc/evil", "aiframe init etc-evil", id="absolute path"),
        pytest.param(".hidden", "aiframe init hidden", id="leading dot"),
        pytest.param("-rf", "aiframe init rf", id="leading dash"),
        pytest.param("", "aiframe init my-project", id="empty"),
        pytest.param("..", "aiframe init my-project", id="dots"),
        pytest.param("店", "aiframe init my-project", id="no ASCII"),
        pytest.param("a\0b\n", "aiframe init a-b", id="control characters"),
        pytest.param("x" * 65, f"aiframe init {'x' * 64}", id="too long"),
        pytest.param("My-Template", "aiframe init My", id="template"),
        pytest.param("temTEMPLATEplate", "aiframe init my-project", id="template in template"),
    ],
)
def test_names_that_will_not_do(frame: Path, name: str, suggestion: str) -> None:
    with pytest.raises(UsageError) as raised:
        make(frame, name)
    assert raised.value.hint == f"try `{suggestion}`"
    assert names(frame) == [".gitignore"]


@pytest.mark.parametrize("place", ["projects", "projects/shop", "projects/shop/notes"])
def test_refused_inside_projects(frame: Path, place: str) -> None:
    make(frame)
    with pytest.raises(GuardError, match="inside projects/"):
        make(frame, "other", cwd=frame / place)
    assert names(frame) == [".gitignore", "shop"]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        pytest.param(None, UsageError, "there is no file", id="missing"),
        pytest.param(b"", UsageError, "is empty", id="empty"),
        pytest.param(b"\xef\xbb\xbf \r\n\t", UsageError, "is empty", id="blank"),
        pytest.param(b"caf\xe9", UnreadableFile, r"idea\.md:1:4: byte 3 \(0xe9\) is no UTF-8", id="not UTF-8"),
        pytest.param(b"a\0b", UnreadableFile, "NUL", id="NUL"),
        pytest.param(b"x" * (IDEA_LIMIT + 1), UnreadableFile, "at most 1048576", id="too big"),
    ],
)
def test_an_idea_file_that_cannot_be_used(
    frame: Path, tmp_path: Path, content: bytes | None, error: type[AiframeError], message: str
) -> None:
    idea = tmp_path / "idea.md"
    if content is not None:
        idea.write_bytes(content)
    with pytest.raises(error, match=message) as raised:
        make(frame, idea=idea)
    assert raised.value.hint
    assert names(frame) == [".gitignore"]


def test_a_folder_is_no_idea(frame: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="cannot be read"):
        make(frame, idea=tmp_path)


@pytest.mark.parametrize("idea", [" ", "x" * (IDEA_LIMIT + 1), "caf\udce9"], ids=["blank", "too big", "no UTF-8"])
def test_an_idea_text_that_cannot_be_used(frame: Path, idea: str) -> None:
    with pytest.raises(AiframeError):
        make(frame, idea=idea)
    assert names(frame) == [".gitignore"]


def test_an_idea_file_of_the_largest_size(frame: Path, tmp_path: Path) -> None:
    idea = tmp_path / "idea.md"
    idea.write_bytes(b"x" * IDEA_LIMIT)
    assert "x" * IDEA_LIMIT in (make(frame, idea=idea).path / "SPEC.md").read_text()


# The agent


def path_with(folder: Path, *programs: str) -> dict[str, str]:
    folder.mkdir()
    for program in programs:
        (folder / program).write_text("#!/bin/sh\n")
        (folder / program).chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize(
    ("there", "proposed"),
    [
        (["codex"], "codex"),
        (["claude", "codex", "opencode"], "codex"),
        (["claude", "opencode"], "claude"),
        (["opencode"], "opencode"),
    ],
    ids=str,
)
def test_the_agent_that_is_installed_is_proposed(frame: Path, tmp_path: Path, there: list[str], proposed: str) -> None:
    report = make(frame, environ=path_with(tmp_path / "bin", *there))
    assert (report.agent, report.notes) == (proposed, ())
    assert f"\nagent: {proposed}\n" in (report.path / "PROJECT.yaml").read_text()


def test_without_any_agent_the_way_to_one_is_told(frame: Path, tmp_path: Path) -> None:
    report = make(frame, environ=path_with(tmp_path / "bin", "aider"))
    assert report.agent == "codex"
    assert "npm install -g @openai/codex" in report.notes[0]
    assert "aiframe demo" in report.notes[1]
    assert "\nagent: codex\n" in (report.path / "PROJECT.yaml").read_text()


def test_an_agent_of_the_persons_choice(frame: Path) -> None:
    report = make(frame, agent="command")
    assert "\nagent: command\n" in (report.path / "PROJECT.yaml").read_text()
    assert "line:" in report.notes[0]
    with pytest.raises(UsageError, match="no agent 'codx'") as raised:
        make(frame, "other", agent="codx")
    assert "did you mean 'codex'?" in raised.value.hint
    assert names(frame) == [".gitignore", "shop"]


def test_the_next_commands_can_be_typed_where_the_person_is(frame: Path, tmp_path: Path) -> None:
    assert make(frame).next_commands == (
        "$EDITOR projects/shop/SPEC.md",
        "aiframe tick --project projects/shop",
        "$EDITOR projects/shop/INTAKE_ANSWERS.md",
        "aiframe watch --project projects/shop",
    )
    elsewhere = make(frame, "b", idea="x", cwd=Path("/")).next_commands
    assert elsewhere[0] == f"aiframe tick --project {str((frame / 'projects/b').resolve()).removeprefix('/')}"
    (tmp_path / "a b").mkdir()
    assert make(frame, "c", idea="x", cwd=tmp_path / "a b").next_commands[0].endswith("/projects/c")
    spaced = lay_frame(tmp_path / "my frame").root
    assert make(spaced, "d", idea="x", cwd=tmp_path).next_commands[0] == "aiframe tick --project 'my frame/projects/d'"


# Templates of the person's own


def test_the_frames_own_templates_are_used(frame: Path) -> None:
    templates = frame / "templates" / "project"
    (templates / "SPEC.md").write_text("Ours.\n")
    (templates / "CLAUSE.md.j2").write_text("Of {{ name }}.\n")
    (templates / "run.sh").write_text("#!/bin/sh\n")
    (templates / "run.sh").chmod(0o755)
    project = make(frame, idea="X").path
    assert (project / "SPEC.md").read_text() == "Ours.\n\n## Idea\n\nX\n\n"
    assert (project / "CLAUSE.md").read_text() == "Of shop.\n"
    assert os.access(project / "run.sh", os.X_OK)


@pytest.mark.parametrize("text", ["{{ nmae }}", "\n{% if %}"], ids=["unknown variable", "syntax"])
def test_a_template_that_cannot_be_filled(frame: Path, text: str) -> None:
    (frame / "templates" / "project" / "X.md.j2").write_text(text)
    with pytest.raises(UsageError, match=r"X\.md\.j2"):
        make(frame)
    assert names(frame) == [".gitignore"]


# Never half a project


def test_many_at_once_get_names_of_their_own(frame: Path) -> None:
    reports: list[InitReport] = []
    gate = threading.Barrier(4)

    def race() -> None:
        gate.wait()
        reports.append(make(frame))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.path.name for report in reports) == ["shop", "shop-2", "shop-3", "shop-4"]
    assert names(frame) == [".gitignore", "shop", "shop-2", "shop-3", "shop-4"]
    for report in reports:
        assert f'project: "{report.path.name}"' in (report.path / "TASKS.yaml").read_text()
        assert git(report.path, "status", "--porcelain") == ""


def init_words(frame: Path, before: str, name: str = "shop") -> list[str]:
    """The command line of a process that makes the project *name*, after the lines *before*."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from aiframe.app.making import init, new_project; from aiframe.process import now\n"
        f"{before}\n"
        f"init.init_project(Path(sys.argv[1]), {name!r}, clock=now(), cwd=Path('/'), environ=os.environ)"
    )
    return [sys.executable, "-c", code, str(frame)]


def run_init(frame: Path, before: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """`init_project` for the name shop in a process of its own, after the statement *before*."""
    words = init_words(frame, before)
    return subprocess.run(words, env={**os.environ, **environ}, check=False, capture_output=True, text=True)


def test_nothing_is_left_when_git_is_missing(frame: Path) -> None:
    done = run_init(frame, PATH=str(frame))
    assert done.returncode == 1
    assert "git" in done.stderr.splitlines()[-1]
    assert names(frame) == [".gitignore"]


def test_nothing_is_left_when_a_file_cannot_be_written(frame: Path) -> None:
    (frame / "templates" / "project" / "notes.j2").write_text("in the way of the folder notes")
    with pytest.raises(StorageError, match="notes"):
        make(frame)
    assert names(frame) == [".gitignore"]


@pytest.mark.parametrize("by", ["init", "clean"])
def test_what_a_killed_init_leaves_is_no_project_and_goes(frame: Path, by: str) -> None:
    """And what a living one builds in stays."""
    other = make(frame, "other").path
    kill = "new_project.ensure_repository = lambda root, ignored: os.kill(os.getpid(), 9)"
    with living_init(frame) as alive:
        assert run_init(frame, before=kill).returncode == -9
        (left,) = set(nurseries(frame)) - set(alive)
        assert (frame / "projects" / left / "SPEC.md").exists()
        assert all_projects(frame) == [other]
        if by == "init":
            assert make(frame).path.name == "shop"
        else:
            site = open_site(other, os.environ)
            found = [*clean_nurseries(site, remove=False), *clean_nurseries(site, remove=True)]
            assert [(item.name, item.kept, item.size > 0) for item in found] == [(left, "", True)] * 2
        assert nurseries(frame) == alive
    assert [name for name in names(frame) if name.startswith(".")] == [".gitignore"]


def nurseries(frame: Path) -> list[str]:
    return [name for name in names(frame) if name.startswith(NURSERY_PREFIX)]


@contextmanager
def living_init(frame: Path) -> Iterator[list[str]]:
    """Another `init` builds a project for the whole block; gives the name of the folder that it builds in."""
    before, go = set(nurseries(frame)), frame / "go"
    waits = f"lambda root, ignored: [time.sleep(0.02) for _ in range(3000) if not os.path.exists({str(go)!r})]"
    words = init_words(frame, f"new_project.ensure_repository = {waits}", "slow")
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as building:
        yield wait_for(lambda: sorted(set(nurseries(frame)) - before), "its folder")
        go.touch()
        building.wait()
