"""The queue of those that land on one branch: whose turn it is, and what a kill in it costs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.lanes import asked, landed, lay_lanes, person_commits, person_repository
from support.projects import Bench, git, task, wait_for

from aiframe.core.landing import Ticket
from aiframe.workspaces.git import Repository
from aiframe.workspaces.tickets import open_turn, take_turn, waiting


@contextmanager
def turn_taken(repo: Path) -> Iterator[None]:
    """Somebody lands for the whole block."""
    (repo / ".git" / "aiframe").mkdir(exist_ok=True)
    descriptor = open_turn(Repository(repo))
    try:
        wait_for(lambda: take_turn(descriptor), "the turn")
        yield
    finally:
        os.close(descriptor)


def queue(repo: Path) -> dict[str, Ticket]:
    return {ticket.task_id: ticket for ticket in waiting(Repository(repo), sweep=False)}


def queued(repo: Path, *names: str) -> dict[str, Ticket]:
    """The tickets, once all of *names* wait."""
    wait_for(lambda: set(queue(repo)) >= set(names), f"{', '.join(names)} in the queue")
    return queue(repo)


def done(bench: Bench) -> bool:
    bench.do("tick", "--no-wait")
    return bench.where == "DONE"


def makes(name: str, wait_for_queue: str = "") -> str:
    """Makes a file, once *wait_for_queue* (a task) waits to land."""
    wait = f"until grep -qs {wait_for_queue} {{queue}}/*.json; do sleep 0.05; done; " if wait_for_queue else ""
    return f"{wait}echo {name} >{name}.txt"


def proven(name: str, **more: str) -> dict[str, object]:
    return task(name, f"grep -q {name} {name}.txt", **more)


def test_priority_goes_first_then_who_finished_first(tmp_path: Path) -> None:
    """Also where a project of its own works for the same branch."""
    repo = person_repository(tmp_path)
    files = repo / ".git" / "aiframe" / "landing"
    work = {"T1": "", "T2": "T1", "T3": "T2", "U1": "T3"}
    lines = {name: makes(name, after).replace("{queue}", str(files)) for name, after in work.items()}
    first = lay_lanes(tmp_path, proven("T1", priority="low"), proven("T2"), proven("T3", priority="high"),
                      work=lines, repo=repo)  # fmt: skip
    second = lay_lanes(tmp_path, proven("U1", priority="high"), work=lines, repo=repo, name="other")
    with turn_taken(repo):
        for bench in (first, second):
            bench.do("tick", "--no-wait")
        queued(repo, "T1", "T2", "T3", "U1")
    wait_for(lambda: done(first) and done(second), "the end")
    assert landed(repo) == ["T3", "U1", "T2", "T1"]
    assert sorted(asked(tmp_path)) == ["T1", "T2", "T3", "U1"]
    assert queue(repo) == {}


def test_a_kill_of_one_that_waits_blocks_nobody_and_buys_nothing_twice(tmp_path: Path) -> None:
    repo = person_repository(tmp_path)
    work = {name: makes(name) for name in ("T1", "T2")}
    bench = lay_lanes(tmp_path, proven("T1", priority="high"), proven("T2"), work=work, repo=repo)
    with turn_taken(repo):
        bench.do("tick", "--no-wait")
        os.kill(queued(repo, "T1", "T2")["T1"].pid, signal.SIGKILL)
        wait_for(lambda: "T1" not in queue(repo), "the end of its ticket")
    wait_for(lambda: landed(repo) == ["T2"], "the other")
    wait_for(lambda: done(bench), "the end")
    assert landed(repo) == ["T2", "T1"]
    assert sorted(asked(tmp_path)) == ["T1", "T2"], "proven work is not bought twice"
    assert git(repo, "fsck", "--no-dangling") == ""


def test_a_kill_of_one_that_lands_gives_its_turn_to_the_next(tmp_path: Path) -> None:
    """Killed while it proves its work once more, on what landed meanwhile."""
    repo = person_repository(tmp_path)
    hold = tmp_path / "hold"
    checks = f"grep -q T1 T1.txt && {{ test ! -e d.txt || test ! -e {hold} || {{ touch {hold}.on; sleep 60; }}; }}"
    tasks = task("T1", checks, priority="high"), proven("T2")
    bench = lay_lanes(tmp_path, *tasks, work={name: makes(name) for name in ("T1", "T2")}, repo=repo)
    hold.touch()
    with turn_taken(repo):
        bench.do("tick", "--no-wait")
        ticket = queued(repo, "T1", "T2")["T1"]
        os.system(person_commits(repo, "d.txt", "d"))
    wait_for(Path(f"{hold}.on").exists, "its second proof")
    assert landed(repo) == []
    os.kill(ticket.pid, signal.SIGKILL)
    wait_for(lambda: landed(repo) == ["T2"], "the other")
    hold.unlink()
    wait_for(lambda: done(bench), "the end")
    assert landed(repo) == ["T2", "T1"]
    assert sorted(asked(tmp_path)) == ["T1", "T2"]


def test_work_whose_turn_does_not_come_in_time_lands_in_a_later_step(tmp_path: Path) -> None:
    repo = person_repository(tmp_path)
    bench = lay_lanes(tmp_path, proven("T1"), work={"T1": makes("T1")}, repo=repo, parallel=1)
    bench.edit_state(timeout_sec=12)
    with turn_taken(repo):
        bench.tick()
        os.system(person_commits(repo, "d.txt", "d"))
    assert "its turn to land did not come" in bench.log()
    assert bench.where == "DEV_READY", bench.log()
    bench.do("resume", "--now")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert landed(repo) == ["T1"]
    assert asked(tmp_path) == ["T1"]
    assert "no agent was asked again" in bench.log()
    assert git(repo, "show", "landed:d.txt") == "d"


@pytest.mark.parametrize("change", ["task", "files"])
def test_proven_work_that_was_changed_since_goes_through_its_agent_again(tmp_path: Path, change: str) -> None:
    repo = person_repository(tmp_path)
    bench = lay_lanes(tmp_path, proven("T1"), work={"T1": makes("T1")}, repo=repo, parallel=1)
    bench.edit_state(timeout_sec=12)
    with turn_taken(repo):
        bench.tick()
        os.system(person_commits(repo, "d.txt", "d"))
    if change == "task":
        bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace("Task T1", "Another task"))
    else:
        (tmp_path / "state" / "aiframe" / "workspaces" / "shop" / "T1" / "T1.txt").write_text("T1 by a person\n")
    bench.do("resume", "--now")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert asked(tmp_path) == ["T1", "T1"]
