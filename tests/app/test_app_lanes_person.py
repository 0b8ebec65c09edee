"""A project with tasks side by side is one thing to its person: it tells of them, and takes what is said about them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.projects import Bench, dev, git, lock_free, play, task, wait_for
from support.saying import Say, say
from support.scripted_lanes import PLAN, asks, does, lay, proven

from aiframe.app.project.stamp import resting
from aiframe.app.watching.watch import watch
from aiframe.store.layout import Layout

__all__ = ["say"]


def lane(bench: Bench, name: str) -> Bench:
    """The project of a task that is at work."""
    return replace(bench, root=bench.root / "lanes" / f"{bench.root.name}.{name}")


def edit_tasks(bench: Bench, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the plan as a person with an editor does."""
    plan = yaml.safe_load(bench.text("TASKS.yaml"))
    change({each["id"]: each for each in plan["tasks"]})
    bench.write("TASKS.yaml", json.dumps(plan))


def test_it_tells_of_its_tasks_and_takes_answers_and_words_about_them(tmp_path: Path, say: Say) -> None:
    turns = [
        asks("T1", "Which colour?", choices=["red", "blue"]), does("T1", attempt=2), does("T2"),
        asks("T3", "Which size?"), does("T3", attempt=2), does("T4"),
    ]  # fmt: skip
    plan = [proven("T1"), proven("T2", review=True), proven("T3"), proven("T4", blocked_by=["T1"])]
    bench = lay(tmp_path, *plan, turns=turns)
    said = say("run")
    assert 'aiframe answer T1/Q1 "..."' in said
    assert "T1 rests: QUESTION_WAITING" in said

    shown = json.loads(say("status", "--json"))
    lines = {line["task"]: line for line in shown["lanes"]}
    assert {name: line["state"] for name, line in lines.items()} == {
        "T1": "QUESTION_WAITING", "T2": "REVIEW_WAITING", "T3": "QUESTION_WAITING"
    }  # fmt: skip
    assert lines["T2"]["waits"]["cures"][-2:] == ["aiframe approve T2", 'aiframe reject --task T2 --notes "..."']
    assert (shown["spent"]["tokens"], shown["spent"]["attempts"]) == (300, 3)
    assert [each["attempts"] for each in shown["tasks"]] == [1, 1, 1, 0]
    for text in (say("status"), say("why"), say("digest")):
        assert f'aiframe answer --project {bench.root} T3/Q1 "..."' in text or 'aiframe answer T3/Q1 "..."' in text
        assert "Which size?" in text
        assert "aiframe approve T2" in text
    assert "并行" in say("why", "--lang", "zh")
    assert "3 runs: " in say("history")

    listed = say("questions")
    assert listed.splitlines() == [
        "T1/Q1 about T1: Which colour?",
        "  1  red",
        "  2  blue",
        "T3/Q1 about T3: Which size?",
    ]
    assert "several tasks ask Q1" in say("answer", "Q1", "blue")
    assert "Answered T1/Q1: blue" in say("answer", "T1/Q1", "2")
    assert "Answered T3/Q1: large" in say("answer", "Q1", "large")  # only one asks it by now
    assert "T2 is worked at just now" in say("undo", "T2")
    assert "Approved" in say("approve")  # only one review waits
    assert "and those of T1, T2, T3" in say("note", "be quick")
    said = say("run")
    assert bench.where == "REVIEW_WAITING", said  # the last review, of all
    assert set(bench.statuses().values()) == {"done"}
    assert [run for run in bench.prompts() if "be quick" in run and "blue" in run]
    assert not list((bench.root / "lanes").iterdir())
    assert "6 runs: " in say("history")


def test_work_is_sent_back_and_a_word_that_could_mean_several_is_not_guessed(tmp_path: Path, say: Say) -> None:
    bench = lay(
        tmp_path, proven("T1", review=True), task("T2", "grep -q T2 T2.txt", "manual: by the light of day"),
        turns=[does("T1"), does("T2"), does("T2", append={"T2.txt": "more\n"}, attempt=2)],
    )  # fmt: skip
    say("run")
    assert "several reviews wait: T1, T2" in say("approve")
    assert "several reviews wait: T1, T2" in say("reject", "--notes", "no")
    assert "`aiframe approve T1` or `aiframe approve T2`" in say("approve")
    assert "look at T2: manual: by the light of day" in say("why")
    approved = say("approve", "T1")
    assert (approved.startswith("T1: Approved"), "Next: aiframe approve T2" in approved) == (True, True), approved
    assert say("reject", "--task", "T2", "--notes", "more of it").startswith("T2: Rejected")
    say("run")
    assert bench.statuses() == {"T1": "done", "T2": "review"} or bench.statuses() == {"T1": "done", "T2": "in_progress"}
    say("approve")
    say("run")
    assert bench.statuses() == {"T1": "done", "T2": "done"}
    assert "more of it" in [text for text in bench.prompts() if "Implement exactly one task: T2" in text][-1]


def test_an_error_in_one_is_told_with_what_to_type_and_tried_again(tmp_path: Path, say: Say) -> None:
    turns = [dev("T1", files={"T1.txt": "no\n"}), does("T1", attempt=2), does("T2")]
    bench = lay(tmp_path, proven("T1"), proven("T2"), turns=turns, attended=False, limits={"max_attempts": 1})
    say("run")
    assert (bench.where, bench.statuses()) == ("ERROR", {"T1": "failed", "T2": "done"})
    why = say("why")
    assert "task T1 failed: " in why
    assert "aiframe retry --project" in why or "aiframe retry T1" in why
    assert "failed: task" not in why
    assert len(why.splitlines()) == len(set(why.splitlines()))
    assert "To be tried again, with all attempts: T1" in say("retry", "T1")
    say("run")
    assert bench.where == "DONE"


def test_what_any_task_would_meet_stops_the_project_and_no_task_is_lost_by_it(tmp_path: Path, say: Say) -> None:
    failing = [dev(name, fail={"kind": "auth", "message": "not logged in", "hint": "log in"}) for name in ("T1", "T2")]
    bench = lay(tmp_path, proven("T1"), proven("T2"), turns=failing, attended=False, on_task_failure="continue")
    assert "not logged in" in say("run")
    assert bench.where == "ERROR"
    assert set(bench.statuses().values()) <= {"todo", "in_progress"}
    play(bench, [does("T1"), does("T2")])
    assert "Next: aiframe run" in say("resume")
    say("run")
    assert bench.where == "DONE"


# What changes in the project while tasks are at work ------------------------------------------------------------------


def held_for_answers(tmp_path: Path, say: Say, *tasks: Mapping[str, Any], **more: Any) -> Bench:
    """A project whose first task waits for an answer."""
    turns = [asks("T1", "Go?"), does("T1", attempt=2), does("T1", attempt=3), *more.pop("turns", ())]
    bench = lay(tmp_path, *(tasks or (proven("T1"),)), turns=turns, **more)
    say("run")
    assert lane(bench, "T1").where == "QUESTION_WAITING"
    return bench


def test_a_task_follows_its_words_in_the_plan_and_the_settings_those_of_the_project(tmp_path: Path, say: Say) -> None:
    bench = held_for_answers(tmp_path, say)
    edit_tasks(bench, lambda tasks: tasks["T1"].update(title="Another title", verify=["grep -q T1 T1.txt", "true"]))
    settings = json.loads(bench.text("PROJECT.yaml"))
    bench.write("PROJECT.yaml", json.dumps(settings | {"limits": {"stall_sec": 123}}))
    bench.write("SPEC.md", "# Shop\n\nSells more things.\n")
    say("set", "timeout_sec=777")
    say("answer", "T1/Q1", "yes")
    said = say("tick", "--no-wait")
    one = lane(bench, "T1")
    wait_for(lambda: not one.root.exists() or "Another title" in one.text("TASKS.yaml"), "the new words")
    wait_for(lambda: say("run") is not None and bench.statuses()["T1"] == "done", said)
    prompt = bench.prompts()[-1]
    assert "Another title" in prompt
    assert "Sells more things." in prompt
    result = bench.results()[-1]
    assert [gate["command"] for gate in result["gates"] if gate["name"].startswith("verify")] == [
        "grep -q T1 T1.txt", "true"
    ]  # fmt: skip


def test_what_was_done_by_words_that_changed_meanwhile_is_not_taken_for_done(tmp_path: Path, say: Say) -> None:
    go = tmp_path / "go"
    wait = f"for i in $(seq 300); do test -e {go} && break; sleep 0.1; done"
    turns = [does("T1", run=[wait]), does("T1", files={"T1.txt": "T1 better\n"}, attempt=2)]
    bench = lay(tmp_path, proven("T1"), turns=turns, attended=False)
    say("tick", "--no-wait")
    one = lane(bench, "T1")
    wait_for(lambda: (one.root / "logs").exists() and any((one.root / "logs").glob("runs/*/prompt.md")), "a step")
    edit_tasks(bench, lambda tasks: tasks["T1"].update(verify=["grep -q better T1.txt"]))
    assert "how it is proven was changed: T1" in say("tick", "--no-wait")
    assert "better" not in bench.text("TASKS.yaml"), "an agent may have written that"
    assert "changed: T1" in say("accept")
    go.touch()
    said = say("run")
    assert "T1 goes on by its new words" in said
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"}), said
    target = json.loads((bench.control_dir / "workspace.json").read_text())["target"]
    assert git(tmp_path / "app", "show", f"{target}:T1.txt") == "T1 better"
    assert len(bench.results()) == 2


@pytest.mark.parametrize("how", ["cancelled", "gone"])
def test_a_task_that_is_not_wanted_any_more_is_put_aside(tmp_path: Path, say: Say, how: str) -> None:
    bench = held_for_answers(tmp_path, say, proven("T1"), proven("T2"), turns=[does("T2")])
    if how == "gone":
        bench.write("TASKS.yaml", json.dumps({"version": 1, "tasks": [proven("T2", status="done")]}))
    else:
        edit_tasks(bench, lambda tasks: tasks["T1"].update(status="cancelled"))
    assert "T1 is closed; its project is kept in lanes/shop.T1.closed-1" in say("run")
    assert json.loads(say("status", "--json"))["lanes"] == []


def test_a_task_that_is_cancelled_at_work_has_spent_what_its_step_did(tmp_path: Path, say: Say) -> None:
    bench = lay(tmp_path, proven("T1"), turns=[does("T1", run=["sleep 60"])])
    say("tick", "--no-wait")
    wait_for((lane(bench, "T1").control_dir / "spent.json").exists, "an agent")
    edit_tasks(bench, lambda tasks: tasks["T1"].update(status="cancelled"))
    assert "T1 is closed" in say("tick", "--no-wait")
    assert bench.control["spending"]["project"]["attempts"] == 1


def test_an_interrupt_reaches_the_tasks_and_so_does_work_by_hand(tmp_path: Path, say: Say) -> None:
    go = tmp_path / "go"
    wait = f"for i in $(seq 600); do test -e {go} && break; sleep 0.1; done"
    bench = lay(tmp_path, proven("T1"), proven("T2", agent="human"), turns=[does("T1", run=[wait])])
    say("tick", "--no-wait")
    one, two = lane(bench, "T1"), lane(bench, "T2")
    wait_for(lambda: any((one.root / "logs").glob("runs/*/prompt.md")), "a step")
    wait_for(lambda: two.where == "WORK_WAITING" and lock_free(two), "work by hand")
    assert "T1 stopped" in say("interrupt", "--now")
    go.touch()
    say("tick")
    assert bench.where == "PAUSE_INTERACT"
    place = Path(next(line for line in say("why", "--project", str(two.root)).split() if line.endswith("/T2")))
    (place / "T2.txt").write_text("T2\n")
    say("continue")
    assert "Handed in: T2" in say("done")
    say("run")
    assert bench.statuses() == {"T1": "done", "T2": "done"}


# What agents propose --------------------------------------------------------------------------------------------------


def proposes(tmp_path: Path, name: str, *new: str, **more: Any) -> dict[str, Any]:
    """A turn that adds the tasks *new* to the plan that its agent sees, and a sentence to the specification."""
    plan, spec = (tmp_path / "shop" / "lanes" / f"shop.{name}" / file for file in ("TASKS.yaml", "SPEC.md"))
    entries = [task(each, "true", blocked_by=[name], extra="kept", notes="an idea") for each in new]
    lines = "\n".join(f"- {json.dumps(entry)}" for entry in entries)
    run = [f"cat >>{plan} <<'END'\n{lines}\nEND", f"echo '{name} was here.' >>{spec}"]
    return does(name, **{"run": run, **more})


def test_what_agents_propose_is_added_to_the_plan_once_and_under_ids_of_its_own(tmp_path: Path, say: Say) -> None:
    turns = [proposes(tmp_path, "T1", "N1", "T2"), proposes(tmp_path, "T2", "N1"), *(does(n) for n in ("N1", "T2-2"))]
    bench = lay(tmp_path, proven("T1"), turns=[*turns, does("N1-2")], attended=False)
    bench.write("TASKS.yaml", PLAN)
    said = say("run")
    assert (bench.where, set(bench.statuses().values())) == ("DONE", {"done"}), said
    assert set(bench.statuses()) == {"T1", "T2", "T2-2", "N1", "N1-2"}
    text = bench.text("TASKS.yaml")
    assert [
        word for word in ("# the plan", "- id: T1   # the first", "# the last", "# the end") if word not in text
    ] == []
    tasks = {each["id"]: each for each in yaml.safe_load(text)["tasks"]}
    assert (tasks["T2-2"]["blocked_by"], tasks["T2-2"]["extra"]) == (["T1"], "kept")
    assert tasks["T2-2"]["notes"] == "an idea\nProposed at work on T1, as T2."
    assert sorted(bench.text("SPEC.md").splitlines()[-2:]) == ["T1 was here.", "T2 was here."] or (
        "T1 was here." in bench.text("SPEC.md") or "T2 was here." in bench.text("SPEC.md")
    )
    assert bench.git("status", "--porcelain") == ""


def test_agents_of_all_tasks_together_may_add_ten(tmp_path: Path, say: Say) -> None:
    first, second = [f"A{n}" for n in range(6)], [f"B{n}" for n in range(6)]
    turns = [proposes(tmp_path, "T1", *first), proposes(tmp_path, "T2", *second), *map(does, (*first, *second))]
    bench = lay(tmp_path, proven("T1"), proven("T2", blocked_by=["T1"]), turns=turns, attended=False)
    edit_tasks(bench, lambda tasks: tasks.clear())
    bench.write("TASKS.yaml", PLAN.replace("title: Two", "title: Two\n    blocked_by: [T1]").replace("One", "One"))
    say("tick", "--no-wait")
    said = say("run")
    assert len(bench.statuses()) == 8, said
    assert "agents may add 10 tasks to a plan" in said
    assert "aiframe accept" in say("why")
    assert "new: B0, B1" in say("accept")
    assert len(bench.statuses()) == 14


def test_the_budget_of_the_project_ends_steps_of_all_tasks_and_they_go_on_when_it_is_raised(
    tmp_path: Path, say: Say
) -> None:
    go = tmp_path / "go"
    wait = f"for i in $(seq 600); do test -e {go} && break; sleep 0.1; done"
    turns = [does("T1", run=[wait]), does("T2", run=[wait])]
    budget = {"budget": {"project": {"tokens": 150}}}
    bench = lay(tmp_path, proven("T1"), proven("T2"), turns=turns, attended=False, **budget)
    said = say("run")
    assert bench.where == "PAUSED", said
    assert "the project's budget of 150 tokens is spent" in said
    lines = json.loads(say("status", "--json"))["lanes"]
    assert {line["waits"]["headline"] for line in lines} == {"It rests with its project"}
    assert set(bench.statuses().values()) <= {"todo", "in_progress"}
    settings = json.loads(bench.text("PROJECT.yaml"))
    bench.write("PROJECT.yaml", json.dumps(settings | {"budget": {"project": {"tokens": 9000}}}))
    go.touch()
    say("resume")
    said = say("run")
    assert bench.where == "DONE", said


# Looking --------------------------------------------------------------------------------------------------------------


def test_a_look_with_nothing_to_do_is_cheap_until_somebody_acts_in_a_lane(tmp_path: Path, say: Say) -> None:
    bench = held_for_answers(tmp_path, say, notify=["json://127.0.0.1:9"])
    assert "question:Q1:T1" in json.loads((bench.control_dir / "notified.json").read_text()), "the person is told, too"
    told = bench.control_dir / "notify.log"
    wait_for(lambda: told.exists() and told.read_text(), "the end of what tells the person, which nobody waits for")
    stamp = bench.control_dir / "idle"
    wait_for(lambda: say("tick") and stamp.exists(), "a stamp")
    before = bench.stamps()
    first = say("tick", "--no-wait")
    assert resting(Layout(bench.root), bench.env, time.time()) is not None
    assert bench.stamps() == before
    assert 'aiframe answer T1/Q1 "..."' in first
    say("answer", "T1/Q1", "yes")
    assert resting(Layout(bench.root), bench.env, time.time()) is None
    say("run")
    assert bench.statuses() == {"T1": "done"}


def test_a_watch_goes_on_with_tasks_side_by_side_and_is_told_of_an_answer(tmp_path: Path, say: Say) -> None:
    turns = [asks("T1", "Go?"), does("T1", attempt=2), does("T2"), does("T3")]
    bench = lay(tmp_path, proven("T1"), proven("T2"), proven("T3", blocked_by=["T2"]), turns=turns)
    said: list[str] = []
    done = threading.Event()
    environ = dict(bench.env)
    watching = threading.Thread(
        target=watch, args=([bench.root].copy, environ),
        kwargs={"interval": 60.0, "parallel": 2, "out": said.append, "stop": done.is_set},
    )  # fmt: skip
    watching.start()
    try:
        wait_for(lambda: bench.statuses()["T3"] == "done" and lane(bench, "T1").root.exists(), "all that needs nobody")
        wait_for(lambda: lane(bench, "T1").where == "QUESTION_WAITING", "the question")
        say("answer", "T1/Q1", "yes")
        wait_for(lambda: bench.statuses()["T1"] == "done", "what was answered")
    finally:
        done.set()
        watching.join()
    assert [line for line in said if "error" in line] == []


def test_tasks_together_have_no_more_attempts_than_the_project(tmp_path: Path, say: Say) -> None:
    """The third is for the second try of one that fails, or for another task: never more than three in all."""
    plan = [proven(name) for name in ("T1", "T2", "T3", "T4")]
    fails = dev("T1", files={"T1.txt": "no\n"})
    turns = [fails, dev("T1", files={"T1.txt": "no\n"}, attempt=2), *map(does, ("T2", "T3", "T4"))]
    budget = {"budget": {"project": {"attempts": 3}}}
    bench = lay(tmp_path, *plan, turns=turns, attended=False, parallel=2, **budget)
    said = say("run")
    assert bench.where == "PAUSED", said
    assert "3 attempts is spent" in said
    assert json.loads(say("status", "--json"))["spent"]["attempts"] == 3
    assert len([event for event in bench.events if event["kind"] == "step_started"]) <= 3
