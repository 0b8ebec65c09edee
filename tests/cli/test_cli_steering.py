"""Each command that a person steers a project with, in each state that matters: what it says, and where it leads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.projects import Bench, dev, lay_project, play, task

READY = ("INTAKE_READY", "SPEC_READY", "DEV_READY", "REVIEW_READY")
WAITING = ("INTAKE_WAITING", "REVIEW_WAITING", "QUESTION_WAITING")


def in_state(folder: Path, state: str, *, interactive: bool = True, **fields: object) -> Bench:
    """A project in *state*, with one open task and one done."""
    tasks = (task("T1", "true", status="done"), task("T2", "true"))
    return lay_project(folder, *tasks, state={"state": state, "interactive_mode": interactive, **fields})


# Where a command leads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "words", "after", "says"),
    [
        *(pytest.param(s, ["pause"], "PAUSED", f"Paused in {s}", id=f"pause {s}") for s in READY + WAITING),
        pytest.param("PAUSE_INTERACT", ["pause"], "PAUSED", "Paused in PAUSE_INTERACT", id="pause a talk"),
        pytest.param("PAUSED", ["pause"], "PAUSED", "paused already", id="pause twice"),
        pytest.param("PAUSED", ["resume"], "DEV_READY", "PAUSED is over: the project is in DEV_READY", id="resume"),
        pytest.param("PAUSED", ["continue"], "DEV_READY", "PAUSED is over", id="continue a pause"),
        pytest.param("PAUSE_INTERACT", ["continue"], "DEV_READY", "PAUSE_INTERACT is over", id="continue"),
        pytest.param("PAUSE_INTERACT", ["resume"], "DEV_READY", "PAUSE_INTERACT is over", id="resume a talk"),
        pytest.param("ERROR", ["resume"], "DEV_READY", "ERROR is over", id="resume an error"),
        pytest.param("ERROR", ["retry"], "DEV_READY", "ERROR is over", id="retry an error"),
        pytest.param("ERROR", ["retry", "T2"], "DEV_READY", "T2", id="retry a task"),
        pytest.param("DONE", ["resume"], "DEV_READY", "DONE is over", id="resume the end"),
        pytest.param("DEV_READY", ["resume", "--now"], "DEV_READY", "wait is cut short", id="cut a wait short"),
        pytest.param("DEV_READY", ["replan"], "SPEC_READY", "The plan is open again", id="replan"),
        pytest.param("ERROR", ["replan"], "SPEC_READY", "The plan is open again", id="replan after an error"),
        pytest.param("DEV_READY", ["interrupt"], "DEV_READY", "Interrupted", id="interrupt"),
        pytest.param("PAUSE_INTERACT", ["interrupt"], "PAUSE_INTERACT", "already", id="interrupt twice"),
        pytest.param(
            "DEV_READY", ["stop"], "PAUSED", "No step is running; paused in DEV_READY", id="stop: nothing runs"
        ),
        pytest.param("PAUSED", ["stop"], "PAUSED", "No step is running; it was paused already", id="stop a pause"),
        *(
            pytest.param(s, ["stop"], s, f"No step is running, and none starts: the project is in {s}", id=f"stop {s}")
            for s in ("DONE", "ERROR", "WEIRD")
        ),
        pytest.param("REVIEW_WAITING", ["approve"], "REVIEW_WAITING", "Approved", id="approve"),
        pytest.param("REVIEW_READY", ["approve"], "REVIEW_WAITING", "Approved", id="approve early"),
        pytest.param("REVIEW_READY", ["reject", "--notes", "no"], "REVIEW_WAITING", "Rejected", id="reject early"),
        pytest.param("REVIEW_WAITING", ["reject", "--notes", "no"], "REVIEW_WAITING", "Rejected", id="reject"),
        pytest.param("INTAKE_WAITING", ["answer", "--done"], "INTAKE_WAITING", "as they are", id="answers done"),
        pytest.param("DEV_READY", ["set", "plan_locked=on"], "DEV_READY", "Set plan_locked to true", id="set"),
    ],
)
def test_where_a_command_leads(tmp_path: Path, state: str, words: list[str], after: str, says: str) -> None:
    bench = in_state(tmp_path, state)
    ended = bench.do(*words)
    assert (ended.code, ended.err) == (0, "")
    assert says in ended.out
    assert len(ended.out.splitlines()) == 1
    assert bench.where == after


@pytest.mark.parametrize(
    ("state", "words"),
    [
        *(pytest.param(s, ["pause"], id=f"pause {s}") for s in ("DONE", "ERROR", "WEIRD")),
        *(pytest.param(s, ["resume"], id=f"resume {s}") for s in READY + WAITING + ("WEIRD",)),
        *(pytest.param(s, ["continue"], id=f"continue {s}") for s in READY),
        *(pytest.param(s, ["interrupt"], id=f"interrupt {s}") for s in ("DONE", "ERROR", "PAUSED", "WEIRD")),
        *(pytest.param(s, ["approve"], id=f"approve {s}") for s in ("DEV_READY", "PAUSED", "DONE", "ERROR")),
        *(pytest.param(s, ["reject", "--notes", "x"], id=f"reject {s}") for s in ("DEV_READY", "PAUSED", "DONE")),
        *(pytest.param(s, ["answer", "--done"], id=f"answers {s}") for s in ("INTAKE_READY", "DEV_READY", "DONE")),
        pytest.param("DEV_READY", ["retry"], id="retry nothing"),
        pytest.param("REVIEW_WAITING", ["reject", "--notes", "x", "--task", "T9"], id="reject no task"),
    ],
)
def test_a_command_that_does_not_fit_changes_nothing(tmp_path: Path, state: str, words: list[str]) -> None:
    bench = in_state(tmp_path, state)
    before = bench.text("STATE.json"), bench.text("TASKS.yaml")
    ended = bench.do(*words)
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert "  cure: " in ended.err
    assert (bench.text("STATE.json"), bench.text("TASKS.yaml")) == before
    assert not (bench.root / "notes").exists()


@pytest.mark.parametrize(
    "words",
    [["resume"], ["continue"], ["replan"], ["set", "plan_locked=true"], ["set", "timeout_sec=5"], ["note", "hello"]],
    ids=" ".join,
)
def test_a_folder_of_the_original_may_meet_any_command_first(tmp_path: Path, words: list[str]) -> None:
    bench = lay_project(tmp_path, state="PAUSED")
    assert bench.do(*words).code == 0
    bench.do("pause")
    assert bench.tick().err == ""
    assert bench.git("rev-parse", "--is-inside-work-tree") == "true"


@pytest.mark.parametrize("state", [*READY, *WAITING, "PAUSED", "PAUSE_INTERACT", "DONE", "ERROR", "WEIRD"])
def test_looking_works_in_every_state_and_writes_nothing(tmp_path: Path, state: str) -> None:
    bench = in_state(tmp_path, state)
    before = bench.stamps()
    for words in (["status"], ["status", "--json"], ["why"], ["events"], ["set"], ["answer"]):
        ended = bench.do(*words)
        assert (ended.code, ended.err) == (0, ""), words
    assert state in bench.do("status").out
    assert bench.stamps() == before


# What follows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "typed"),
    [
        pytest.param(True, "Next: aiframe resume --project shop\n", id="by name"),
        pytest.param(False, "Next: aiframe resume\n", id="from inside"),
    ],
)
def test_what_is_next_is_said_as_it_is_typed_here(tmp_path: Path, named: bool, typed: str) -> None:
    (tmp_path / "prompts").mkdir()
    bench = in_state(tmp_path / "projects", "DEV_READY")
    words = ["pause", "--project", "shop"] if named else ["pause"]
    ended = bench.run(*words, cwd=tmp_path if named else bench.root)
    assert typed in ended.out


def test_an_interrupt_is_taken_back_by_continue(tmp_path: Path) -> None:
    bench = in_state(tmp_path, "DEV_READY")
    assert bench.do("interrupt").code == 0
    assert (bench.root / "notes/interrupt.flag").exists()
    assert "taken back" in bench.do("continue").out
    assert not (bench.root / "notes/interrupt.flag").exists()
    assert bench.where == "DEV_READY"


def test_an_interrupt_holds_until_continue(tmp_path: Path) -> None:
    bench = in_state(tmp_path, "DEV_READY")
    bench.do("interrupt")
    assert bench.tick().code == 0
    assert bench.where == "PAUSE_INTERACT"
    assert bench.do("continue").code == 0
    assert bench.where == "DEV_READY"
    assert not (bench.root / "notes/interrupt.flag").exists()


def test_an_interrupt_that_nobody_would_look_for_is_refused(tmp_path: Path) -> None:
    ended = in_state(tmp_path, "DEV_READY", interactive=False).do("interrupt")
    assert ended.code == 2
    assert "aiframe pause" in ended.err


def test_retry_gives_failed_tasks_back(tmp_path: Path) -> None:
    tasks = [task("T1", "true", status="failed"), task("T2", "true", status="failed"), task("T3", "true")]
    bench = lay_project(tmp_path, *tasks, state={"state": "ERROR"})
    assert "T1, T2" in bench.do("retry").out
    assert bench.statuses() == {"T1": "todo", "T2": "todo", "T3": "todo"}


def test_retry_of_a_task_that_is_done_is_refused(tmp_path: Path) -> None:
    """It would be paid for, and land, once more."""
    bench = lay_project(tmp_path, task("T1", "true", status="done"), state={"state": "DONE"})
    ended = bench.do("retry", "T1")
    assert ended.code == 2
    assert "aiframe undo T1" in ended.err
    assert bench.statuses() == {"T1": "done"}


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        pytest.param("interactive_mode=false", "interactive_mode", False, id="off"),
        pytest.param("plan_locked=YES", "plan_locked", True, id="yes"),
        pytest.param("require_confirmations=0", "require_confirmations", False, id="nought"),
        pytest.param("review_every_n_tasks=0", "review_every_n_tasks", 0, id="no review"),
        pytest.param("timeout_sec=3600", "timeout_sec", 3600, id="seconds"),
        pytest.param("timeout_sec=0.5", "timeout_sec", 0.5, id="half a second"),
        pytest.param(" timeout_sec = 60 ", "timeout_sec", 60, id="blanks"),
    ],
)
def test_a_setting_is_written_into_state_json(tmp_path: Path, word: str, name: str, value: object) -> None:
    bench = in_state(tmp_path, "DEV_READY")
    assert bench.do("set", word).code == 0
    assert bench.state[name] == value
    assert f"{name}={json.dumps(value)}" in bench.do("set").out


def test_several_settings_at_once_are_taken_all_or_none(tmp_path: Path) -> None:
    bench = in_state(tmp_path, "DEV_READY")
    assert bench.do("set", "plan_locked=true", "timeout_sec=never").code == 2
    assert "plan_locked" not in bench.state
    assert bench.do("set", "plan_locked=true", "timeout_sec=9").code == 0
    assert (bench.state["plan_locked"], bench.state["timeout_sec"]) == (True, 9)


def test_a_hand_edited_setting_is_not_lost_by_set(tmp_path: Path) -> None:
    bench = in_state(tmp_path, "DEV_READY")
    bench.do("set", "plan_locked=true")
    bench.edit_state(timeout_sec=77)
    assert bench.do("set", "review_every_n_tasks=2").code == 0
    assert (bench.state["timeout_sec"], bench.state["review_every_n_tasks"], bench.state["plan_locked"]) == (
        77,
        2,
        True,
    )


# Reviews --------------------------------------------------------------------------------------------------------------


def test_an_approval_is_a_note_that_the_next_tick_takes(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", status="review"), state={"state": "REVIEW_WAITING"})
    assert bench.do("approve", "--notes", "well done").code == 0
    assert bench.text("notes/review_approval.md") == "well done\n"
    assert bench.tick().code == 0
    assert bench.where == "DONE"
    assert bench.statuses() == {"T1": "done"}


@pytest.mark.parametrize("state", ["REVIEW_READY", "REVIEW_WAITING"])
def test_an_approval_counts_from_when_the_review_is_due(tmp_path: Path, state: str) -> None:
    bench = lay_project(tmp_path, task("T1", status="review"), state={"state": state})
    bench.write("notes/review_approval.md", "said of another review\n" if state == "REVIEW_READY" else "")
    assert bench.do("approve").code == 0
    assert bench.text("notes/review_approval.md") == "approved\n"
    bench.tick()
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"})


def test_words_said_twice_are_all_kept(tmp_path: Path) -> None:
    bench = in_state(tmp_path, "REVIEW_WAITING")
    for words in (["--notes", "fine"], [], ["--notes", "very fine"]):
        assert bench.do("approve", *words).code == 0
    assert bench.text("notes/review_approval.md") == "fine\n\nvery fine\n"
    (bench.root / "notes/review_approval.md").unlink()
    for words in (["--notes", "no", "--task", "T1"], ["--notes", "and no", "--task", "T2"]):
        assert bench.do("reject", *words).code == 0
    bench.tick()
    assert bench.control["requests"].keys() == {"T1", "T2"}
    assert all(text in bench.control["requests"]["T1"] for text in ("no", "and no"))


def test_a_rejection_sends_the_named_tasks_back(tmp_path: Path) -> None:
    tasks = [
        task("T1", status="done"),
        task("T2", "true", status="done", blocked_by=["T3"]),
        task("T3", status="blocked"),
    ]
    bench = lay_project(tmp_path, *tasks, state={"state": "REVIEW_WAITING", "review_items": ["T1", "T2"]})
    assert "T2 will go back" in bench.do("reject", "--notes", "totals are wrong", "--task", "T2").out
    assert bench.text("notes/review_rejection.md") == "totals are wrong\n\ntasks: T2\n"
    bench.tick()
    assert bench.statuses() == {"T1": "done", "T2": "todo", "T3": "blocked"}
    assert "totals are wrong" in bench.control["requests"]["T2"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(["approve"], ["reject", "--notes", "no"], id="no after yes"),
        pytest.param(["reject", "--notes", "no"], ["approve"], id="yes after no"),
    ],
)
def test_two_minds_are_not_guessed_at(tmp_path: Path, first: list[str], second: list[str]) -> None:
    bench = in_state(tmp_path, "REVIEW_WAITING")
    assert bench.do(*first).code == 0
    ended = bench.do(*second)
    assert ended.code == 2
    assert "delete notes/review_" in ended.err


@pytest.mark.parametrize(
    ("state", "blocked", "words"),
    [
        pytest.param("PAUSE_INTERACT", "notes/interrupt.flag", ["continue"], id="the flag is a folder"),
        pytest.param("REVIEW_WAITING", "notes/review_approval.md", ["approve"], id="the approval is a folder"),
        pytest.param("REVIEW_WAITING", "notes/reviews/approval-000001.md", ["tick"], id="its place is taken"),
        pytest.param("DEV_READY", ".git/aiframe/offered/dealt-with", ["accept", "--discard"], id="the list"),
    ],
)
def test_what_the_disk_refuses_is_told_with_a_cure(tmp_path: Path, state: str, blocked: str, words: list[str]) -> None:
    bench = in_state(tmp_path, state)
    if words == ["tick"]:
        bench.write("notes/review_approval.md", "yes")
        play(bench, [dev("T2")])
    if words[0] == "accept":
        offer(bench, task("T9", "true"))
    (bench.root / blocked / "in the way").mkdir(parents=True)
    ended = bench.do(*words)
    assert ended.code in (1, 2)
    assert "error: " in ended.said
    assert "cure: " in ended.said
    told = ended.said + bench.text(".git/aiframe/runner.log")
    assert not [word for word in ("Traceback", "fault") if word in told]
    assert bench.where == state or words == ["tick"]
    shutil.rmtree(bench.root / blocked)
    assert bench.do(*words).code == 0


# Notes ----------------------------------------------------------------------------------------------------------------


def test_notes_are_added_and_nothing_is_lost(tmp_path: Path) -> None:
    bench = in_state(tmp_path, "DEV_READY")
    bench.write("notes/interaction_notes.md", "mine, without an end of line")
    for text in ("first", "second\nin two lines", "dritte, mit Ümlaut"):
        assert bench.do("note", text).code == 0
    lines = bench.text("notes/interaction_notes.md").splitlines()
    assert lines[0] == "mine, without an end of line"
    assert [line.split(": ", 1)[1] for line in lines if " UTC: " in line] == ["first", "second", "dritte, mit Ümlaut"]
    assert "  in two lines" in lines


# Offered task changes -------------------------------------------------------------------------------------------------


def offer(bench: Bench, *tasks: dict[str, object]) -> None:
    from support.projects import tasks_yaml

    bench.write(".git/aiframe/offered/TASKS.yaml", tasks_yaml(*tasks))


def test_an_offer_is_shown_then_taken_with_the_statuses_of_now(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true", status="done"), task("T2", "true"))
    offer(bench, task("T1", "true"), task("T2", "make check"), task("T3", "true"))
    shown = bench.do("accept", "--diff")
    assert shown.code == 0
    assert "make check" in shown.out
    assert "make check" not in bench.text("TASKS.yaml")
    for words in (["status"], ["why"]):
        assert f"aiframe accept --diff --project {bench.root} (shows the changes to TASKS.yaml" in bench.do(*words).out
    taken = bench.do("accept")
    assert "changed: T2; new: T3" in taken.out
    assert bench.statuses() == {"T1": "done", "T2": "todo", "T3": "todo"}
    assert "make check" in bench.text("TASKS.yaml")
    assert any(name.startswith("TASKS.yaml.") for name in bench.quarantined())
    assert bench.do("accept").code == 2


def test_an_offer_can_be_dropped(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"))
    before = bench.text("TASKS.yaml")
    offer(bench, task("T9", "true"))
    assert bench.do("accept", "--discard").code == 0
    assert bench.text("TASKS.yaml") == before
    assert bench.do("accept").code == 2
    assert any(name.startswith("TASKS.yaml.") for name in bench.quarantined())


def test_a_broken_offer_is_told_and_changes_nothing(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"))
    before = bench.text("TASKS.yaml")
    bench.write(".git/aiframe/offered/TASKS.yaml", "tasks: [{id: 'a b'}]\n")
    ended = bench.do("accept")
    assert ended.code == 2
    assert "TASKS.yaml:1" in ended.err
    assert bench.text("TASKS.yaml") == before
