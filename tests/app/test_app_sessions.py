"""An agent goes on in its session after a verdict on its work, and begins anew after any change of what it works on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.projects import Bench, dev, lay_project, play, task, tasks_yaml

FIRST = "DEV-T1-1"
TURNS = [dev(files={"one": "1\n"}, attempt=1), dev(files={"one": "2\n"}, attempt=2), dev(files={"one": "3\n"})]
CHECK = "grep -q 9 one"


def sessions(bench: Bench) -> list[str]:
    """The session of each DEV step, by its result."""
    return [result["session_id"] for result in bench.results() if result["role"] == "DEV"]


def test_the_session_goes_on_while_the_checks_send_the_work_back(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", CHECK), turns=TURNS)
    bench.tick()
    assert bench.statuses() == {"T1": "failed"}
    assert sessions(bench) == [FIRST, FIRST, FIRST]
    assert bench.log().count(f"the agent goes on in its session {FIRST}") == 2


def edit_task(bench: Bench) -> None:
    bench.write("TASKS.yaml", tasks_yaml({**task("T1", CHECK), "title": "Another title"}))


def edit_status(bench: Bench) -> None:
    bench.write("TASKS.yaml", tasks_yaml({**task("T1", CHECK), "notes": "seen", "priority": "high"}))


def settings(**agent: str) -> Callable[[Bench], None]:
    def change(bench: Bench) -> None:
        chosen = {"name": "scripted", "file": str(bench.root.parent / "script.json"), **agent}
        bench.write("PROJECT.yaml", json.dumps({"agent": chosen, "sandbox": "none"}))

    return change


def retry(bench: Bench) -> None:
    assert bench.do("retry", "T1").code == 0


def replan(bench: Bench) -> None:
    assert bench.do("replan").code == 0
    play(bench, [{"role": "PO", "closing": {"summary": "the same plan"}}, *TURNS])


def other_first(bench: Bench) -> None:
    other = task("T2", "true", priority="high")
    bench.write("TASKS.yaml", tasks_yaml(task("T1", CHECK), other))


@pytest.mark.parametrize(
    ("change", "goes_on"),
    [
        pytest.param(lambda bench: None, True, id="no change"),
        pytest.param(edit_status, True, id="priority and notes"),
        pytest.param(edit_task, False, id="the task's text"),
        pytest.param(settings(model="larger"), False, id="model"),
        pytest.param(retry, False, id="retry"),
        pytest.param(replan, False, id="replan"),
        pytest.param(other_first, False, id="another task in between"),
    ],
)
def test_a_session_is_taken_up_for_the_same_input_alone(
    tmp_path: Path, change: Callable[[Bench], None], goes_on: bool
) -> None:
    first = {**TURNS[0], "run": ['sed -i \'s/"RUNNING"/"PAUSED"/\' STATE.json']}
    bench = lay_project(tmp_path, task("T1", CHECK), turns=[first, dev("T2"), *TURNS[1:]], limits={"max_attempts": 2})
    bench.tick()
    assert (bench.where, sessions(bench)) == ("PAUSED", [FIRST])
    change(bench)
    bench.do("resume")
    bench.tick()
    bench.tick()  # a plan ends a tick
    later = [result["session_id"] for result in bench.results() if result["task_id"] == "T1"][1]
    assert (later == FIRST) is goes_on
