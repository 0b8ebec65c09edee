"""The digest: what was done since, what it cost, and every decision that waits, each with the command to take it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, lay_project, play, task
from support.records import write_run

from aiframe.app.reports.digest import parse_since
from aiframe.core.errors import UsageError

NOW = time.mktime((2026, 5, 2, 12, 0, 0, 0, 0, -1))
MAY_DAY = time.mktime((2026, 5, 1, 0, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("text", "since"),
    [
        pytest.param("30m", NOW - 1800, id="minutes"),
        pytest.param("12h", NOW - 43_200, id="hours"),
        pytest.param(" 2D ", NOW - 172_800, id="days, in any case"),
        pytest.param("1w", NOW - 604_800, id="weeks"),
        pytest.param("2026-05-01", MAY_DAY, id="a date"),
        pytest.param("2026-05-01T18:30", MAY_DAY + 18.5 * 3600, id="a time"),
    ],
)
def test_since(text: str, since: float) -> None:
    assert parse_since(text, NOW) == since


@pytest.mark.parametrize("text", ["", "yesterday", "12", "h", "-1h", "2026-13-01", "9999999h"])
def test_a_time_that_is_none(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_since(text, NOW)
    assert "12h" in error.value.hint


def digest(bench: Bench, since: str = "1d") -> dict[str, Any]:
    return dict(json.loads(bench.do("digest", "--json", "--since", since).out))


def test_what_was_done_since_and_what_it_cost(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true", status="done"), task("T2", "true"))
    now = time.time()
    write_run(bench, "r1", at=now - 90_000, total_cost_usd=5.0)
    write_run(bench, "r2", at=now - 7200, failure="timeout", total_cost_usd=0.5)
    write_run(bench, "r3", at=now - 3600, commit="c" * 40)
    write_run(bench, "r4", at=now - 1800, role="PO", task_id="")
    told = digest(bench, "12h")
    assert [each["run_id"] for each in told["done"]] == ["r3"]
    assert told["failures"] == {"timeout": 1}
    assert (told["spent"]["runs"], told["spent"]["cost_usd"], told["spent"]["unpriced"]) == (3, 0.5, 2)
    assert (told["in_all"]["runs"], told["in_all"]["cost_usd"], told["in_all"]["unpriced"]) == (4, 5.5, 2)
    assert (told["tasks_done"], told["tasks_total"]) == (1, 2)
    said = bench.do("digest", "--since", "12h").out
    for words in ("done: T1, try 1, commit cccccccccc", "timeout: 1 x (T1)", "$0.5000 + 2 x unknown", "4 runs"):
        assert words in said or words == "4 runs"
    assert "Nothing waits for a decision." in said


def asked(bench: Bench) -> None:
    play(
        bench, [dev("T1", closing={"summary": "?", "question": {"text": "Which colour?", "choices": ["red", "blue"]}})]
    )
    bench.tick()


def failed(bench: Bench) -> None:
    play(bench, [dev("T1")])
    bench.tick()


def paused(bench: Bench) -> None:
    bench.do("pause")


def offered(bench: Bench) -> None:
    plan = 'tasks:\n  - {id: T1, title: Another, status: todo, verify: ["true"]}\n'
    play(bench, [dev("T1", files={"TASKS.yaml": plan})])
    bench.tick()


def broken(bench: Bench) -> None:
    bench.write("TASKS.yaml", "tasks: [")


@pytest.mark.parametrize(
    ("happens", "state", "verify", "kind", "text", "command"),
    [
        pytest.param(asked, True, "false", "question", "Which colour? (red, blue)", "aiframe answer ", id="question"),
        pytest.param(failed, False, "false", "error", "no attempt", "aiframe retry T1", id="error"),
        pytest.param(failed, True, "manual: look", "review", "A review of T1", "aiframe approve", id="review"),
        pytest.param(
            failed, False, "manual: look", "unverified", "manual: look", "aiframe history T1", id="unverified"
        ),
        pytest.param(paused, False, "true", "pause", "Paused", "aiframe resume", id="pause"),
        pytest.param(offered, False, "true", "accept", "TASKS.yaml", "aiframe accept --diff", id="an offer"),
        pytest.param(broken, False, "true", "problem", "TASKS.yaml:", "", id="a broken file"),
    ],
)
def test_each_decision_comes_with_its_command(
    tmp_path: Path, happens: Callable[[Bench], None], state: bool, verify: str, kind: str, text: str, command: str
) -> None:
    laid = {"state": "DEV_READY", "interactive_mode": state}
    bench = lay_project(tmp_path, task("T1", verify), state=laid, limits={"max_attempts": 1 + (kind == "question")})
    happens(bench)
    waiting = [each for each in digest(bench)["waiting"] if each["kind"] == kind]
    assert waiting, digest(bench)["waiting"]
    assert kind == "error" or text in waiting[0]["text"]
    assert any(each.startswith(command) for each in waiting[0]["commands"])
    if command:
        assert (
            f"{command.split(' (')[0].strip()} --project" in bench.do("digest").out or command in bench.do("digest").out
        )


def test_work_that_is_held(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true"), task("T2", "true"), settings={"gates": {"protect": ["kept.txt"]}},
        turns=[dev("T1", files={"kept.txt": "weaker"}), dev("T2", files={"b.txt": "b"})],
    )  # fmt: skip
    bench.tick()
    bench.tick()
    told = digest(bench)
    assert [(each["task"], each["outcome"]) for each in told["done"]] == [("T1", "held"), ("T2", "done")]
    (held,) = told["waiting"]
    assert (held["kind"], held["task"]) == ("held", "T1")
    assert "kept.txt" in held["text"]
    assert held["commands"][:2] == ["git show refs/aiframe/held/T1", "aiframe approve T1"]
    assert "held for you: T1" in bench.do("digest").out


@pytest.mark.parametrize(
    ("word", "told"),
    [
        pytest.param(("approve", "T1"), [("T2", "done"), ("T1", "done")], id="landed"),
        pytest.param(("reject", "--task", "T1", "--notes", "no"), [("T2", "done")], id="sent back"),
    ],
)
def test_work_that_is_held_no_more_is_told_once(tmp_path: Path, word: tuple[str, ...], told: list[Any]) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true"), task("T2", "true"), settings={"gates": {"protect": ["kept.txt"]}},
        turns=[
            dev("T1", attempt=1, files={"kept.txt": "weaker"}), dev("T2", files={"b.txt": "b"}),
            dev("T1", fail={"kind": "auth"}),
        ],
    )  # fmt: skip
    bench.tick()
    assert bench.do(*word).code == 0
    bench.tick()
    assert [(each["task"], each["outcome"]) for each in digest(bench)["done"]] == told
    assert "held for you" not in bench.do("digest").out


@pytest.mark.parametrize("interactive", [False, True], ids=["unattended", "attended"])
def test_a_question_that_reaches_nobody_is_told(tmp_path: Path, interactive: bool) -> None:
    asks = {"summary": "?", "question": {"text": "Which\ncolour?", "default": "red"}}
    bench = lay_project(
        tmp_path, task("T1", "test -e one"), turns=[dev("T1", files={"one": "1"}, closing=asks)],
        state={"state": "DEV_READY", "interactive_mode": interactive},
    )  # fmt: skip
    bench.tick()
    said = "question not passed on, for interactive_mode is false: Which colour?"
    notes = [event["message"] for event in bench.events if event["kind"] == "noted"]
    told = [(each["kind"], each["text"], each["task"]) for each in digest(bench)["waiting"]]
    if interactive:
        assert not any("not passed on" in note for note in (*notes, bench.log()))
        assert [kind for kind, _, _ in told] == ["question"]
        assert "== not done yet: what is proven so far is in commit" in bench.log()
        assert "== asked, and waits for the answer: Q1: Which colour?" in bench.log()
        assert "== done" not in bench.log()
        return
    assert f"-- refused: {said}" in bench.log()
    assert notes == [f"refused: {said}"]
    assert told == [("unasked", said, "T1")]
    assert "== done, commit" in bench.log()
    assert "== asked" not in bench.log()
    assert "unasked T1" in bench.do("digest").out


def test_the_interview(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, state={"state": "INTAKE_WAITING", "interactive_mode": True})
    bench.write("INTAKE_QUESTIONS.md", "## Q1\n\nWho is it for?\n")
    bench.write("INTAKE_ANSWERS.md", "## Q1\n\n")
    (interview,) = digest(bench)["waiting"]
    assert interview["kind"] == "interview"
    assert "aiframe answer" in interview["commands"]
