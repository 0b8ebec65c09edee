"""One read-only look at a project: right in every state, and as much as can be read where files are broken."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, lay_project, lock_free, task, wait_for

from aiframe.app.project.site import open_site
from aiframe.app.reports.explaining import explain_now
from aiframe.app.reports.snapshot import Snapshot
from aiframe.app.reports.status import take_snapshot
from aiframe.app.tick import tick
from aiframe.core.errors import GuardError, UnreadableFile, UsageError
from aiframe.core.model import Project, Question, State
from aiframe.process import now
from aiframe.store.atomic import make_folder
from aiframe.store.layout import Layout
from aiframe.store.locks import RunLock
from aiframe.store.project_store import ProjectStore

FIXTURES = Path(__file__).parent.parent / "fixtures"


def shot(bench: Bench, **environ: str) -> Snapshot:
    """A snapshot, which must be plain data for JSON and must leave every file as it is."""
    before = bench.stamps()
    snapshot = take_snapshot(bench.root, environ)
    assert bench.stamps() == before
    assert json.loads(json.dumps(snapshot.as_dict()))["state"] == snapshot.state
    return snapshot


def save(bench: Bench, project: Project) -> None:
    ProjectStore(Layout(bench.root)).save(project, now(), expect_generation=0)


@pytest.mark.parametrize(
    ("state", "headline", "waiting_for"),
    [
        pytest.param({"state": "INTAKE_READY"}, "The interview can begin", "the next tick", id="INTAKE_READY"),
        pytest.param({"state": "SPEC_READY"}, "The specification is there", "the next tick", id="SPEC_READY"),
        pytest.param({"state": "DEV_READY"}, "The plan is there", "starts the DEV step on T1", id="DEV_READY"),
        pytest.param({"state": "REVIEW_WAITING"}, "A review", "your review", id="REVIEW_WAITING"),
        pytest.param({"state": "PAUSED"}, "Paused", "you", id="PAUSED"),
        pytest.param({"state": "ERROR", "last_error": "broken"}, "Stopped by an error: broken", "you", id="ERROR"),
        pytest.param({"state": "DONE"}, "Done once, but 1 task is open", "you", id="DONE with a task"),
        pytest.param({"state": "HMM"}, 'STATE.json names the state "HMM"', "a state that it knows", id="unknown"),
        pytest.param(
            {"state": "DEV_READY", "not_before": 4_000_000_000}, "The next step waits", "a time", id="not_before"
        ),
    ],
)
def test_where_it_stands(tmp_path: Path, state: Mapping[str, Any], headline: str, waiting_for: str) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), state=state)
    snapshot = shot(bench)
    assert snapshot.state == state["state"]
    assert snapshot.waits.headline.startswith(headline)
    assert waiting_for in snapshot.waits.waiting_for
    assert explain_now(open_site(bench.root, {})) == snapshot.waits
    assert (snapshot.name, snapshot.path, snapshot.alive) == ("shop", str(bench.root), False)
    assert [(line.id, line.status) for line in snapshot.tasks] == [("T1", "todo")]
    assert (snapshot.tasks_by_status, snapshot.tasks_total) == ({"todo": 1}, 1)


def test_a_project_of_the_original_framework(tmp_path: Path) -> None:
    bench = lay_project(tmp_path)
    for name in ("STATE", "TASKS"):
        found = next(FIXTURES.glob(f"{name}.original.*"))
        shutil.copy(found, bench.root / f"{name}{found.suffix}")
    (bench.root / "PROJECT.yaml").unlink()
    (bench.root / ".agent_lock").mkdir()
    snapshot = shot(bench)
    assert (snapshot.state, snapshot.role, snapshot.run_id) == ("RUNNING", "DEV", "20250314-092653-4711")
    assert snapshot.heartbeat_age_s == pytest.approx(time.time() - 1741944443, abs=60)
    assert snapshot.runtime_s == pytest.approx(time.time() - 1741944413, abs=60)
    assert snapshot.waits.headline == "The DEV step (attempt 1) has lost its runner"
    assert snapshot.review_items[:2] == ("T1", "T2")
    assert not (bench.root / ".git").exists()


def test_a_step_that_runs(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true"), turns=[dev("T1", say="hello", run=["touch ../here; sleep 60"])], name="shop"
    )
    assert tick(bench.root, os.environ, wait=False, out=print).detached
    wait_for((tmp_path / "here").exists, "the agent's command")
    try:
        snapshot = take_snapshot(bench.root, {})
        assert (snapshot.state, snapshot.alive, snapshot.role, snapshot.task) == ("RUNNING", True, "DEV", "T1")
        assert (snapshot.attempt, snapshot.timeout_s, snapshot.agent) == (1, 1800, "scripted")
        assert snapshot.run_id == bench.runs()[0].name
        assert snapshot.runtime_s is not None
        assert 0 <= snapshot.runtime_s < 60
        assert snapshot.heartbeat_age_s is not None
        assert snapshot.started_at == pytest.approx(time.time(), abs=60)
        assert snapshot.log_file == f"logs/tick-{snapshot.run_id}.log"
        assert "hello" in snapshot.log_tail
        bench.write("STATE.json", "{")  # what an agent does meanwhile is no trouble yet
        assert take_snapshot(bench.root, {}).waits.headline == "The DEV step on T1 (attempt 1) runs"
        assert take_snapshot(bench.root, {}).problems == ()
    finally:
        bench.do("stop")
    wait_for(lambda: lock_free(bench), "the end of the run")


def test_while_a_runner_holds_the_lock_a_broken_state_file_is_no_trouble(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), state="PAUSED")
    save(bench, ProjectStore(Layout(bench.root)).load().project)
    bench.write("STATE.json", "{")
    lock = RunLock.try_take(Layout(bench.root))
    assert lock is not None
    assert (shot(bench).state, shot(bench).problems) == ("PAUSED", ())
    lock.close_here()
    assert [Path(problem.path).name for problem in shot(bench).problems] == ["STATE.json"]


def test_state_is_shown_as_the_next_tick_takes_it(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), state="PAUSED")
    save(bench, ProjectStore(Layout(bench.root)).load().project)
    bench.edit_state(state="DEV_READY", not_before=4_000_000_000, timeout_sec=7)
    snapshot = shot(bench)
    assert (snapshot.state, snapshot.settings.timeout_sec) == ("DEV_READY", 7)
    assert snapshot.waits.until == pytest.approx(4_000_000_000, abs=1)


def test_what_waits_for_a_person(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true", status="review"), task("T2", "true", status="done"))
    asked = (Question("Q1", "Which colour?"), Question("Q2", "Which size?", answer="large"))
    save(bench, Project(State.INTAKE_WAITING, questions=asked, review_items=("T2",), planned_spec="other"))
    bench.write("INTAKE_QUESTIONS.md", "## Q1 One?\n\n## Q2 Two?\n\n## Q3 Three?\n")
    bench.write("INTAKE_ANSWERS.md", "## Q1\n\n\n## Q2\n\nyes\n\n## Q3\n\n")
    make_folder(Layout(bench.root).offered_tasks.parent)
    Layout(bench.root).offered_tasks.write_text("tasks: []\n")
    snapshot = shot(bench)
    assert snapshot.open_form_questions == 2
    assert [question.id for question in snapshot.questions] == ["Q1"]
    assert snapshot.review_items == ("T2", "T1")
    assert snapshot.spec_changed
    assert snapshot.offered_tasks
    assert "2 questions wait for you" in snapshot.waits.headline


def broken(name: str, content: str | None) -> Callable[[Bench], None]:
    """Break the file *name*; None makes it a folder."""

    def do(bench: Bench) -> None:
        path = bench.root / name
        if content is None:
            path.unlink(missing_ok=True)
            path.mkdir(parents=True)
        else:
            bench.write(name, content)

    return do


@pytest.mark.parametrize(
    ("spoil", "place", "kept"),
    [
        pytest.param(broken("STATE.json", "{"), "STATE.json", {"tasks_total": 1, "state": ""}, id="STATE.json"),
        pytest.param(broken("STATE.json", None), "STATE.json", {"tasks_total": 1}, id="a folder STATE.json"),
        pytest.param(broken("TASKS.yaml", "tasks: ["), "TASKS.yaml", {"state": "PAUSED"}, id="TASKS.yaml"),
        pytest.param(broken("PROJECT.yaml", "agent: ["), "PROJECT.yaml", {"state": "PAUSED"}, id="PROJECT.yaml"),
        pytest.param(broken("SPEC.md", None), "SPEC.md", {"state": "PAUSED", "tasks_total": 1}, id="a folder SPEC.md"),
        pytest.param(
            broken(".git/aiframe/control.json", "{"), "control.json", {"tasks_total": 1}, id="the control record"
        ),
    ],
)
def test_what_can_be_read_is_shown_beside_what_cannot(
    tmp_path: Path, spoil: Callable[[Bench], None], place: str, kept: Mapping[str, Any]
) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), state="PAUSED")
    spoil(bench)
    snapshot = shot(bench)
    assert [Path(problem.path).name for problem in snapshot.problems] == [place]
    assert snapshot.problems[0].hint
    assert snapshot.waits.headline.startswith("Nothing can go on: ")
    assert place in snapshot.waits.headline
    assert snapshot.waits.cures == (snapshot.problems[0].hint,)
    assert {name: getattr(snapshot, name) for name in kept} == kept
    with pytest.raises(UnreadableFile):
        explain_now(open_site(bench.root, {}))


def test_all_troubles_are_told_each_once(tmp_path: Path) -> None:
    bench = lay_project(tmp_path)
    for name, text in (
        ("STATE.json", '{"state": 1, "timeout_sec": "x"}'),
        ("TASKS.yaml", "- ["),
        ("PROJECT.yaml", "["),
    ):
        bench.write(name, text)
    snapshot = shot(bench, DEV_CHAIN_LIMIT="many")
    names = [Path(problem.path).name for problem in snapshot.problems]
    assert names == ["PROJECT.yaml", "STATE.json", "STATE.json", "TASKS.yaml"]
    assert "(and 3 more)" in snapshot.waits.headline


def test_a_wrong_variable_is_told(tmp_path: Path) -> None:
    snapshot = shot(lay_project(tmp_path, task("T1", "true")), DEV_CHAIN_LIMIT="many")
    assert ["DEV_CHAIN_LIMIT" in problem.message for problem in snapshot.problems] == [True]
    assert (snapshot.state, snapshot.tasks_total) == ("DEV_READY", 1)


@pytest.mark.parametrize(("tail", "lines"), [(0, ()), (1, ("c",)), (2, ("b", "c")), (50, ("a", "b", "c"))])
def test_the_tail_is_that_of_the_newest_log(tmp_path: Path, tail: int, lines: tuple[str, ...]) -> None:
    bench = lay_project(tmp_path)
    for age, name in enumerate(("tick-9.log", "tick-1.log")):
        path = bench.write(f"logs/{name}", "a\nb\nc\n" if age else "old\n")
        os.utime(path, (age + 1, age + 1))
    snapshot = take_snapshot(bench.root, {}, tail=tail)
    assert (snapshot.log_file, snapshot.log_tail) == ("logs/tick-1.log", lines)


def test_a_template_or_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        take_snapshot(tmp_path / "none", {})
    (tmp_path / "my-template").mkdir()
    with pytest.raises(GuardError):
        take_snapshot(tmp_path / "my-template", {})
