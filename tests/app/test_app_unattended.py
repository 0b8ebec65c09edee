"""A night with nobody there: what needs a person is collected, the rest is worked off, and the morning decides."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.projects import DEADLINE_S, Bench, dev, lay_project, lock_free, task, wait_for

ATTENDED = {"state": "DEV_READY", "interactive_mode": True, "review_every_n_tasks": 1}


@contextmanager
def unattended_watch(bench: Bench) -> Iterator[None]:
    """`aiframe watch --unattended` for the time of the block."""
    argv = bench.argv("watch", "--project", str(bench.root), "--unattended", "--interval", "0.5")
    printed = bench.root.parent / "printed"
    with printed.open("wb") as out:
        watch = subprocess.Popen(argv, env=dict(bench.env), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield
    finally:
        watch.send_signal(signal.SIGTERM)
        watch.wait(DEADLINE_S)
        wait_for(lambda: lock_free(bench), "the end of the last step")


def lay(tmp_path: Path) -> Bench:
    asks = dev("T2", closing={"summary": "?", "question": {"text": "Which colour?"}})
    return lay_project(
        tmp_path,
        task("T1", "true", "manual: look at the colours"),
        task("T2", "false"),
        task("T3", "true"),
        task("T4", "true", blocked_by=["T1"]),
        turns=[dev("T1"), asks, dev("T3"), dev("T4")],
        state=ATTENDED,
    )


def test_what_needs_a_person_is_collected_and_the_rest_goes_on(tmp_path: Path) -> None:
    bench = lay(tmp_path)
    with unattended_watch(bench):
        wait_for(lambda: bench.where == "REVIEW_WAITING" and lock_free(bench), "a rest")
    assert bench.statuses() == {"T1": "review", "T2": "todo", "T3": "done", "T4": "todo"}
    assert bench.state["interactive_mode"] is True
    told = json.loads(bench.do("digest", "--json").out)
    kinds = {(each["kind"], each["task"]): each for each in told["waiting"]}
    assert set(kinds) == {("question", "T2"), ("review", "")}
    assert "look at T1: manual: look at the colours" in kinds["review", ""]["commands"]
    assert [each["task"] for each in told["done"]] == ["T1", "T3"]


def test_an_attended_tick_waits_for_the_review(tmp_path: Path) -> None:
    bench = lay(tmp_path)
    bench.tick()
    bench.tick()
    assert (bench.where, bench.statuses()["T3"]) == ("REVIEW_WAITING", "todo")


def test_a_review_that_was_put_off_can_be_had_at_any_rest(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true", review=True), task("T2", "true"), task("T3", "true", blocked_by=["T1"]),
        turns=[dev("T1"), dev("T2"), dev("T3")], state={**ATTENDED, "review_every_n_tasks": 0},
    )  # fmt: skip
    bench.tick(AIFRAME_UNATTENDED="1", DEV_CHAIN_LIMIT="1")
    assert (bench.where, bench.statuses()["T1"]) == ("DEV_READY", "review")
    assert "meanwhile for you: 1 review" in bench.do("status").out
    assert bench.do("approve").code == 0
    assert bench.where == "REVIEW_WAITING"
    bench.tick(AIFRAME_UNATTENDED="1")
    assert bench.statuses() == {"T1": "done", "T2": "done", "T3": "done"}


def test_a_review_that_was_put_off_can_be_had_from_a_pause(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true", review=True), task("T2", "true"), turns=[dev("T1"), dev("T1"), dev("T2")],
        state={**ATTENDED, "review_every_n_tasks": 0},
    )  # fmt: skip
    bench.tick(AIFRAME_UNATTENDED="1", DEV_CHAIN_LIMIT="1")
    bench.do("pause")
    assert bench.do("reject", "--notes", "greener", "--task", "T1").code == 0
    bench.tick(DEV_CHAIN_LIMIT="1")
    assert "greener" in bench.prompts()[-1]
