"""A plan that is gone from its file for a moment, or for good: nothing is cancelled, and no new plan is paid for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.projects import Bench, dev, lay_project, play, task, wait_for
from support.side_by_side import Yard, check_landed, lay_yard

HALF = "tasks:\n  - {id: T1, ti"


def no_plan(root: Path) -> None:
    (root / "TASKS.yaml").write_text("")


def no_file(root: Path) -> None:
    (root / "TASKS.yaml").unlink()


def half_a_plan(root: Path) -> None:
    (root / "TASKS.yaml").write_text(HALF)


def half_the_settings(root: Path) -> None:
    (root / "PROJECT.yaml").write_text('{"agent": {"name": "scri')


def no_settings(root: Path) -> None:
    (root / "PROJECT.yaml").write_text("")


@contextmanager
def two_at_work(folder: Path) -> Iterator[tuple[Yard, subprocess.Popen[bytes], dict[str, str]]]:
    """A project that works at T1 and T2 for the block, the `run` that looks after it, and what its files held."""
    plan = [task(name, f"grep -q {name} {name}.txt") for name in ("T1", "T2")]
    yard = lay_yard(folder, *plan)
    yard.bench.edit_state(state="DEV_READY", interactive_mode=False, plan_locked=True)
    play(yard.bench, [yard.turn(each["id"]) for each in plan])
    with yard.at_work("T1", "T2") as running:
        yield yard, running, kept(yard.bench)


def put_back(files: dict[str, str], root: Path) -> None:
    for name, text in files.items():
        (root / name).write_text(text)


def kept(bench: Bench) -> dict[str, str]:
    return {name: bench.text(name) for name in ("TASKS.yaml", "PROJECT.yaml")}


@pytest.mark.parametrize("breaks", [no_file, half_a_plan])
def test_a_run_waits_while_steps_live_until_its_files_can_be_read_again(
    tmp_path: Path, breaks: Callable[[Path], None]
) -> None:
    with two_at_work(tmp_path) as (yard, running, files):
        bench = yard.bench
        breaks(bench.root)
        wait_for(lambda: "error: " in yard.said(), "a word about the file")
        assert running.poll() is None
        put_back(files, bench.root)
    assert bench.where == "DONE", yard.said()
    assert running.returncode == 0
    assert yard.said().count("error: ") == 1, yard.said()
    assert sorted(yard.arrived()) == ["T1", "T2"]
    assert bench.state["plan_locked"] is True
    check_landed(yard, "T1", "T2")


def test_where_steps_have_ended_it_stops_with_a_word_and_changes_nothing(tmp_path: Path) -> None:
    with two_at_work(tmp_path) as (yard, running, files):
        bench = yard.bench
        no_plan(bench.root)
        wait_for(lambda: "error: " in yard.said(), "a word about the file")
    assert running.returncode == 2, yard.said()
    assert len(list((bench.root / "lanes").glob("shop.T*"))) == 2
    put_back(files, bench.root)
    assert bench.do("run").code == 0
    assert sorted(yard.arrived()) == ["T1", "T2"]
    check_landed(yard, "T1", "T2")


@pytest.mark.parametrize(("parallel", "breaks"), [(1, no_plan), (2, no_file)])
def test_without_a_step_it_stops_with_a_word_until_the_plan_is_back(
    tmp_path: Path, parallel: int, breaks: Callable[[Path], None]
) -> None:
    state = {"state": "SPEC_READY", "interactive_mode": False, "plan_locked": True}
    repo = {"workspace": {"kind": "worktree", "repo": "nowhere"}} if parallel > 1 else {}
    bench = lay_project(
        tmp_path, task("T1", "true"), state=state, turns=[dev("T1")], settings={"parallel": parallel, **repo}
    )
    files = kept(bench)
    breaks(bench.root)
    for verb in ("tick", "run"):
        ended = bench.do(verb)
        assert ended.code == 2, ended.said
        assert "TASKS.yaml: holds no task, and there was a plan" in ended.err
        assert "aiframe replan" in ended.err
    assert "holds no task" in bench.do("status").out
    assert bench.state["plan_locked"] is True
    assert not bench.runs()
    if parallel == 1:
        put_back(files, bench.root)
        assert bench.do("run").code == 0
        assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"})
    else:
        assert bench.do("replan").code == 0
        assert bench.where == "SPEC_READY"


def test_a_plan_that_goes_while_its_one_task_is_worked_at_is_put_back(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1", run=['rm "$AIFRAME_PROJECT/TASKS.yaml"'])])
    bench.do("run")
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"})


@pytest.mark.parametrize(
    ("verb", "breaks"), [("stop", half_the_settings), ("stop", half_a_plan), ("pause", half_a_plan)]
)
def test_stop_and_pause_need_no_file_that_can_be_read(
    tmp_path: Path, verb: str, breaks: Callable[[Path], None]
) -> None:
    with two_at_work(tmp_path) as (yard, running, files):
        bench = yard.bench
        breaks(bench.root)
        ended = bench.do(verb)
        assert ended.code == 0, ended.said
        assert "T1, T2" in ended.out
        if verb == "stop":
            assert running.wait(30) in (0, 2)
        (yard.marks / "go").touch()
        running.wait(60)
        put_back(files, bench.root)
    assert bench.do("run").code == 0
    assert bench.where == "PAUSED"
    assert bench.do("resume").code == 0
    play(bench, [yard.turn(name, repeat=n) for name in ("T1", "T2") for n in (0, 1)])
    assert bench.do("run").code == 0
    check_landed(yard, "T1", "T2")
