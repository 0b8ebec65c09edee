"""Runs that were cut off, and files that changed under a run: nothing stays stuck, and no edit of a person is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.projects import Bench, lay_project, task, tasks_yaml

from aiframe.app import commands
from aiframe.app.attempts.agent_run import beat
from aiframe.app.attempts.prompts import render_prompt
from aiframe.app.attempts.results import Kept, Result, write_result
from aiframe.app.project import offers
from aiframe.app.project.advance import Advanced, Chain, advance, look
from aiframe.app.project.proposals import inspect, remember
from aiframe.app.project.site import Site, open_site
from aiframe.app.recovery import recover
from aiframe.core.errors import StepError
from aiframe.core.events import Broken, Finished, Proposal, RunLost, StepEnded
from aiframe.core.machine import Refused
from aiframe.core.model import FailureKind, Run, State
from aiframe.process import this_process
from aiframe.store.atomic import StorageError
from aiframe.store.control import good_control
from aiframe.workspaces.git import Repository
from aiframe.workspaces.inplace import head

TASKS = (task("T1", "true"), task("T2", "true"))


def begun(folder: Path) -> tuple[Bench, Site, Run]:
    """A project whose step has begun, with the copies made that a step makes; nothing carries it."""
    bench = lay_project(folder, *TASKS)
    site = open_site(bench.root, os.environ)
    run = advance(site, None, chain()).started
    assert run is not None
    remember(site)
    return bench, site, run


def chain(run_id: str = "run-1", *, may_start: bool = True) -> Chain:
    gone = replace(this_process(), started=0.0)  # its number was given to another process since
    return Chain(gone, lambda: run_id, may_start)


def end(site: Site, run: Run) -> Advanced:
    """End the step of *run* without a proposal, and begin no other."""
    ended = Finished(Proposal(), "")
    return advance(site, lambda seen: StepEnded(run.run_id, seen, ended), chain(may_start=False))


# A result that cannot be settled --------------------------------------------------------------------------------------


def _passed(bench: Bench, site: Site, run: Run) -> None:
    """Leave the result of a step that passed its gates, and whose commit is still to be made."""
    bench.write("shop.txt", "open\n")
    bench.git("add", "-A")
    tree = bench.git("write-tree")
    at = head(Repository(site.root))
    kept = Kept(at.commit, at.branch, tree, at.commit, "T1: x", {"Aiframe-Run": run.run_id}, run.started.wall)
    result = Result(run.run_id, "DEV", run.task_id, 1, 1.0, 2.0, finished=Finished(Proposal(), ""), kept=kept)
    write_result(site.layout, result)


def _lock_refs(bench: Bench) -> None:
    branch = bench.git("symbolic-ref", "HEAD")
    bench.write(f".git/{branch}.lock", "")
    bench.write(".git/HEAD.lock", "")


def _lose_tree(bench: Bench) -> None:
    tree = bench.git("write-tree")
    (bench.root / ".git" / "objects" / tree[:2] / tree[2:]).unlink()


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        pytest.param(_lock_refs, FailureKind.TRANSIENT, id="foreign lock"),
        pytest.param(_lose_tree, FailureKind.SETUP, id="tree gone"),
    ],
)
def test_a_result_that_git_cannot_settle_ends_its_step(
    tmp_path: Path, spoil: Callable[[Bench], None], kind: FailureKind
) -> None:
    bench, site, run = begun(tmp_path)
    _passed(bench, site, run)
    spoil(bench)
    ending, _ = recover(site, run)
    assert isinstance(ending, Broken)
    assert [failure.kind for failure in ending.failures] == [kind]
    assert ending.failures[0].message
    after = advance(site, lambda seen: StepEnded(run.run_id, seen, ending), chain(may_start=False)).project
    assert after.run is None


# Files that cannot be used while a run stands -------------------------------------------------------------------------


def _folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def _oversized(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * (10 * 1024 * 1024 + 1))


@pytest.mark.parametrize("spoil", [_folder, _oversized], ids=["folder", "oversized"])
@pytest.mark.parametrize("name", ["SPEC.md", "notes/review_approval.md", "notes/review_rejection.md"])
def test_a_spoiled_file_does_not_hide_a_dead_run(tmp_path: Path, name: str, spoil: Callable[[Path], None]) -> None:
    bench, site, _ = begun(tmp_path)
    (bench.root / "notes").mkdir(exist_ok=True)
    spoil(bench.root / name)
    assert look(site).has_work
    assert advance(site, None, chain("run-2")).recover is not None


# STATE.json changed by hand while a step ran --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(lambda run: lambda seen: StepEnded(run.run_id, seen, Finished(Proposal(), "")), id="step ended"),
        pytest.param(lambda run: lambda seen: RunLost(run.run_id, seen), id="run lost"),
    ],
)
def test_an_edit_that_does_not_count_is_kept(tmp_path: Path, event: Callable[[Run], object]) -> None:
    bench, site, run = begun(tmp_path)
    bench.edit_state(interactive_mode=True)
    edited = bench.text("STATE.json")
    advance(site, event(run), chain(may_start=False))  # type: ignore[arg-type]
    assert not bench.state["interactive_mode"]
    kept = [path for path in site.layout.quarantine_dir.iterdir() if path.suffix != ".why"]
    assert edited in [path.read_text() for path in kept]


def test_a_proposal_alone_leaves_no_copy(tmp_path: Path) -> None:
    bench, site, run = begun(tmp_path)
    bench.edit_state(state="DONE")
    end(site, run)
    assert bench.quarantined() == []


def test_going_on_takes_back_a_pause_set_by_hand(tmp_path: Path) -> None:
    bench, site, run = begun(tmp_path)
    bench.edit_state(state="PAUSED")
    assert "runs on" in commands.go_on(site)
    assert bench.where == "RUNNING"
    assert end(site, run).project.state is not State.PAUSED


def test_a_pause_set_by_hand_and_not_taken_back_holds(tmp_path: Path) -> None:
    bench, site, run = begun(tmp_path)
    bench.edit_state(state="PAUSED")
    assert end(site, run).project.state is State.PAUSED


def test_going_on_leaves_another_proposal_alone(tmp_path: Path) -> None:
    bench, site, _ = begun(tmp_path)
    commands.pause(site)
    bench.edit_state(state="DONE")
    commands.go_on(site)
    assert bench.where == "DONE"


# A step's start and its beat ------------------------------------------------------------------------------------------


def test_a_task_that_vanished_before_its_step_says_what_to_do(tmp_path: Path) -> None:
    _, site, run = begun(tmp_path)
    project = site.store.load().project
    with pytest.raises(StepError, match="no task T1") as caught:
        render_prompt(site, project, run, (), {}, site.root)
    assert "TASKS.yaml" in caught.value.hint


def test_a_broken_control_record_costs_a_beat_not_the_step(tmp_path: Path) -> None:
    _, site, _ = begun(tmp_path)
    before = site.layout.control_json.read_bytes()
    for path in (site.layout.control_json, good_control(site.layout)):
        path.write_text("{")
    beat(site)
    site.layout.control_json.write_bytes(before)
    assert site.store.load().project.state is State.RUNNING


# TASKS.yaml changed while a step ran ----------------------------------------------------------------------------------


def _redefine(bench: Bench) -> str:
    """What an agent may only offer: another definition of T2."""
    text = tasks_yaml(TASKS[0], {**TASKS[1], "title": "Another"})
    bench.write("TASKS.yaml", text)
    return text


def test_an_offer_is_not_taken_before_the_dead_run_is_settled(tmp_path: Path) -> None:
    bench, site, run = begun(tmp_path)
    _redefine(bench)
    inspect(site, run)
    before = bench.text("TASKS.yaml")
    with pytest.raises(Refused) as caught:
        offers.accept(site)
    assert "aiframe tick" in caught.value.hint
    assert bench.text("TASKS.yaml") == before
    end(site, run)
    assert "T2" in offers.accept(site)
    assert "Another" in bench.text("TASKS.yaml")


def test_an_offer_that_cannot_be_written_leaves_the_agents_file_to_the_next_look(tmp_path: Path) -> None:
    bench, site, run = begun(tmp_path)
    before, text = bench.text("TASKS.yaml"), _redefine(bench)
    site.layout.offered_tasks.mkdir(parents=True)  # in the way: the first of the two writes is where this stops
    with pytest.raises(StorageError):
        inspect(site, run)
    assert bench.text("TASKS.yaml") == text
    site.layout.offered_tasks.rmdir()
    inspect(site, run)
    assert "Another" in site.layout.offered_tasks.read_text()
    assert bench.text("TASKS.yaml") == before


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        pytest.param("T1", False, id="the task of the step"),
        pytest.param("T2", True, id="another task"),
    ],
)
def test_a_status_of_another_task_is_put_back_and_kept(tmp_path: Path, changed: str, kept: bool) -> None:
    bench, site, run = begun(tmp_path)
    assert run.task_id == "T1"
    tasks = json.loads(json.dumps(TASKS))
    text = tasks_yaml(*({**each, "status": "cancelled"} if each["id"] == changed else each for each in tasks))
    bench.write("TASKS.yaml", text)
    found = inspect(site, run)
    assert bench.statuses()[changed] != "cancelled"
    assert any(changed in note for note in found.notes)
    copies = [path for path in site.layout.quarantine_dir.glob("TASKS.yaml.*") if path.suffix != ".why"]
    assert [path.read_text() for path in copies] == ([text] if kept else [])
