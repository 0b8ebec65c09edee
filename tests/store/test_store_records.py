"""aiframe's own records while a step runs: what the step changed is put back, what a person did stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiframe.core.model import Moment, Project, Role, Run, Runner, State
from aiframe.store.control import bring_back, good_control, hold_records, read_control
from aiframe.store.layout import Layout
from aiframe.store.project_store import ProjectStore
from aiframe.store.quarantine import remember_good

RUN = Run("r1", Role.DEV, Moment(90.0), 1800, Runner(1, 2.0))


@pytest.fixture
def store(tmp_path: Path) -> ProjectStore:
    """A project whose step runs, with a last good copy of its tasks."""
    store = ProjectStore(Layout(tmp_path))
    put(store, state=State.DEV_READY)
    put(store, state=State.RUNNING, run=RUN)
    remember_good(store.layout, "TASKS.yaml", b"tasks: []\n")
    return store


def put(store: ProjectStore, at: float = 100.0, **changes: Any) -> Project:
    """Save as a command of a person does while a step runs: a foreign STATE.json stays."""
    with store.mutex():
        project = store.load(tolerate_unreadable=True).project
        return store.save(
            project.evolve(**changes), Moment(at), expect_generation=project.generation, keep_foreign_state=True
        )


def forge(path: Path, generation: int = 0, **values: object) -> None:
    """Edit a control record in place, its generation moved by *generation*."""
    record = json.loads(path.read_bytes())
    record["project"] |= {**values, "generation": record["project"]["generation"] + generation}
    path.write_text(json.dumps(record))


def edit(store: ProjectStore, **values: object) -> None:
    """Write into STATE.json as an agent or a person does."""
    path = store.layout.state_json
    path.write_text(json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n")


FORGERIES: list[Any] = [
    pytest.param(lambda path: forge(path, attempts={}, interviews=9), id="the same generation"),
    pytest.param(lambda path: forge(path, -1), id="an older generation"),
    pytest.param(lambda path: path.write_bytes(b"{"), id="no record"),
    pytest.param(lambda path: path.unlink(), id="removed"),
    pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a folder"),
    pytest.param(lambda path: (path.unlink(), path.symlink_to("nowhere")), id="a link to nowhere"),
]


@pytest.mark.parametrize("forged", FORGERIES)
@pytest.mark.parametrize("second", [False, True], ids=["control.json", "its second copy"])
def test_a_record_that_a_step_changed_comes_back(
    store: ProjectStore, forged: Callable[[Path], object], second: bool
) -> None:
    path = good_control(store.layout) if second else store.layout.control_json
    held = hold_records(store.layout)
    forged(path)
    assert bring_back(store.layout, held) == (path.name,)
    assert path.read_bytes() == held[path]
    assert bring_back(store.layout, held) == ()


def test_a_command_of_a_person_stays(store: ProjectStore) -> None:
    held = hold_records(store.layout)
    paused = put(store, pause_requested=True)
    assert bring_back(store.layout, held) == ()
    record = read_control(store.layout)
    assert record is not None
    assert record.project == paused


def test_a_last_good_copy_that_a_step_changed_comes_back(store: ProjectStore) -> None:
    held = hold_records(store.layout)
    tasks, state = (store.layout.last_good_dir / name for name in ("TASKS.yaml", "STATE.json"))
    tasks.write_bytes(b"tasks: [] # mine\n")
    state.write_bytes(b"{}\n")
    assert bring_back(store.layout, held) == ("TASKS.yaml",)
    assert (tasks.read_bytes(), state.read_bytes()) == (b"tasks: []\n", b"{}\n")


def test_what_a_writer_has_not_yet_finished_is_no_record(store: ProjectStore) -> None:
    unfinished = store.layout.last_good_dir / ".aiframe-TASKS.yaml.4711.abcdef.tmp"
    unfinished.write_bytes(b"tas")
    held = hold_records(store.layout)
    unfinished.unlink()
    assert bring_back(store.layout, held) == ()
    assert not unfinished.exists()


def test_what_was_written_into_state_json_outlives_a_command(store: ProjectStore) -> None:
    edit(store, state="SPEC_READY", timeout_sec=77)
    written = store.layout.state_json.read_bytes()
    for _ in range(2):
        assert put(store, pause_requested=True).pause_requested
        loaded = store.load()
        assert not loaded.stale
        assert loaded.edits.changed == ("state", "timeout_sec")
    assert store.layout.state_json.read_bytes() == written
    assert not store.layout.quarantine_dir.exists()


def test_an_unreadable_state_json_outlives_a_command(store: ProjectStore) -> None:
    store.layout.state_json.write_bytes(b"{")
    put(store, pause_requested=True)
    assert store.layout.state_json.read_bytes() == b"{"
    assert store.load(tolerate_unreadable=True).unreadable is not None


def test_a_state_json_left_by_a_crash_is_mended_by_a_command_and_is_no_edit(store: ProjectStore) -> None:
    control, state = store.layout.control_json, store.layout.state_json
    left = state.stat()
    before = state.read_bytes()
    put(store, at=200.0, pause_requested=True, last_error="another")
    record = json.loads(control.read_bytes())
    state.write_bytes(before)
    record["previous_mtime_ns"] = state.stat().st_mtime_ns
    control.write_text(json.dumps(record))
    assert left.st_size == state.stat().st_size
    assert store.load().stale
    put(store, answers_done=True)
    loaded = store.load()
    assert (loaded.stale, bool(loaded.edits)) == (False, False)
    assert loaded.state_file is not None
    assert loaded.state_file.raw["last_error"] == "another"
