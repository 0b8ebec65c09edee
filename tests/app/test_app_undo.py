"""`undo`: a task's work is taken back by a commit, or nothing is touched and the reason said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, lay_project, task

LINES = "".join(f"{number}\n" for number in range(10))


def worked(tmp_path: Path, *turns: dict[str, Any]) -> Bench:
    """A project whose tasks T1 and T2 are done."""
    bench = lay_project(tmp_path, task("T1", "true"), task("T2", "true", blocked_by=["T1"]), turns=turns)
    bench.write("lines", LINES)
    bench.tick()
    assert bench.where == "DONE"
    return bench


def snapshot(bench: Bench) -> tuple[Any, ...]:
    """What an undo that is refused leaves as it is."""
    return (bench.git("rev-parse", "HEAD"), bench.git("status", "--porcelain"), bench.text("lines"), bench.statuses())


COMMITS = "git add -A; git -c user.name=a -c user.email=b commit -qm own"


@pytest.mark.parametrize(
    "work",
    [
        pytest.param({"files": {"one": "1"}, "run": ["sed -i '1c one' lines"]}, id="the attempt's files"),
        pytest.param({"files": {"one": "1"}, "run": ["sed -i '1c one' lines", COMMITS]}, id="its own commits"),
        pytest.param(
            {"run": [COMMITS.replace("add -A", "rm -q --cached x"), "sed -i '1c one' lines", COMMITS, "echo 1 > one"]},
            id="both",
        ),
    ],
)
def test_a_task_is_taken_back_and_the_others_stay(tmp_path: Path, work: dict[str, Any]) -> None:
    bench = worked(tmp_path, dev("T1", **work), dev("T2", files={"two": "2"}, run=["sed -i '8c eight' lines"]))
    commits = len(bench.git("log", "--format=%H").splitlines())
    done = bench.do("undo", "T1")
    assert done.code == 0
    assert all(words in done.out for words in ("T1 is undone", "stays as it is: T2"))
    assert (bench.text("one"), bench.text("two")) == ("", "2")
    assert bench.text("lines") == LINES.replace("7\n", "eight\n", 1)
    assert (bench.where, bench.statuses()) == ("DEV_READY", {"T1": "todo", "T2": "done"})
    assert bench.git("log", "-1", "--format=%s") == "aiframe: undo T1"
    assert len(bench.git("log", "--format=%H").splitlines()) == commits + 1
    assert [line for line in bench.git("status", "--porcelain").splitlines() if "TASKS.yaml" not in line] == []


@pytest.mark.parametrize(
    "trailers",
    [
        pytest.param(["Aiframe-Task=T1"], id="work of another task"),
        pytest.param(["Aiframe-Task=T1", "Aiframe-Base=$(git rev-list --max-parents=0 HEAD)"], id="and from far back"),
        pytest.param(["Aiframe-Undo=$(git log -1 --format=%H --grep=^T1:)"], id="that T1 is undone"),
    ],
)
def test_what_another_tasks_agent_writes_into_its_commits_counts_for_nothing(
    tmp_path: Path, trailers: list[str]
) -> None:
    """The commits of an agent lie below the one that aiframe put on top of them, with words of the agent's choice."""
    words = " ".join(f'--trailer "{trailer}"' for trailer in trailers)
    commits = f"git add -A; git -c user.name=a -c user.email=b commit -qm own {words}"
    bench = worked(tmp_path, dev("T1", files={"one": "1"}), dev("T2", files={"two": "2"}, run=[commits]))
    assert bench.do("undo", "T1").code == 0
    assert (bench.text("one"), bench.text("two")) == ("", "2")


def test_an_undone_task_can_be_done_and_undone_again(tmp_path: Path) -> None:
    bench = worked(tmp_path, dev("T1", files={"one": "1"}), dev("T2", files={"two": "2"}))
    for _ in range(2):
        assert bench.do("undo", "T1").code == 0
        assert bench.text("one") == ""
        bench.tick()
        assert (bench.text("one"), bench.statuses()) == ("1", {"T1": "done", "T2": "done"})


def edit(name: str, text: str) -> Any:
    """A person's edit."""
    return lambda bench: bench.write(name, text)


def nothing(bench: Bench) -> None:
    """Nothing happens in between."""


def undone_already(bench: Bench) -> None:
    bench.do("undo", "T1")


@pytest.mark.parametrize(
    ("before", "task_id", "says"),
    [
        pytest.param(edit("lines", "mine\n"), "T2", "not committed: lines", id="a file is not committed"),
        pytest.param(edit("new", "mine\n"), "T2", "not committed: new", id="a file is new"),
        pytest.param(nothing, "T9", "there is no task T9", id="no such task"),
        pytest.param(nothing, "T1", "changed after it: lines", id="later work on the same lines"),
        pytest.param(undone_already, "T2", "", id="the later one first"),
    ],
)
def test_what_cannot_be_undone_says_why_and_touches_nothing(
    tmp_path: Path, before: Any, task_id: str, says: str
) -> None:
    bench = worked(tmp_path, dev("T1", run=["sed -i '1c one' lines"]), dev("T2", run=["sed -i '1c two' lines"]))
    before(bench)
    was = snapshot(bench)
    done = bench.do("undo", task_id)
    if not says:
        assert done.code == 0
        assert bench.do("undo", "T1").code == 0
        assert bench.text("lines") == LINES
        return
    assert done.code == 2
    assert says in done.err
    assert snapshot(bench) == was


def test_a_task_without_a_commit_has_nothing_to_undo(tmp_path: Path) -> None:
    bench = worked(tmp_path, dev("T1"), dev("T2", files={"two": "2"}))
    assert "no commit on this branch holds the work of T1" in bench.do("undo", "T1").err


def test_an_undo_that_was_killed_in_the_middle_is_finished_by_the_next(tmp_path: Path) -> None:
    bench = worked(tmp_path, dev("T1", files={"one": "1"}), dev("T2", files={"two": "2"}))
    (bench.root / "one").unlink()  # the files were done, the commit was not
    assert bench.do("undo", "T1").code == 0
    bench.git("reset", "-q", "--hard")
    bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace("todo", "done"))  # the commit was, the task was not
    assert bench.do("undo", "T1").code == 0
    assert bench.statuses()["T1"] == "todo"
    assert bench.git("log", "--format=%s").splitlines().count("aiframe: undo T1") == 1
