"""Held work through the whole program: put by, taken, sent back, landed after others, and killed on the way."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, lay_project, lock_free, task, wait_for

PROTECT = {"gates": {"protect": ["tests/**"]}}
TEN_LINES = "".join(f"{number}\n" for number in range(10))


def laid(tmp_path: Path, *turns: dict[str, Any], check: str = "true", **more: Any) -> Bench:
    """A project with two tasks, the first of which changes what is protected."""
    bench = lay_project(
        tmp_path, task("T1", check, priority="high"), task("T2", "true"), turns=turns, settings=PROTECT, **more
    )
    bench.write("tests/a", "old\n")
    bench.write("lines", TEN_LINES)
    return bench


HOLDS = dev("T1", attempt=1, files={"tests/a": "new\n", "one": "1"})


def test_others_go_on_and_an_approval_lands_it_with_its_own_commit(tmp_path: Path) -> None:
    bench = laid(tmp_path, HOLDS, dev("T2", files={"two": "2"}))
    assert bench.tick().code == 0
    assert (bench.where, bench.statuses()) == ("REVIEW_WAITING", {"T1": "review", "T2": "done"})
    assert [outcome for _, outcome, _ in bench.ended()] == ["held", "ok"]
    assert "aiframe approve T1" in bench.do("why").out
    assert (bench.text("tests/a"), bench.text("one"), bench.text("two")) == ("old\n", "", "2")
    assert "Approved: T1" in bench.do("approve", "T1").out
    assert bench.tick().code == 0
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done", "T2": "done"})
    assert bench.commits() == ["T2: Task T2", "T1: Task T1"]
    assert (bench.text("tests/a"), bench.text("one"), bench.text("two")) == ("new\n", "1", "2")
    assert bench.git("status", "--porcelain") == ""
    landed = bench.results()[-1]
    assert [gate["name"] for gate in landed["gates"]] == ["verify-1"]
    assert landed["gates"][0]["tree"] == bench.git("rev-parse", f"{landed['commit']}^{{tree}}")
    assert "Aiframe-Agent: scripted" in bench.git("log", "-1", "--format=%B", landed["commit"])
    assert bench.control["held"] == {}


def test_it_lands_though_the_budget_is_spent(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true"), task("T2", "true"), turns=[HOLDS],
        settings={**PROTECT, "budget": {"project": {"attempts": 1}}},
    )  # fmt: skip
    bench.write("tests/a", "old\n")
    bench.tick()
    assert (bench.where, bench.statuses()["T1"]) == ("PAUSED", "review")
    assert bench.do("resume").code == 2
    assert "landed once `aiframe resume` ends PAUSED" in bench.do("approve", "T1").out
    assert bench.do("resume").code == 0
    bench.tick()
    assert (bench.where, bench.statuses()) == ("PAUSED", {"T1": "done", "T2": "todo"}), bench.log()
    assert bench.text("tests/a") == "new\n"


@pytest.mark.parametrize("how", ["command", "file"])
def test_the_review_of_everything_takes_it_too(tmp_path: Path, how: str) -> None:
    bench = laid(tmp_path, HOLDS, dev("T2", files={"two": "2"}))
    bench.tick()
    if how == "command":
        assert bench.do("approve").code == 0
    else:
        bench.write("notes/review_approval.md", "fine\n")
    bench.tick()
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done", "T2": "done"})
    assert bench.text("tests/a") == "new\n"


def test_sent_back_its_agent_reads_why_and_begins_from_what_is_there(tmp_path: Path) -> None:
    bench = laid(tmp_path, HOLDS, dev("T2"), dev("T1", files={"one": "again"}))
    bench.tick()
    assert "to do again" in bench.do("reject", "--task", "T1", "--notes", "leave the tests alone").out
    assert bench.statuses()["T1"] == "todo"
    bench.tick()
    assert all(words in bench.prompts()[-1] for words in ("leave the tests alone", "protected: tests/a changed"))
    assert (bench.text("tests/a"), bench.text("one")) == ("old\n", "again")
    assert bench.statuses() == {"T1": "done", "T2": "done"}


@pytest.mark.parametrize(
    ("work", "later", "fits"),
    [
        pytest.param("1c one", "8c eight", True, id="other lines of the same file"),
        pytest.param("1c one", "1c uno", False, id="the same line"),
    ],
)
def test_what_others_landed_meanwhile_is_kept(tmp_path: Path, work: str, later: str, fits: bool) -> None:
    bench = laid(
        tmp_path,
        dev("T1", attempt=1, files={"tests/a": "new\n"}, run=[f"sed -i '{work}' lines"]),
        dev("T2", run=[f"sed -i '{later}' lines"]),
        dev("T1", files={"again": "1"}),
    )
    bench.tick()
    bench.do("approve", "T1")
    bench.tick()
    if not fits:
        assert "does not fit any more, for these files changed meanwhile: lines" in bench.results()[-2]["error"]
        assert "lines" in bench.prompts()[-1]
        assert (bench.text("lines"), bench.text("tests/a")) == (TEN_LINES.replace("0\n", "uno\n", 1), "old\n")
        return
    # The merged file is not what was approved, so a person looks once more, at the merged work.
    assert bench.statuses()["T1"] == "review"
    bench.do("approve", "T1")
    bench.tick()
    assert bench.statuses() == {"T1": "done", "T2": "done"}
    assert bench.text("lines") == TEN_LINES.replace("0\n", "one\n", 1).replace("7\n", "eight\n", 1)


def test_a_landing_that_conflicts_leaves_the_task_its_attempt(tmp_path: Path) -> None:
    bench = laid(
        tmp_path,
        dev("T1", attempt=1, files={"tests/a": "new\n"}, run=["sed -i '1c one' lines"]),
        dev("T2", run=["sed -i '1c uno' lines"]),
        dev("T1", files={"again": "1"}),
        limits={"max_attempts": 1},
    )
    bench.tick()
    bench.do("approve", "T1")
    bench.tick()
    assert bench.statuses() == {"T1": "done", "T2": "done"}, bench.log()
    assert [outcome for _, outcome, _ in bench.ended()] == ["held", "ok", "verify_failed", "ok"]
    assert "A person has approved that work, and then it could not land" in bench.prompts()[-1]


def test_it_is_checked_again_on_what_is_there_now(tmp_path: Path) -> None:
    bench = laid(tmp_path, HOLDS, dev("T2", files={"two": "2"}), dev("T1", files={"one": "3"}), check="! test -e two")
    bench.tick()
    bench.do("approve", "T1")
    bench.tick()
    assert bench.results()[2]["error"].startswith("verify_failed")
    assert bench.commits() == ["T2: Task T2"]
    assert bench.control["held"] == {}


def test_what_a_person_has_begun_meanwhile_is_not_lost(tmp_path: Path) -> None:
    bench = laid(tmp_path, HOLDS, dev("T2"))
    bench.tick()
    bench.write("mine", "mine\n")
    bench.do("approve", "T1")
    bench.tick()
    assert bench.statuses()["T1"] == "done"
    assert bench.text("mine") == "mine\n"
    assert "mine" in bench.git("ls-tree", "--name-only", "HEAD")
    assert "mine" not in bench.git("show", "--name-only", "--format=", bench.results()[-1]["commit"])


def test_an_attempts_own_commits_do_not_stay_on_the_branch(tmp_path: Path) -> None:
    commit = "git add -A; git -c user.name=a -c user.email=b commit -qm sly"
    bench = laid(tmp_path, dev("T1", files={"tests/a": "new\n"}, run=[commit]), dev("T2", files={"two": "2"}))
    bench.tick()
    assert "sly" not in bench.git("log", "--format=%s")
    assert bench.git("show", "HEAD:tests/a") == "old"
    bench.do("approve", "T1")
    bench.tick()
    assert bench.git("show", "HEAD:tests/a") == "new"


def test_what_stood_there_is_not_the_candidate_that_lands(tmp_path: Path) -> None:
    """The approval is for one tree: a ref that was bent to another commit since is not taken for it."""
    bench = laid(tmp_path, HOLDS, dev("T2"), dev("T1", files={"one": "again"}))
    bench.tick()
    record = bench.control["held"]["T1"]
    bench.write("evil", "x")
    bench.git("add", "evil")
    bench.git("commit", "-qm", "evil")
    bench.git("update-ref", record["ref"], "HEAD")
    bench.do("approve", "T1")
    bench.tick()
    assert bench.statuses()["T1"] == "done"
    assert bench.git("show", "--name-only", "--format=", bench.results()[-1]["commit"]).split() == ["one", "tests/a"]


@pytest.mark.parametrize("words", [["approve", "T2"], ["approve", "T9"], ["approve", "T1", "T2"]], ids=" ".join)
def test_a_word_about_nothing_held_is_refused_and_changes_nothing(tmp_path: Path, words: list[str]) -> None:
    bench = laid(tmp_path, HOLDS, dev("T2"))
    bench.tick()
    before = bench.control
    done = bench.do(*words)
    assert (done.code, "no work of" in done.err) == (2, True)
    assert bench.control == before


def kill_runners(bench: Bench, rng: random.Random, times: int) -> None:
    """Kill the runner *times* times, at random moments of its work, then let the project come to rest."""
    for _ in range(times):
        bench.tick("--no-wait")
        time.sleep(rng.uniform(0, 0.6))
        with suppress(ProcessLookupError, TypeError, KeyError):  # before it has begun, or after its end
            os.kill(bench.state["runner"]["pid"], signal.SIGKILL)
        wait_for(lambda: lock_free(bench), "the lock")
    for _ in range(6):
        bench.tick()
        if bench.where in ("REVIEW_WAITING", "DONE"):
            break
        bench.do("resume", "--now")


@pytest.mark.parametrize("seed", range(3))
def test_f28_killed_at_any_moment_it_is_held_once_and_lands_once(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    turn = dev("T1", files={"tests/a": "new\n", "one": "1"})
    bench = laid(tmp_path, turn, dev("T2", files={"two": "2"}), limits={"interrupted_limit": 20})
    kill_runners(bench, rng, 2)
    assert bench.statuses() == {"T1": "review", "T2": "done"}
    assert (bench.text("tests/a"), bench.text("one")) == ("old\n", "")
    assert bench.commits() == ["T2: Task T2"]
    bench.do("approve", "T1")
    kill_runners(bench, rng, 2)
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done", "T2": "done"})
    assert bench.commits() == ["T2: Task T2", "T1: Task T1"]
    assert [bench.git("show", f"HEAD:{name}") for name in ("tests/a", "one", "two")] == ["new", "1", "2"]
    assert [line for line in bench.git("status", "--porcelain").splitlines() if "TASKS.yaml" not in line] == []
