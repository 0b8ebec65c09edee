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
        ticket = queued(repo, "T1", "T2")["T1"]
        wait_for(lambda: any((bench.root / "lanes").glob("*T1/logs/runs/*/result.json")), "what it has proven, kept")
        os.kill(ticket.pid, signal.SIGKILL)
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


def test_proven_work_is_never_failed_because_others_land(tmp_path: Path) -> None:
    """As often as its turn does not come; and none of its attempts is used up by that."""
    repo = person_repository(tmp_path)
    limits = {"transient_base_sec": 0.01, "transient_limit": 2, "max_attempts": 1}
    bench = lay_lanes(tmp_path, proven("T1"), work={"T1": makes("T1")}, repo=repo, parallel=1, limits=limits)
    bench.edit_state(timeout_sec=11)
    with turn_taken(repo):
        for number in range(3):
            bench.tick()
            assert bench.where == "DEV_READY", bench.log()
            os.system(person_commits(repo, f"{number}.txt", "d"))
    bench.edit_state(timeout_sec=60)
    bench.do("resume", "--now")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert (landed(repo), asked(tmp_path)) == (["T1"], ["T1"])
    assert [outcome for _, outcome, _ in bench.ended()] == ["transient"] * 3 + ["ok"]


def test_what_has_lost_its_turn_has_it_before_it_is_checked_again(tmp_path: Path) -> None:
    """Else those whose checks are shorter might land before it for ever."""
    repo = person_repository(tmp_path)
    checks = task("T1", f"echo . >>{tmp_path}/checks; grep -q T1 T1.txt")
    bench = lay_lanes(tmp_path, checks, work={"T1": makes("T1")}, repo=repo, parallel=1)
    bench.edit_state(timeout_sec=12)
    with turn_taken(repo):
        bench.tick()
        os.system(person_commits(repo, "d.txt", "d"))
        bench.edit_state(timeout_sec=60)
        bench.do("resume", "--now")
        bench.do("tick", "--no-wait")
        pid = queued(repo, "T1")["T1"].pid
        assert (tmp_path / "checks").read_text() == ".\n"
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not queue(repo), "the end of its ticket")
    wait_for(lambda: done(bench), "the end")
    assert (tmp_path / "checks").read_text() == ".\n.\n"
    assert asked(tmp_path) == ["T1"], "a kill of one that waits buys nothing twice"


def test_checks_that_leave_no_time_for_others_are_made_in_the_next_step(tmp_path: Path) -> None:
    """The branch moves while they run, and the step is too short for them to run twice."""
    repo = person_repository(tmp_path)
    moves = f"test -e {tmp_path}/moved || {{ touch {tmp_path}/moved; {person_commits(repo, 'd.txt', 'd')}; }}"
    git(repo, "branch", "landed")
    checks = task("T1", f"{moves}; sleep 6; grep -q T1 T1.txt")
    bench = lay_lanes(tmp_path, checks, work={"T1": makes("T1")}, repo=repo, parallel=1, limits={"max_attempts": 2})
    bench.edit_state(timeout_sec=11)
    bench.tick()
    assert (bench.where, bench.ended()[-1][1]) == ("DEV_READY", "timeout"), bench.log()
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert (landed(repo), asked(tmp_path)) == (["T1"], ["T1"])


def test_a_person_has_the_word_where_no_step_is_long_enough(tmp_path: Path) -> None:
    repo = person_repository(tmp_path)
    git(repo, "branch", "landed")
    slow = f"if test -e {tmp_path}/slow; then sleep 60; fi; touch {tmp_path}/slow; grep -q T1 T1.txt"
    moves = f"test -e d.txt || {{ {person_commits(repo, 'd.txt', 'd')}; }}"
    limits = {"max_attempts": 2}
    bench = lay_lanes(
        tmp_path, task("T1", f"{moves}; {slow}"), work={"T1": makes("T1")}, repo=repo, parallel=1, limits=limits
    )
    bench.edit_state(timeout_sec=8)
    bench.tick()
    assert bench.where == "DEV_READY", bench.log()
    bench.tick()
    assert bench.where == "PAUSED", bench.log()
    assert "aiframe set timeout_sec=16" in bench.do("why").out
    (tmp_path / "slow").unlink()
    assert "T1" in bench.do("retry", "T1").out
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert (landed(repo), asked(tmp_path)) == (["T1"], ["T1"])


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
