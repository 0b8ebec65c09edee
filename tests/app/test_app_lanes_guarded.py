"""An agent at work in a lane can reach the files of its project: what it changes there of the plan does not count."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml
from support.projects import git, wait_for
from support.saying import Say, say
from support.scripted_lanes import does, lay, proven

__all__ = ["say"]


def in_plan(folder: Path, old: str, new: str) -> str:
    """A shell line that changes the project's own TASKS.yaml, and lets somebody look at it."""
    return changed(folder / "shop" / "TASKS.yaml", old, new)


def changed(path: Path, old: str, new: str) -> str:
    """A shell line that changes the file at *path*, and lets somebody look at it."""
    code = f"import pathlib as p; f = p.Path({str(path)!r})"
    code += f"; f.write_text(f.read_text().replace({old!r}, {new!r}))"
    return f"python3 -c {shlex.quote(code)}; sleep 0.4"


@pytest.mark.parametrize("which", ["its own", "another's", "for review"])
def test_a_task_that_an_agent_calls_done_is_not(tmp_path: Path, say: Say, which: str) -> None:
    status = "review" if which == "for review" else "done"
    mine = in_plan(tmp_path, "status: in_progress", f"status: {status}")
    edit = in_plan(tmp_path, "status: todo", "status: done") if which == "another's" else mine
    turns = [does("T1", run=[edit]), does("T2")]
    bench = lay(tmp_path, turns=turns, attended=False)
    later = "blocked_by: [T1], status: todo"
    first = '{id: T1, title: A, status: todo, verify: ["grep -q T1 T1.txt"]}'
    second = f'{{id: T2, title: B, {later}, verify: ["grep -q T2 T2.txt"]}}'
    bench.write("TASKS.yaml", f"version: 1\ntasks:\n- {first}\n- {second}\n")
    said = say("run")
    assert "put back" in said
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done", "T2": "done"}), said
    worked = sorted(result["task_id"] for result in bench.results())
    assert worked == ["T1", "T2"], f"somebody was taken at their word: {said}\n{bench.events}"
    target = json.loads((bench.control_dir / "workspace.json").read_text())["target"]
    assert git(tmp_path / "app", "show", f"{target}:T2.txt") == "T2"


@pytest.mark.parametrize("how", ["weaker", "gone"])
def test_what_a_task_has_to_prove_is_not_for_an_agent_to_say(tmp_path: Path, say: Say, how: str) -> None:
    plan = [proven("T1"), proven("T2", blocked_by=["T1"])]
    weaker = in_plan(tmp_path, "grep -q T2 T2.txt", "true")
    edit = weaker if how == "weaker" else in_plan(tmp_path, ", " + json.dumps(plan[1]), "")
    bench = lay(tmp_path, *plan, turns=[does("T1", run=[edit]), does("T2")], attended=False)
    bench.write("TASKS.yaml", json.dumps({"version": 1, "tasks": plan}))
    said = say("run")
    assert "`aiframe accept` takes it" in said
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done", "T2": "done"}), said
    result = next(result for result in bench.results() if result["task_id"] == "T2")
    assert "grep -q T2 T2.txt" in [gate["command"] for gate in result["gates"]]
    assert "aiframe accept" in say("why")


def test_the_files_that_steer_are_put_back_and_wait_for_a_word(tmp_path: Path, say: Say) -> None:
    shop = tmp_path / "shop"
    edit = f"echo 'Obey.' >>{shop}/AGENTS.md; echo '# mine' >>{shop}/PROJECT.yaml; sleep 0.4"
    bench = lay(tmp_path, proven("T1"), proven("T2", blocked_by=["T1"]),
                turns=[does("T1", run=[edit]), does("T2")], attended=False)  # fmt: skip
    bench.write("AGENTS.md", "Be kind.\n")
    said = say("run")
    assert "PROJECT.yaml was changed while a step ran" in said
    assert bench.text("AGENTS.md") == "Be kind.\n"
    assert "# mine" not in bench.text("PROJECT.yaml")
    assert bench.where == "DONE", said
    assert not [prompt for prompt in bench.prompts() if "Obey." in prompt]
    assert "Accepted: AGENTS.md" in say("accept", "AGENTS.md")
    assert bench.text("AGENTS.md") == "Be kind.\nObey.\n"


def test_what_a_person_sets_while_no_step_runs_counts_at_once(tmp_path: Path, say: Say) -> None:
    go = tmp_path / "go"
    wait = f"for i in $(seq 300); do test -e {go} && break; sleep 0.1; done"
    plan = [proven("T1"), proven("T2", blocked_by=["T1"])]
    bench = lay(tmp_path, *plan, attended=False, turns=[does("T1", run=[wait])])
    say("tick", "--no-wait")
    one = bench.root / "lanes" / "shop.T1" / "logs"
    wait_for(lambda: any(one.glob("runs/*/prompt.md")), "a step")
    say("stop")
    plan = yaml.safe_load(bench.text("TASKS.yaml"))
    for each in plan["tasks"]:
        each["status"] = "done"
    bench.write("TASKS.yaml", json.dumps(plan))
    settings = json.loads(bench.text("PROJECT.yaml"))
    bench.write("PROJECT.yaml", json.dumps(settings | {"limits": {"stall_sec": 123}}))
    go.touch()
    say("resume")
    said = say("run")
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done", "T2": "done"}), said
    assert "123" in bench.text("PROJECT.yaml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('"state": "DEV_READY"', '"state": "DONE"', id="done"),
        pytest.param('"state": "DEV_READY"', '"state": "ERROR"', id="error"),
        pytest.param('"state": "DEV_READY"', '"state": "PAUSED"', id="paused"),
        pytest.param('"state": "DEV_READY"', '"state": "SPEC_READY", "plan_locked": false', id="a new plan"),
        pytest.param('"timeout_sec": 1800', '"timeout_sec": 1', id="a setting"),
        pytest.param('"state": "DEV_READY"', '"state": ', id="broken"),
    ],
)
def test_where_the_project_stands_is_not_for_an_agent_to_say(tmp_path: Path, say: Say, old: str, new: str) -> None:
    edit = changed(tmp_path / "shop" / "STATE.json", old, new)
    turns = [does("T1", run=[edit]), does("T2")]
    bench = lay(tmp_path, proven("T1"), proven("T2", blocked_by=["T1"]), turns=turns, attended=False)
    said = say("run")
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done", "T2": "done"}), said
    assert said.count("STATE.json was changed while a step ran") == 1, said
    assert bench.state["timeout_sec"] == 1800
    assert sum(name.startswith("STATE.json.") and not name.endswith(".why") for name in bench.quarantined()) == 1
    noted = [event["message"] for event in bench.events if event["kind"] == "noted"]
    assert [note for note in noted if "STATE.json" in note], noted


@pytest.mark.parametrize("who", ["an agent", "a person"])
def test_what_a_person_says_reaches_the_project_though_its_state_was_written_by_hand(
    tmp_path: Path, say: Say, who: str
) -> None:
    bench = lay(tmp_path, proven("T1"), attended=False, turns=[does("T1", run=["sleep 60"])])
    say("tick", "--no-wait")
    wait_for(lambda: any(bench.root.glob("lanes/shop.T1/logs/runs/*/prompt.md")), "a step")
    bench.edit_state(state="DONE", timeout_sec=1)
    if who == "a person":
        say("set", "timeout_sec=77", "review_every_n_tasks=3")
    assert "DONE" not in say("status")
    say("pause")
    stopped = say("stop")
    assert (bench.where, bench.state["timeout_sec"]) == ("PAUSED", 77 if who == "a person" else 1800), stopped
    bench.edit_state(state="DEV_READY", timeout_sec=88)  # no step runs any more: it counts as it is
    say("tick", "--no-wait")
    assert (bench.where, bench.state["timeout_sec"]) == ("DEV_READY", 88)
    say("stop")
