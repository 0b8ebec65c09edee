"""The history: every run once, whatever tells of it; what is torn is named; what is unknown stays unknown."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, git, lay_project, task, wait_for
from support.records import BEGAN, write_events, write_run

from aiframe.app.reports.attempt import Attempt, spent
from aiframe.app.reports.history import History, read_history
from aiframe.store.layout import Layout


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return lay_project(tmp_path, task("T1", "true"), task("T2", "true"))


def read(bench: Bench, **more: Any) -> History:
    return read_history(Layout(bench.root), bench.env, **more)


def one(bench: Bench) -> Attempt:
    (attempt,) = read(bench).attempts
    return attempt


@pytest.mark.parametrize(("journal", "result"), [(True, True), (True, False), (False, True)], ids=["both", "j", "r"])
@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        pytest.param({}, "done", id="done"),
        pytest.param({"failure": "verify_failed"}, "verify_failed", id="failed"),
        pytest.param({"success": False, "held": {"reason": "large"}}, "held", id="held"),
    ],
)
def test_a_run_is_told_whichever_file_is_left(
    bench: Bench, fields: dict[str, Any], outcome: str, journal: bool, result: bool
) -> None:
    write_run(bench, "r1", journal=journal, result=result, **fields)
    attempt = one(bench)
    assert (attempt.run_id, attempt.role, attempt.task, attempt.attempt) == ("r1", "DEV", "T1", 1)
    assert (attempt.outcome, attempt.started, attempt.seconds) == (outcome, BEGAN, 60)
    assert attempt.tokens == (1050 if result else None)
    assert attempt.agent == ("codex" if result else "")


@pytest.mark.parametrize(
    ("fields", "tokens", "cost"),
    [
        pytest.param({}, 1050, None, id="no price"),
        pytest.param({"total_cost_usd": 0.25}, 1050, 0.25, id="a price"),
        pytest.param({"total_cost_usd": 0.0}, 1050, 0.0, id="for nothing"),
        pytest.param({"usage": {}}, None, None, id="no usage"),
        pytest.param({"usage": {"input_tokens": 0, "output_tokens": 0}}, None, None, id="zeros stand for no usage"),
        pytest.param({"usage": {"input_tokens": "many"}}, None, None, id="usage that is no number"),
    ],
)
def test_what_is_not_told_is_unknown(bench: Bench, fields: dict[str, Any], tokens: int | None, cost: float) -> None:
    write_run(bench, "r1", **fields)
    assert (one(bench).tokens, one(bench).cost_usd) == (tokens, cost)


@pytest.mark.parametrize(
    ("spent", "tokens", "cost"),
    [
        pytest.param({"tokens": 50, "cost_usd": 0.1}, 50, 0.1, id="of a session that was taken up again"),
        pytest.param({"tokens": 0, "cost_usd": 0.0}, 0, 0.0, id="no agent was asked"),
        pytest.param({"tokens": None, "cost_usd": None}, 1050, 0.5, id="not told there"),
    ],
)
def test_what_a_run_itself_took_is_in_the_journal(
    bench: Bench, spent: dict[str, Any], tokens: int, cost: float
) -> None:
    write_run(bench, "r1", total_cost_usd=0.5, spent=spent)
    assert (one(bench).tokens, one(bench).cost_usd) == (tokens, cost)


def test_a_sum_says_what_it_does_not_know(bench: Bench) -> None:
    write_run(bench, "r1", total_cost_usd=0.5)
    write_run(bench, "r2", at=BEGAN + 100, usage={})
    total = spent(read(bench).attempts)
    assert (total.runs, total.seconds, total.tokens, total.cost_usd) == (2, 120, 1050, 0.5)
    assert (total.untold_tokens, total.unpriced) == (1, 1)


def test_the_gravest_of_several_failures_decides(bench: Bench) -> None:
    both = [{"kind": "verify_failed", "message": "b"}, {"kind": "timeout", "message": "a"}]
    write_run(bench, "r1", journal=False, success=False, broken={"failures": both})
    assert (one(bench).outcome, one(bench).message) == ("timeout", "a")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b'{"run_id": "r1", "ro', "truncated", id="torn"),
        pytest.param(b"", "truncated", id="empty"),
        pytest.param(b"\xff\xfe\x00", "malformed", id="no text"),
        pytest.param(b"[" * 100_000, "cannot be used", id="nested without end"),
        pytest.param(b'["a"]', "Expected `object`", id="no object"),
        pytest.param(b'{"run_id": "r2"}', "tells of the run 'r2'", id="another run's"),
        pytest.param(b'{"run_id": "r1", "attempt": "x"}', "attempt", id="a field of another kind"),
    ],
)
def test_a_result_of_no_use_is_named_and_the_rest_counts(bench: Bench, content: bytes, says: str) -> None:
    write_run(bench, "r1")
    write_run(bench, "r3", at=BEGAN + 100)
    bench.write("logs/runs/r1/result.json", content)
    history = read(bench)
    assert [(each.run_id, each.outcome, each.tokens) for each in history.attempts] == [
        ("r1", "done", None),
        ("r3", "done", 1050),
    ]
    (problem,) = history.problems
    assert problem.path == bench.root / "logs/runs/r1/result.json"
    assert says in problem.message


@pytest.mark.parametrize("place", ["logs", "logs/runs", "logs/runs/r1", "logs/runs/r1/result.json"])
def test_no_link_is_followed(bench: Bench, tmp_path: Path, place: str) -> None:
    write_run(bench, "r1", journal=False)
    elsewhere = tmp_path / "elsewhere"
    os.rename(bench.root / place, elsewhere)
    (bench.root / place).symlink_to(elsewhere)
    history = read(bench)
    assert history.attempts == ()
    assert len(history.problems) == 1


@pytest.mark.parametrize("what", ["file", "pipe", "foreign name"])
def test_a_foreign_thing_among_the_runs_is_named(bench: Bench, what: str) -> None:
    write_run(bench, "r1")
    runs = bench.root / "logs/runs"
    match what:
        case "file":
            (runs / "x").write_text("x")
        case "pipe":
            (runs / "x").mkdir()
            os.mkfifo(runs / "x/result.json")
        case _:
            (runs / "x y").mkdir()
    history = read(bench)
    assert [each.run_id for each in history.attempts] == ["r1"]
    assert [problem.path.parts[-len(Path(problem.path).relative_to(runs).parts)] for problem in history.problems]


def test_events_of_any_kind_do_no_harm(bench: Bench) -> None:
    write_run(bench, "r1")
    write_events(
        bench,
        {"kind": "step_ended", "run_id": 5},
        {"kind": "step_started", "run_id": "r9", "ts": "noon", "attempt": [], "task": {}},
        {"kind": "step_ended", "run_id": "../x", "ts": 1e300},
    )
    with (bench.root / "logs/events.ndjson").open("a") as file:
        file.write('{"torn": ')
    outcomes = {each.run_id: each.outcome for each in read(bench).attempts}
    assert outcomes == {"r1": "done", "r9": "unknown", "../x": "unknown"}


@pytest.mark.parametrize("kind", ["inplace", "worktree"])
def test_a_real_project_is_told_with_its_commits(tmp_path: Path, kind: str) -> None:
    """Its own, or those on the branch of the repository that it works for."""
    turns = [
        dev("T1", attempt=1, files={"a.txt": "a"}),
        dev("T1", attempt=2, files={"a.txt": "b"}),
        dev("T2", files={"b.txt": "b"}),
    ]
    host = tmp_path / "my app"
    host.mkdir()
    git(host, "init", "-q")
    git(host, "commit", "-q", "--allow-empty", "-m", "first")
    settings = {"workspace": {"kind": "worktree", "repo": "../my app"}} if kind == "worktree" else {}
    laid = lay_project(tmp_path, task("T1", "grep -q b a.txt"), task("T2", "true"), turns=turns, settings=settings)
    bench = replace(laid, env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")})
    bench.tick()
    bench.tick()
    told = [(each.task, each.attempt, each.outcome, bool(each.commit)) for each in read(bench).attempts]
    assert told == [("T1", 1, "verify_failed", False), ("T1", 2, "done", True), ("T2", 1, "done", True)]
    gates = [gate for each in read(bench, task="T1").attempts for gate in each.gates]
    assert [(gate.name, gate.command, gate.exit_code) for gate in gates] == [
        ("verify-1", "grep -q b a.txt", 1),
        ("verify-1", "grep -q b a.txt", 0),
    ]
    commits = {each.run_id: each.commit for each in read(bench).attempts}
    (bench.root / "logs/events.ndjson").unlink()
    for folder in (bench.root / "logs/runs").iterdir():
        (folder / "result.json").write_text(json.dumps({"run_id": folder.name, "success": True}))
    assert {each.run_id: each.commit for each in read(bench).attempts} == commits  # by the trailers in git
    if kind == "worktree":  # set back by a person: what landed last is kept in a ref
        git(host, "branch", "-f", "aiframe/shop/landed", "HEAD")
        assert {each.run_id: each.commit for each in read(bench).attempts} == commits
        host.rename(tmp_path / "away")
        assert not any(each.commit for each in read(bench).attempts)


def test_a_step_that_lives_is_running(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1", delay=60)])
    bench.tick("--no-wait")
    wait_for(lambda: bench.text("logs/events.ndjson"), "the beginning of the step")
    try:
        assert [(each.task, each.outcome, each.seconds) for each in read(bench).attempts] == [("T1", "running", None)]
        told = json.loads(bench.do("digest", "--json").out)
        assert (told["state"], told["failures"], told["waiting"]) == ("RUNNING", {}, [])
    finally:
        bench.do("stop")
    assert one(bench).outcome == "cancelled"


def test_the_tail_of_a_task(bench: Bench) -> None:
    for number in range(6):
        write_run(bench, f"r{number}", at=BEGAN + number, task_id=f"T{number % 2}")
    assert [each.run_id for each in read(bench, task="T1", tail=2).attempts] == ["r3", "r5"]
    assert [each.run_id for each in read(bench, tail=1).attempts] == ["r5"]
    assert read(bench, task="T9").attempts == ()


def test_thousands_of_runs(bench: Bench) -> None:
    events = []
    for number in range(3000):
        run = f"r{number:05}"
        folder = bench.root / "logs/runs" / run
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({"run_id": run, "success": True, "output": "x" * 2000}))
        about = {"run_id": run, "role": "DEV", "task": "T1", "ts": BEGAN + number}
        events += [{"kind": "step_started", **about}, {"kind": "step_ended", "outcome": "ok", **about}]
    write_events(bench, *events)
    began = time.process_time()
    assert len(read(bench).attempts) == 3000
    assert time.process_time() - began < 5  # it takes a tenth of that


def test_the_command(bench: Bench) -> None:
    write_run(bench, "r1", failure="stalled", gates=[])
    write_run(bench, "r2", at=BEGAN + 100, commit="c" * 40, attempt=2, total_cost_usd=0.5)
    said = bench.do("history").out.splitlines()
    rows = [" ".join(line.split()) for line in said]
    assert rows[0] == "started role task try outcome time tokens cost agent commit run"
    assert rows[1].endswith("DEV T1 1 stalled 0:01:00 1050 unknown codex/m1 - r1")
    assert rows[2].endswith("DEV T1 2 done 0:01:00 1050 $0.5000 codex/m1 cccccccccc r2")
    assert said[3] == "2 runs: 0:02:00, 2100 tokens, $0.5000 + 1 x unknown"
    told = json.loads(bench.do("history", "T1", "--json", "--tail", "1").out)
    assert [each["run_id"] for each in told["attempts"]] == ["r2"]
    assert "no run of T2 yet" in bench.do("history", "T2").out


def test_words_of_agents_play_no_tricks_on_a_terminal(bench: Bench) -> None:
    write_run(bench, "r1", agent="a\x1b[2J\nb")
    assert "\x1b" not in bench.do("history").out
    assert len(bench.do("history").out.splitlines()) == 3
