"""What runs spend, through the real tick: counted once, held to the budget, and shown; and agents that stand in."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, lay_project, lock_free, play, task, wait_for

from aiframe.agents import find_agent
from aiframe.app.attempts.spending import Meter, read_note
from aiframe.app.project.site import open_site
from aiframe.core.model import Moment, Role, Run, Runner
from aiframe.core.ports import Answer, Usage

TOKENS = {"input_tokens": 900, "cached_input_tokens": 300, "output_tokens": 100, "reasoning_output_tokens": 50}
PAID: dict[str, Any] = {"usage": TOKENS, "cost_usd": 0.25}
FAILS = {"kind": "quota", "message": "limit", "reset_in": 3600}
HANG = "touch ../begun; sleep 300"


def spent(bench: Bench, of: str = "project") -> tuple[int, float, int]:
    """Tokens, cost and attempts of the project or of a task."""
    book = bench.control["spending"]
    found = book["project"] if of == "project" else book["tasks"][of]
    return found["tokens"], found["cost_usd"], found["attempts"]


def ended_lines(bench: Bench) -> list[dict[str, Any]]:
    return [event for event in bench.events if event["kind"] == "step_ended"]


# Counting -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turn", "first"),
    [
        pytest.param({}, "ok", id="finished"),
        pytest.param({"files": {"two": ""}}, "verify_failed", id="checks failed"),
        pytest.param({"fail": {"kind": "transient"}}, "transient", id="crashed"),
    ],
)
def test_a_run_counts_however_it_ends(tmp_path: Path, turn: dict[str, Any], first: str) -> None:
    work = {"files": {"one": ""}, **PAID, **turn}
    bench = lay_project(tmp_path, task("T1", "test -e one"), turns=[dev("T1", **work)], limits={"max_attempts": 1})
    bench.tick()
    assert bench.ended()[0][1] == first
    assert spent(bench) == spent(bench, "T1") == (1000, 0.25, 1)
    (line,) = ended_lines(bench)
    assert (line["tokens"], line["cost_usd"]) == (1000, 0.25)
    assert "0.25" in bench.do("status").out


def test_a_cost_that_nobody_told_is_unknown(tmp_path: Path) -> None:
    turns = [dev("T1", files={"one": ""}), dev("T2", files={"two": ""}, **PAID)]
    bench = lay_project(tmp_path, task("T1", "test -e one"), task("T2", "test -e two"), turns=turns)
    bench.tick(DEV_CHAIN_LIMIT="1")
    assert "tokens unknown, cost unknown" in bench.do("status").out
    bench.tick()
    assert "tokens at least 1,000, cost at least $0.25" in bench.do("status").out
    assert [line["cost_usd"] for line in ended_lines(bench)] == [None, 0.25]


def begin(bench: Bench) -> None:
    bench.tick("--no-wait")
    wait_for((bench.root.parent / "begun").exists, "the step's beginning")


def test_a_killed_run_counts_as_far_as_it_told_and_only_once(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "test -e one"), turns=[dev("T1", run=[HANG], **PAID)])
    begin(bench)
    os.kill(bench.control["run"]["runner"]["pid"], signal.SIGKILL)
    wait_for(lambda: lock_free(bench), "the end of the runner")
    play(bench, [dev("T1", files={"one": ""}, **PAID)])
    assert bench.tick().code == 0
    assert [outcome for _, outcome, _ in bench.ended()] == ["interrupted", "ok"]
    assert spent(bench) == (2000, 0.5, 2)


def test_a_stopped_run_counts(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1", run=[HANG], **PAID)])
    begin(bench)
    assert bench.do("stop").code == 0
    assert (bench.where, spent(bench)) == ("PAUSED", (1000, 0.25, 1))


def test_an_agent_that_is_not_there_spends_nothing(tmp_path: Path) -> None:
    agent = {"name": "command", "line": "no-such-program-here"}
    bench = lay_project(tmp_path, task("T1", "true"), agent=agent)
    bench.tick()
    assert (bench.where, spent(bench)) == ("ERROR", (0, 0, 0))


def test_a_session_that_is_taken_up_again_is_not_counted_twice(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1")])
    bench.tick()
    site = open_site(bench.root, os.environ)
    found = []
    for number, (total, again) in enumerate([(100, False), (150, True), (150, False)]):
        run = Run(f"run-{number}", Role.DEV, Moment(time.time()), 60, Runner(0, 0), "T1")
        Meter(site, run).end(Answer(session_id="s1", usage=Usage(total), cost_usd=total / 100, cumulative=again))
        found.append((read_note(site).spent.tokens, read_note(site).spent.cost_usd))
    assert found == [(100, 1.0), (50, 0.5), (150, 1.5)]


# Limits ---------------------------------------------------------------------------------------------------------------


def limited(tmp_path: Path, budget: dict[str, Any], *turns: Any, **more: Any) -> Bench:
    tasks = task("T1", "test -e one"), task("T2", "test -e two")
    return lay_project(tmp_path, *tasks, turns=turns, settings={"budget": budget}, **more)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        pytest.param({"project": {"tokens": 1000}}, "the project's budget of 1,000 tokens", id="tokens"),
        pytest.param({"project": {"cost_usd": 0.25}}, "the project's budget of $0.25", id="cost"),
        pytest.param({"task": {"tokens": 1000}}, "the budget of task T1", id="of a task"),
        pytest.param({"task": {"wall_min": 0.02}}, "the budget of task T1 of 0.02 min", id="time"),
    ],
)
def test_an_agent_that_reaches_a_limit_is_stopped_and_its_work_is_kept(
    tmp_path: Path, budget: dict[str, Any], words: str
) -> None:
    bench = limited(tmp_path, budget, dev("T1", files={"half": "done"}, run=[HANG], **PAID))
    ended = bench.tick()
    assert (ended.code, bench.where, bench.state["failure"]["kind"]) == (1, "PAUSED", "budget")
    assert words in ended.out
    assert "so far 1,000 tokens, $0.25" in ended.out
    assert "raise budget." in ended.out
    assert (bench.text("half"), bench.statuses()["T1"]) == ("done", "todo")
    refused = bench.do("resume")
    assert (refused.code, "is spent" in refused.err) == (2, True)
    bench.write(
        "PROJECT.yaml", json.dumps({"agent": {"name": "scripted", "file": "../script.json"}, "sandbox": "none"})
    )
    play(bench, [dev("T1", files={"one": ""}), dev("T2", files={"two": ""})])
    assert bench.do("resume").code == 0
    assert (bench.tick().code, bench.where) == (0, "DONE")


def test_work_that_is_done_is_kept_and_nothing_more_begins(tmp_path: Path) -> None:
    bench = limited(tmp_path, {"project": {"attempts": 1}}, dev("T1", files={"one": ""}), dev("T2", files={"two": ""}))
    bench.tick()
    assert (bench.where, bench.statuses()) == ("PAUSED", {"T1": "done", "T2": "todo"})
    assert (len(bench.runs()), bench.commits()) == (1, ["T1: Task T1"])


def test_the_days_budget_waits_for_midnight_and_may_be_raised(tmp_path: Path) -> None:
    bench = limited(
        tmp_path, {"day": {"tokens": 1000}}, dev("T1", files={"one": ""}, **PAID), dev("T2", files={"two": ""})
    )
    bench.tick()
    at = time.localtime(bench.state["not_before"])
    assert (bench.where, at.tm_hour, at.tm_min, at.tm_sec) == ("DEV_READY", 0, 0, 0)
    assert "today's budget" in bench.do("why").out
    assert "raise budget.day.tokens" in bench.tick().out
    assert bench.statuses() == {"T1": "done", "T2": "todo"}
    bench.write("PROJECT.yaml", bench.text("PROJECT.yaml").replace("1000", "2000"))
    assert (bench.tick().code, bench.where) == (0, "DONE")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"agent": {"name": "codex"}}, id="the agent"),
        pytest.param({"agents": {"PO": {"name": "scripted", "file": "x", "fallback": "codex"}}}, id="who stands in"),
    ],
)
def test_a_limit_on_cost_that_nobody_can_hold_is_refused_at_its_line(tmp_path: Path, settings: dict[str, Any]) -> None:
    bench = limited(tmp_path, {"task": {"cost_usd": 1}}, dev("T1"))
    project = {**json.loads(bench.text("PROJECT.yaml")), **settings}
    bench.write("PROJECT.yaml", json.dumps(project, indent=1))
    line = next(n for n, text in enumerate(bench.text("PROJECT.yaml").splitlines(), 1) if "cost_usd" in text)
    for verb, code in (("tick", 2), ("status", 2), ("doctor", 1)):
        ended = bench.do(verb)
        assert (verb, ended.code) == (verb, code)
        assert f"PROJECT.yaml:{line}" in ended.said
        assert "codex does not tell what a run costs" in ended.said
    assert not bench.runs()


def test_an_agent_of_a_task_that_tells_no_cost_is_refused(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true", agent="codex"), turns=[dev("T1")], settings={"budget": {"day": {"cost_usd": 1}}}
    )
    bench.tick()
    assert (bench.where, bench.state["failure"]["kind"]) == ("ERROR", "setup")
    assert "does not tell what a run costs" in bench.state["last_error"]
    assert spent(bench) == (0, 0, 0)


# Another agent in its place -------------------------------------------------------------------------------------------


def relay(tmp_path: Path, **fallback: Any) -> Bench:
    """A project whose first agent says that its quota is used up; another one can do the work."""
    other = tmp_path / "other.json"
    turns = [dev("T1", files={"one": ""}), dev("T2", files={"two": ""})]
    other.write_text(json.dumps({"version": 1, "turns": turns}))
    stand_in = {"name": "scripted", "model": "second", "file": str(other), **fallback}
    agent = {"name": "scripted", "file": str(tmp_path / "script.json"), "fallback": stand_in}
    tasks = task("T1", "test -e one"), task("T2", "test -e two")
    return lay_project(tmp_path, *tasks, turns=[dev(fail=FAILS)], agent=agent)


def test_another_agent_stands_in_at_once_and_is_told(tmp_path: Path) -> None:
    bench = relay(tmp_path)
    assert bench.tick(DEV_CHAIN_LIMIT="1").code == 0
    assert bench.ended() == [("DEV", "quota", "DEV_READY"), ("DEV", "ok", "DEV_READY")]
    assert [(e.get("agent"), e.get("instead_of")) for e in ended_lines(bench)] == [
        ("scripted", None),
        ("scripted/second", "scripted"),
    ]
    assert [result["instead_of"] for result in bench.results()] == ["", "scripted"]
    assert spent(bench, "T1")[2] == 1
    status = bench.do("status").out
    assert "scripted has used up its own until" in status
    snapshot = json.loads(bench.do("status", "--json").out)
    assert (snapshot["agent"], snapshot["instead_of"]) == ("scripted/second", "scripted")
    bench.tick()
    assert (bench.where, len(bench.runs())) == ("DONE", 3)  # the second task did not ask the first agent again


def test_the_first_agent_is_back_after_its_reset(tmp_path: Path) -> None:
    bench = relay(tmp_path)
    play(bench, [dev(fail={**FAILS, "reset_in": 1})])
    bench.tick(DEV_CHAIN_LIMIT="1")
    play(bench, [dev("T2", files={"two": ""})])
    time.sleep(1.1)
    assert bench.tick().code == 0
    assert [e["agent"] for e in ended_lines(bench)] == ["scripted", "scripted/second", "scripted"]


def test_with_both_used_up_it_waits_and_a_person_may_cut_it_short(tmp_path: Path) -> None:
    bench = relay(tmp_path)
    (tmp_path / "other.json").write_text(json.dumps({"version": 1, "turns": [dev(fail={**FAILS, "reset_in": 600})]}))
    before = time.time()
    bench.tick()
    assert [outcome for _, outcome, _ in bench.ended()] == ["quota", "quota"]
    assert 500 < bench.state["not_before"] - before < 700
    assert "aiframe resume --now" in bench.tick().out
    assert len(bench.runs()) == 2
    play(bench, [dev("T1", files={"one": ""}), dev("T2", files={"two": ""})])
    assert bench.do("resume", "--now").code == 0
    assert (bench.tick().code, bench.where) == (0, "DONE")


@pytest.mark.parametrize("verb", ["pause", "stop"])
def test_a_wait_for_a_quota_can_be_called_off(tmp_path: Path, verb: str) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev(fail={**FAILS, "reset_in": 1})])
    bench.tick()
    assert bench.do(verb).code == 0
    time.sleep(1.1)
    assert (bench.tick().code, bench.where, len(bench.runs())) == (0, "PAUSED", 1)


def test_every_agent_says_whether_it_tells_its_cost() -> None:
    assert find_agent("scripted", {"file": "x"}).tells_cost
    assert not find_agent("codex").tells_cost


@pytest.mark.parametrize("killed", ["while it works", "after its end"])
def test_an_invocation_that_two_runners_follow_counts_once(tmp_path: Path, killed: str) -> None:
    """The session had counted 1000 tokens before this run, whose audit comes on top of its own 500."""
    site = open_site(lay_project(tmp_path, task("T1", "true")).root, os.environ)
    earlier, run = (Run(name, Role.DEV, Moment(0), 60, Runner(1, 1)) for name in ("r1", "r2"))
    Meter(site, earlier).end(Answer(session_id="s1", usage=Usage(1000)))
    said = Answer(session_id="s1", usage=Usage(1500), cumulative=True)
    first = Meter(site, run)
    first.take(Usage(1200), None)
    if killed == "after its end":
        first.end(said)
    again = Meter(site, run, again=True)
    again.take(Usage(1200), None)
    again.end(said)
    Meter(site, run).end(Answer(session_id="s2", usage=Usage(70)))
    assert (read_note(site).spent.tokens, read_note(site).spent.attempts) == (570, 1)
