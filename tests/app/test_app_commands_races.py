"""Commands of a person that meet each other, a step that ends, or what an agent wrote; and debts that must close."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.projects import lay_project, task

from aiframe.app import commands
from aiframe.app.project.advance import advance
from aiframe.app.project.outbox import debt_for, has_debts, settle_debts
from aiframe.app.project.site import Site, open_site
from aiframe.app.project.telling import tell_note
from aiframe.core.events import RunLost
from aiframe.core.machine import Refused
from aiframe.core.model import Moment, Project, Role, Run, Runner, Settings, State
from aiframe.process import now
from aiframe.store.journal import read_events

RUN = Run("run-1", Role.DEV, Moment(1_000.0), 1800, Runner(1, 1.0), task_id="T1")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A project that is ready for its first task, attended."""
    bench = lay_project(tmp_path, task("T1", "true"), state={"state": "DEV_READY", "interactive_mode": True})
    return open_site(bench.root, os.environ)


def save(site: Site, **changes: Any) -> Project:
    """Save as a runner does."""
    with site.store.mutex():
        project = site.store.load().project
        return site.store.save(project.evolve(**changes), now(), expect_generation=project.generation)


def edit(site: Site, **values: object) -> None:
    path = site.layout.state_json
    path.write_text(json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n")


def test_settings_changed_at_once_are_all_kept(site: Site) -> None:
    save(site)
    wanted: list[dict[str, object]] = [
        {"timeout_sec": 61.0},
        {"plan_locked": True},
        {"review_every_n_tasks": 9},
        {"require_confirmations": False},
    ]
    start = threading.Barrier(len(wanted))

    def change(values: dict[str, object]) -> str:
        start.wait(30)
        return commands.set_values(open_site(site.root, os.environ), values)

    with ThreadPoolExecutor(len(wanted)) as pool:
        assert len(list(pool.map(change, wanted))) == len(wanted)
    settings = commands.current_settings(site)
    assert {name: getattr(settings, name) for values in wanted for name in values} == {
        name: value for values in wanted for name, value in values.items()
    }


def test_what_an_agent_wrote_into_state_json_is_not_set_with_a_setting(site: Site) -> None:
    save(site, state=State.RUNNING, run=RUN)
    edit(site, plan_locked=True, interactive_mode=False)
    commands.set_values(site, {"timeout_sec": 61.0})
    settings = site.store.load().project.settings
    assert (settings.timeout_sec, settings.plan_locked, settings.interactive_mode) == (61.0, False, True)
    assert commands.current_settings(site) == settings
    assert "plan_locked" in site.store.load().edits.changed


def test_a_setting_changed_beside_an_edited_state_json_is_no_wish_of_the_agent(site: Site) -> None:
    """STATE.json stays as the agent left it, with the old value: the person's change must not look undone by it."""
    save(site, state=State.RUNNING, run=RUN)
    edit(site, diagnosis="it hung")
    for seconds in (600.0, 900.0):
        commands.set_values(site, {"timeout_sec": seconds, "plan_locked": True})
        assert site.store.load().edits.changed == ("diagnosis",)
    edit(site, timeout_sec=3000)
    edits = site.store.load().edits
    assert edits.changed == ("timeout_sec", "diagnosis")
    assert edits.settings == Settings(timeout_sec=3000, interactive_mode=True, plan_locked=True)
    with site.store.mutex():
        project = site.store.load().project
        site.store.save(project.evolve(state=State.PAUSED, run=None), now(), expect_generation=project.generation)
    edit(site, timeout_sec=1800)
    assert site.store.load().edits.changed == ("timeout_sec",)


def test_an_agent_can_neither_switch_interrupts_off_nor_on(site: Site) -> None:
    save(site, state=State.RUNNING, run=RUN)
    edit(site, interactive_mode=False)
    assert commands.interrupt(site).startswith("Interrupted")
    site.layout.interrupt_flag.unlink()
    commands.set_values(site, {"interactive_mode": False})
    edit(site, interactive_mode=True)
    with pytest.raises(Refused, match="interactive_mode is off"):
        commands.interrupt(site)


def test_what_a_person_wrote_into_state_json_counts_while_nothing_runs(site: Site) -> None:
    save(site)
    edit(site, review_every_n_tasks=8)
    assert commands.current_settings(site).review_every_n_tasks == 8
    commands.set_values(site, {"timeout_sec": 61.0})
    settings = site.store.load().project.settings
    assert (settings.timeout_sec, settings.review_every_n_tasks) == (61.0, 8)


@pytest.mark.parametrize("count", [1, 200, 450])
def test_f28_however_many_events_are_told_once(site: Site, count: int) -> None:
    debts = [tell_note(RUN, number, f"note {number}", 1.0) for number in range(1, count + 1)]
    for _ in range(2):
        settle_debts(site, debts)
        assert not has_debts(site, debts)
    assert len(site.layout.events.read_text().splitlines()) == len(list(read_events(site.layout))) == count


def test_f27_f28_what_is_owed_is_paid_when_the_step_has_ended_whatever_it_made_of_logs(
    site: Site, tmp_path: Path
) -> None:
    owed = tell_note(RUN, 1, "owed", 1.0)
    with site.store.mutex():
        project = site.store.load().project.evolve(state=State.RUNNING, run=RUN)
        site.store.save(project, now(), expect_generation=0, outbox=[owed])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    site.layout.logs.symlink_to(elsewhere)
    commands.pause(site)
    assert list(elsewhere.iterdir()) == []
    site.layout.logs.unlink()
    advance(site, lambda seen: RunLost(RUN.run_id, seen))
    keys = [event["key"] for event in read_events(site.layout)]
    assert keys == [owed["key"], "run-1:step_ended"]


def test_f28_a_form_left_blank_and_asked_again_is_archived_once(site: Site) -> None:
    site.layout.questions.write_text("## Q1 Which?\n")
    asked = Project(state=State.INTAKE_WAITING)
    settle_debts(site, [debt_for(site, "answers", asked, "run-1", 1.0)])
    again = [debt_for(site, "answers", asked, "run-2", 2.0)]
    assert has_debts(site, again)
    for _ in range(2):
        settle_debts(site, again)
        assert not has_debts(site, again)
    assert "## Q1 Which?" in site.layout.answers.read_text()
    assert site.layout.history.read_text().count("## Interview") == 1
