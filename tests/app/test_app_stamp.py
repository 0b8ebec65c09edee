"""The idle stamp: whatever it says, a full look says too; and a tick that has nothing to do reads nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.projects import lay_project, task

from aiframe.app.making.frame import all_projects
from aiframe.app.project.advance import advance, look
from aiframe.app.project.site import Site, open_site
from aiframe.app.project.stamp import leave_frame_stamp, leave_stamp, resting, survey, survey_frame
from aiframe.app.reports.explaining import explain_now
from aiframe.core.errors import AiframeError
from aiframe.idle import fast_tick
from aiframe.process import now
from aiframe.store.layout import Layout
from aiframe.store.locks import RunLock
from aiframe.store.project_store import ProjectStore

ENV: Mapping[str, str] = {}
SETTLED_S = 0.08
"""Longer than a changed file is mistrusted."""

APPROVED = "notes/review_approval.md"


def message_of(site: Site) -> str:
    explained = explain_now(site)
    return "\n".join([explained.headline, *explained.cures])


def stamp(root: Path, environ: Mapping[str, str] = ENV, *, settle: bool = True) -> bool:
    """What a tick without work does at its end."""
    if settle:
        time.sleep(SETTLED_S)
    before = survey(Layout(root))
    site = open_site(root, environ)
    found = look(site)
    return leave_stamp(site, found, message_of(site), 0, before)


def rests(root: Path, environ: Mapping[str, str] = ENV) -> bool:
    return resting(Layout(root), environ, time.time()) is not None


def lay_idle(folder: Path, name: str = "shop", **state: Any) -> Path:
    """A project that waits for a review, with a valid stamp."""
    values = {"state": "REVIEW_WAITING", "interactive_mode": True, "plan_locked": True, **state}
    bench = lay_project(folder, task("T1", "true", status="review"), name=name, state=values)
    (bench.root / ".git" / "aiframe").mkdir(parents=True)
    (bench.root / "notes").mkdir()
    store = ProjectStore(Layout(bench.root))
    store.save(store.load().project, now(), expect_generation=0)
    assert stamp(bench.root)
    return bench.root


# What ends a rest -----------------------------------------------------------------------------------------------------


def in_place(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\n")


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def replaced_by_an_old_one(path: Path) -> None:
    """As `mv` and `cp -p` do: neither the size nor the time of modification tells."""
    found = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [in_place, replaced, replaced_by_an_old_one, removed], ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", ["STATE.json", "TASKS.yaml", "PROJECT.yaml", ".git/aiframe/control.json"])
def test_a_changed_file_ends_the_rest(tmp_path: Path, name: str, change: Callable[[Path], None]) -> None:
    root = lay_idle(tmp_path)
    assert rests(root)
    change(root / name)
    assert not rests(root)


@pytest.mark.parametrize("name", [APPROVED, "notes/review_rejection.md", "notes/interrupt.flag", "TEMPLATE_ROOT"])
def test_a_new_file_ends_the_rest(tmp_path: Path, name: str) -> None:
    root = lay_idle(tmp_path)
    (root / name).write_text("yes")
    assert not rests(root)


def test_a_blank_note_that_is_filled_in_ends_the_rest(tmp_path: Path) -> None:
    root = lay_idle(tmp_path)
    (root / APPROVED).write_text("\n")
    assert stamp(root)
    (root / APPROVED).write_text("fine\n")
    assert not rests(root)


@pytest.mark.parametrize("name", ["INTAKE_ANSWERS.md", "INTAKE_QUESTIONS.md"])
def test_an_answer_ends_the_rest_of_an_interview(tmp_path: Path, name: str) -> None:
    root = lay_idle(tmp_path)
    (root / "INTAKE_QUESTIONS.md").write_text("## Q1 Which colour?\n")
    (root / "INTAKE_ANSWERS.md").write_text("## Q1\n\n")
    state = json.loads((root / "STATE.json").read_text())
    (root / "STATE.json").write_text(json.dumps({**state, "state": "INTAKE_WAITING"}))
    advance(open_site(root, ENV))
    assert stamp(root)
    (root / name).write_text("## Q1\n\nblue\n")
    assert not rests(root)


def test_a_lost_journal_ends_the_rest(tmp_path: Path) -> None:
    """The last decision owes it a line."""
    root = lay_idle(tmp_path)
    state = json.loads((root / "STATE.json").read_text())
    (root / "STATE.json").write_text(json.dumps({**state, "state": "PAUSED"}))
    advance(open_site(root, ENV))
    assert stamp(root)
    (root / "logs" / "events.ndjson").unlink()
    assert not rests(root)


def test_where_the_second_copy_of_the_record_decides_it_is_watched(tmp_path: Path) -> None:
    root = lay_idle(tmp_path)
    record = root / ".git" / "aiframe" / "control.json"
    record.write_text("{")
    assert stamp(root)
    replaced(record.with_name("control.json.good"))
    assert not rests(root)


@pytest.mark.parametrize("name", ["product.py", "sub/file", "logs/tick-1.log", "notes/sub/file"])
def test_work_in_folders_below_does_not_end_the_rest(tmp_path: Path, name: str) -> None:
    root = lay_idle(tmp_path)
    for folder in ("sub", "logs", "notes/sub"):
        (root / folder).mkdir(exist_ok=True)
    (root / "product.py").write_text("1")
    assert stamp(root)
    (root / name).write_text("2")
    assert rests(root)


@pytest.mark.parametrize("name", ["AIFRAME_UNATTENDED", "DEV_CHAIN_LIMIT", "TZ"])
def test_another_variable_ends_the_rest(tmp_path: Path, name: str) -> None:
    root = lay_idle(tmp_path)
    assert not rests(root, {name: "7"})


def test_a_copied_project_does_not_rest_by_the_stamp_of_the_first(tmp_path: Path) -> None:
    root = lay_idle(tmp_path)
    root.rename(tmp_path / "elsewhere")
    assert not rests(tmp_path / "elsewhere")


def test_a_link_to_a_project_is_none_of_its_places(tmp_path: Path) -> None:
    root = lay_idle(tmp_path)
    (tmp_path / "link").symlink_to(root)
    assert rests(root)
    assert not rests(tmp_path / "link")


def test_a_clock_set_back_and_the_end_of_a_wait_end_the_rest(tmp_path: Path) -> None:
    end = time.time() + 3600
    root = lay_idle(tmp_path, state="DEV_READY", not_before=end, interactive_mode=False)
    layout = Layout(root)
    rest = resting(layout, ENV, time.time())
    assert rest is not None
    assert abs(rest.until - end) < 1
    assert resting(layout, ENV, rest.until - 1) is not None
    assert resting(layout, ENV, rest.until) is None
    assert resting(layout, ENV, time.time() - 3600) is None


# What leaves no stamp -------------------------------------------------------------------------------------------------


def test_a_change_between_survey_and_look_is_seen(tmp_path: Path) -> None:
    root = lay_idle(tmp_path)
    time.sleep(SETTLED_S)
    before = survey(Layout(root))
    (root / "TASKS.yaml").write_text((root / "TASKS.yaml").read_text() + "# a remark\n")
    site = open_site(root, ENV)
    assert leave_stamp(site, look(site), "at rest", 0, before)
    assert not rests(root)


def test_files_that_are_too_fresh_leave_no_stamp(tmp_path: Path) -> None:
    root = lay_idle(tmp_path)
    (root / ".git" / "aiframe" / "idle").unlink()
    in_place(root / "TASKS.yaml")
    assert not stamp(root, settle=False)
    assert not rests(root)


def test_a_runner_that_closes_its_books_may_yet_leave_work(tmp_path: Path) -> None:
    root = lay_idle(tmp_path)
    (root / ".git" / "aiframe" / "idle").unlink()
    lock = RunLock.try_take(Layout(root))
    assert lock is not None
    assert not stamp(root)
    lock.close_here()
    assert stamp(root)
    (root / ".git" / "aiframe" / "carrying").touch()
    assert not rests(root)


def test_a_look_with_work_leaves_no_stamp(tmp_path: Path) -> None:
    root = lay_idle(tmp_path)
    (root / APPROVED).write_text("fine")
    assert not stamp(root)


def test_the_same_stamp_is_not_written_twice(tmp_path: Path) -> None:
    root = lay_idle(tmp_path)
    idle = root / ".git" / "aiframe" / "idle"
    first = idle.stat().st_ino
    assert stamp(root)
    assert idle.stat().st_ino == first


def test_a_folder_without_a_repository_gets_none_for_the_stamp(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true", status="done"), state="DONE")
    assert not stamp(bench.root)
    assert not (bench.root / ".git").exists()


@pytest.mark.parametrize("content", [b"", b"aiframe idle 1", b"aiframe idle 1\n\xff", b"\0" * 5000, b"x\n" * 5000])
def test_a_broken_stamp_counts_for_nothing(tmp_path: Path, content: bytes) -> None:
    root = lay_idle(tmp_path)
    idle = root / ".git" / "aiframe" / "idle"
    idle.write_bytes(content)
    assert not rests(root)
    idle.unlink()
    os.mkfifo(idle)
    assert not rests(root)


# The property ---------------------------------------------------------------------------------------------------------

STATES = [
    {"state": "DONE"}, {"state": "PAUSED"}, {"state": "ERROR"}, {"state": "REVIEW_WAITING"}, {"state": "SPEC_READY"},
    {"state": "INTAKE_WAITING"}, {"state": "DEV_READY", "interactive_mode": False}, {"state": "WHATEVER"},
    {"state": "PAUSE_INTERACT"}, {"state": "DEV_READY", "not_before": 4_000_000_000}, {"state": "QUESTION_WAITING"},
    {"state": "WORK_WAITING"},
]  # fmt: skip
CONTENTS: Mapping[str, list[str]] = {
    "STATE.json": [*(json.dumps(state) for state in STATES), "{", ""],
    "TASKS.yaml": [
        "tasks: []\n",
        "tasks:\n  - {id: T1, title: a, status: done}\n",
        "tasks:\n  - {id: T1, title: a, status: review}\n",
        "tasks: [",
    ],
    "PROJECT.yaml": ["", "limits: {max_attempts: 1}\n", "agent: ["],
    "SPEC.md": ["# one\n", "# two\n"],
    "INTAKE_QUESTIONS.md": ["## Q1 Which?\n", ""],
    "INTAKE_ANSWERS.md": ["## Q1\n\nblue\n", "## Q1\n\n", ""],
    APPROVED: ["", "yes\n"],
    "notes/review_rejection.md": ["", "no\n"],
    "notes/interrupt.flag": [""],
    "logs/events.ndjson": ["", "{}\n"],
    "INTAKE_HISTORY.md": ["# History\n"],
    ".git/aiframe/carrying": [""],
    ".git/aiframe/control.json": ["{"],
}
WRITES = st.sampled_from([(name, text) for name, texts in CONTENTS.items() for text in texts])
STEPS = st.one_of(
    st.tuples(st.sampled_from(["in place", "replace"]), WRITES),
    st.tuples(st.just("remove"), WRITES),
    st.tuples(st.sampled_from(["advance", "stamp", "stamp", "stamp at once"]), st.none()),
    st.tuples(st.just("limit"), st.sampled_from(["", "2", "two"])),
)


@settings(max_examples=40)
@given(st.lists(STEPS, min_size=3, max_size=10))
def test_a_valid_stamp_implies_that_a_look_finds_no_work(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]
) -> None:
    root = lay_idle(tmp_path_factory.mktemp("frame"))
    environ = {"DEV_CHAIN_LIMIT": ""}
    for what, value in steps:
        take_step(root, environ, what, value)
        rest = resting(Layout(root), environ, time.time())
        if rest is not None:
            site = open_site(root, environ)
            assert not look(site).has_work
            assert rest.message == message_of(site)


def take_step(root: Path, environ: dict[str, str], what: str, value: Any) -> None:
    if what == "limit":
        environ["DEV_CHAIN_LIMIT"] = value
    elif value is not None:
        path = root / value[0]
        path.parent.mkdir(exist_ok=True)
        if what == "remove":
            path.unlink(missing_ok=True)
        elif what == "in place":
            path.write_text(value[1])
        else:
            path.with_name("new").write_text(value[1])
            path.with_name("new").rename(path)
    else:
        try:
            if what == "advance":
                advance(open_site(root, environ))
            else:
                stamp(root, environ, settle=what == "stamp")
        except AiframeError:
            pass  # a file that cannot be read: a tick would say so


# The cheap way --------------------------------------------------------------------------------------------------------


def test_the_cheap_way_imports_nothing(tmp_path: Path) -> None:
    root = lay_idle(tmp_path)
    code = (
        "import os, sys, time; before = set(sys.modules); from aiframe.idle import fast_tick; "
        "code = fast_tick(['tick']); print(sorted(set(sys.modules) - before), code)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=root, env=packages(), capture_output=True, text=True)
    assert done.stdout.startswith("A review of T1 waits for you")
    assert done.stdout.endswith("['aiframe', 'aiframe.idle'] 0\n")


def packages() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


FAST = [["tick"], ["tick", "--no-wait"], ["tick", "--project", "."], ["tick", "--project={root}"]]
SLOW = [
    ["status"], ["tick", "--json"], ["tick", "--project"], ["tick", "--project", "--all"], [], ["tick", "extra"],
    ["tick", "--project", "none"], ["tick", "--all"], ["tick", "--all", "--project", "."], ["tick", "--no-wait=1"],
    ["tick", "--help"], ["tick", "--project", "~"],
]  # fmt: skip


@pytest.mark.parametrize(("argv", "fast"), [*((argv, True) for argv in FAST), *((argv, False) for argv in SLOW)])
def test_only_what_is_plain_goes_the_cheap_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], argv: list[str], fast: bool
) -> None:
    root = lay_idle(tmp_path)
    monkeypatch.chdir(root)
    code = fast_tick([word.replace("{root}", str(root)) for word in argv])
    assert code == (0 if fast else None)
    assert capfd.readouterr().out.startswith("A review of T1 waits" if fast else "")


def test_a_folder_below_finds_its_project_but_never_past_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lay_idle(tmp_path)
    (root / "src" / "deep").mkdir(parents=True)
    assert stamp(root)
    monkeypatch.chdir(root / "src" / "deep")
    assert fast_tick(["tick"]) == 0
    (root / "src" / "STATE.json").write_text("{}")
    assert fast_tick(["tick"]) is None


# All of a frame -------------------------------------------------------------------------------------------------------


def lay_frame(folder: Path) -> Path:
    """A frame with three idle projects, a file and a folder that is none, and a stamp for all of them."""
    frame = folder / "frame"
    (frame / "projects" / "just-a-folder").mkdir(parents=True)
    (frame / "projects" / "README").write_text("hello")
    (frame / "TEMPLATE_ROOT").write_text("")
    for name in ("one", "two", "three"):
        lay_idle(frame / "projects", name)
    time.sleep(SETTLED_S)
    before = survey_frame(frame)
    assert leave_frame_stamp(before, all_projects(frame), "three at rest", 0, ENV)
    return frame


def test_all_projects_at_rest_are_one_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    frame = lay_frame(tmp_path)
    monkeypatch.chdir(frame / "projects" / "just-a-folder")
    assert fast_tick(["tick", "--all"]) == 0
    monkeypatch.chdir(frame)
    assert fast_tick(["tick", "--all", "--no-wait"]) == 0
    assert fast_tick(["tick", "--project", "two"]) == 0
    monkeypatch.chdir(tmp_path)
    assert fast_tick(["tick", "--all", "--frame", "frame"]) == 0
    monkeypatch.setenv("AIFRAME_FRAME", str(frame))
    assert fast_tick(["tick", "--all"]) == 0
    assert capfd.readouterr().out.count("three at rest\n") == 4


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda projects: in_place(projects / "two" / "TASKS.yaml"), id="a file of a project"),
        pytest.param(lambda projects: (projects / "two" / APPROVED).write_text("yes"), id="a note"),
        pytest.param(lambda projects: (projects / "two").rename(projects.parent / "two"), id="a project is gone"),
        pytest.param(lambda projects: (projects / "two").rename(projects / "four"), id="a project has another name"),
        pytest.param(lambda projects: (projects / "four").mkdir(), id="a new folder"),
        pytest.param(lambda projects: (projects / "just-a-folder" / "STATE.json").write_text("{}"), id="a new project"),
        pytest.param(lambda projects: (projects / "README").write_text("bye, bye"), id="a file beside"),
        pytest.param(lambda projects: (projects.parent / "TEMPLATE_ROOT").unlink(), id="no frame any more"),
    ],
)
def test_any_change_ends_the_rest_of_the_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    frame = lay_frame(tmp_path)
    monkeypatch.chdir(frame)
    assert fast_tick(["tick", "--all"]) == 0
    change(frame / "projects")
    assert fast_tick(["tick", "--all"]) is None


def test_one_project_with_work_leaves_the_frame_without_a_stamp(tmp_path: Path) -> None:
    frame = lay_frame(tmp_path)
    (frame / "projects" / "one" / APPROVED).write_text("yes")
    assert not leave_frame_stamp(survey_frame(frame), all_projects(frame), "at rest", 0, ENV)
