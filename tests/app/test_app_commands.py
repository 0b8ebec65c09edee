"""What a person does, called directly: texts, offers, answers and runners, where a command line adds nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.projects import lay_project, task, wait_for

from aiframe.app import commands, reviewing
from aiframe.app.project import offers
from aiframe.app.project.answers import open_now, write_answers
from aiframe.app.project.intake import blank_form, parse_answers, parse_questions
from aiframe.app.project.site import Site, open_site
from aiframe.app.project.texts import MAX_TEXT, checked_text
from aiframe.app.tick import tick
from aiframe.cli.values import parse_values
from aiframe.core.errors import UsageError
from aiframe.core.machine import Refused
from aiframe.core.model import State, TaskStatus
from aiframe.process import now, signal_runner
from aiframe.process.identity import start_time
from aiframe.store.locks import RunLock
from aiframe.store.tasks_file import load_tasks

TEXTS = st.text(max_size=200)


def site_in(folder: Path, state: str, *tasks: dict[str, object], **fields: object) -> Site:
    bench = lay_project(folder, *tasks, state={"state": state, "interactive_mode": True, **fields})
    return open_site(bench.root, os.environ)


# Runners --------------------------------------------------------------------------------------------------------------


def test_a_signal_reaches_the_very_process_and_no_other() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        try:
            here = now()
            from aiframe.core.model import Runner

            runner = Runner(child.pid, start_time(child.pid) or 0.0, here.boot, here.host)
            strangers = [
                replace(runner, started=runner.started - 5),
                replace(runner, boot="another boot"),
                replace(runner, host="elsewhere"),
                replace(runner, pid=0),
                replace(runner, pid=1),
            ]
            assert [signal_runner(stranger, signal.SIGKILL) for stranger in strangers] == [False] * len(strangers)
            assert child.poll() is None
            assert signal_runner(runner, signal.SIGTERM)
            assert child.wait(timeout=30) == -signal.SIGTERM
            assert not signal_runner(runner, signal.SIGTERM)
        finally:
            child.kill()


def _running(site: Site, pid: int, started: float, *, host: str = "", ago_s: float = 0) -> None:
    """A control record that shows a step of 60 s, begun *ago_s* ago and carried by the process *pid*."""
    here = now()
    here = replace(here, wall=here.wall - ago_s, host=host or here.host)
    if not site.layout.control_json.exists():
        commands.pause(site)
    path = site.layout.control_json
    record = json.loads(path.read_bytes())
    runner = {"pid": pid, "started": started, "boot": here.boot, "host": here.host}
    run = {"run_id": "r1", "role": "DEV", "timeout_s": 60, "runner": runner, "task_id": "T1"}
    run["started"] = {"wall": here.wall, "mono": here.mono, "boot": here.boot, "host": here.host}
    record["project"] |= {"state": "RUNNING", "run": run}
    path.write_text(json.dumps(record))


def test_stop_of_a_step_whose_runner_is_gone_leaves_it_to_the_next_tick(tmp_path: Path) -> None:
    site = site_in(tmp_path, "DEV_READY", task("T1", "true"))
    _running(site, 2**22 - 1, 1.0)
    assert "lost its runner" in commands.stop(site.root, os.environ)
    assert site.store.load(tolerate_unreadable=True).project.pause_requested


def test_stop_takes_over_the_step_of_a_host_that_is_gone_once_its_time_is_over(tmp_path: Path) -> None:
    site = site_in(tmp_path, "DEV_READY", task("T1", "true", status="in_progress"))
    _running(site, 2**22 - 1, 1.0, host="elsewhere")
    with pytest.raises(Refused, match="on the host elsewhere, out of reach"):
        commands.stop(site.root, os.environ)
    _running(site, 2**22 - 1, 1.0, host="elsewhere", ago_s=3600)
    assert "The host elsewhere is given up" in commands.stop(site.root, os.environ)
    tick(site.root, os.environ, wait=True, out=print)
    assert commands.state_of(site) is State.PAUSED
    assert load_tasks(site.layout.tasks_yaml).tasks[0].status is TaskStatus.TODO


def test_stop_does_not_hit_a_process_that_merely_has_the_number(tmp_path: Path) -> None:
    site = site_in(tmp_path, "DEV_READY", task("T1", "true"))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        try:
            _running(site, bystander.pid, 1.0)
            lock = RunLock.try_take(site.layout)
            assert lock is not None
            from aiframe.core.errors import StepError

            with pytest.raises(StepError, match="does not end"):
                commands.stop(site.root, os.environ)
            lock.close_here()
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_stop_without_a_pause_where_nothing_runs_changes_nothing(tmp_path: Path) -> None:
    site = site_in(tmp_path, "DEV_READY")
    assert commands.stop(site.root, os.environ, then_pause=False) == "No step is running"
    assert commands.state_of(site) is State.DEV_READY


# Hand edits -----------------------------------------------------------------------------------------------------------


def test_a_command_sees_the_state_that_a_person_wrote(tmp_path: Path) -> None:
    site = site_in(tmp_path, "DEV_READY", task("T1", "true"))
    commands.pause(site)
    state = json.loads(site.layout.state_json.read_text())
    site.layout.state_json.write_text(json.dumps({**state, "state": "REVIEW_WAITING"}))
    assert reviewing.approve(site) == "Approved"
    assert site.layout.approval.read_text() == "approved\n"


def test_a_rejection_of_one_task_says_which_others_it_lets_through(tmp_path: Path) -> None:
    site = site_in(tmp_path, "REVIEW_WAITING", *(task(name, "true", status="review") for name in ("T1", "T2", "T3")))
    said = reviewing.reject(site, "greener", ["T2"])
    assert said == "Rejected: T2 will go back with your notes; T1, T3 will be taken as looked at"
    assert reviewing.reject(site, "all of it").endswith("with your notes")


# Texts ----------------------------------------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_a_text_is_taken_whole_or_refused(text: str) -> None:
    try:
        taken = checked_text(text, "the note")
    except UsageError:
        return
    assert taken.encode()
    assert taken == text.replace("\r\n", "\n").replace("\r", "\n").strip() != ""


@pytest.mark.parametrize("text", ["", " \n ", "a\0b", "caf\udce9", "x" * (MAX_TEXT + 1)], ids=range(5))
def test_what_is_no_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked_text(text, "the note")
    assert caught.value.hint


@given(
    st.sampled_from(["plan_locked", "timeout_sec", "review_every_n_tasks", "interactive_mode"]), st.text(max_size=12)
)
def test_a_setting_that_is_taken_is_one_that_state_json_may_hold(name: str, text: str) -> None:
    from aiframe.store.state_file import parse_state

    try:
        values = parse_values([f"{name}={text}"])
    except UsageError:
        return
    parsed = parse_state(Path("STATE.json"), json.dumps(values).encode())
    assert getattr(parsed.settings, name) == values[name]


# Answers --------------------------------------------------------------------------------------------------------------

QUESTIONS = "## Q1 One\n\nfirst?\n\n## Q2 Two\n\nsecond?\n"


@given(
    st.dictionaries(
        st.sampled_from(["Q1", "Q2"]), st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=80)
    )
)
def test_given_answers_are_read_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, given_answers: dict[str, str]
) -> None:
    wanted = {name: text for name, text in given_answers.items() if text.strip() and not text.lstrip().startswith("#")}
    site = site_in(tmp_path_factory.mktemp("interview"), "INTAKE_WAITING")
    site.layout.questions.write_text(QUESTIONS)
    questions = parse_questions(QUESTIONS)
    site.layout.answers.write_text(blank_form(questions))
    write_answers(site, wanted)
    # A line that is part of the form itself, or its box, cannot be told from the form.
    read = dict(parse_answers(site.layout.answers.read_text(), questions).answers)
    plain = {
        name: text.strip() for name, text in wanted.items() if not text.strip().startswith((">", "-", "*", "[", "+"))
    }
    assert {name: read.get(name) for name in plain} == plain
    assert [one.id for one in open_now(site) if one.id in plain] == []


def test_answers_out_of_an_interview_are_refused(tmp_path: Path) -> None:
    site = site_in(tmp_path, "DEV_READY")
    with pytest.raises(Refused):
        write_answers(site, {"Q1": "x"})
    assert open_now(site) == ()


# Offers ---------------------------------------------------------------------------------------------------------------


def test_what_a_person_added_meanwhile_is_named_as_gone_and_kept(tmp_path: Path) -> None:
    site = site_in(tmp_path, "DEV_READY", task("T1", "true"), task("MINE", "true"))
    site.layout.offered_tasks.parent.mkdir(parents=True)
    site.layout.offered_tasks.write_text("tasks:\n- {id: T1, title: T1, verify: [make]}\n")
    mine = site.layout.tasks_yaml.read_bytes()
    assert "-  - " in offers.offered_difference(site)
    assert offers.accept(site) == "Accepted: changed: T1; gone: MINE"
    kept = [path.read_bytes() for path in site.layout.quarantine_dir.glob("TASKS.yaml.*")]
    assert mine in kept


def test_two_notes_at_once_are_both_there(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, state="DEV_READY")
    argv = [bench.argv("note", f"note {number}", "--project", str(bench.root)) for number in range(4)]
    writers = [subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL) for words in argv]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    told = wait_for(lambda: bench.text("notes/interaction_notes.md"), "notes")
    assert sorted(line.rpartition(": ")[2] for line in told.splitlines()) == [f"note {number}" for number in range(4)]
