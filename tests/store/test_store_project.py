"""A project as a whole: loaded, edited by hand, saved, broken and mended."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from aiframe.core.errors import UnreadableFile
from aiframe.core.model import Moment, Project, Role, Run, Runner, State
from aiframe.store.layout import Layout
from aiframe.store.project_store import Loaded, ProjectStore, StaleRecord

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
RUN = Run("r1", Role.DEV, Moment(90.0), 1800, Runner(1, 2.0))


@pytest.fixture
def store(tmp_path: Path) -> ProjectStore:
    return ProjectStore(Layout(tmp_path))


def put(store: ProjectStore, at: float = 100.0, **changes: Any) -> Project:
    with store.mutex():
        project = store.load().project
        return store.save(project.evolve(**changes), Moment(at), expect_generation=project.generation)


def edit(store: ProjectStore, **values: object) -> None:
    path = store.layout.state_json
    path.write_text(json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n")


def shown(store: ProjectStore) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(store.layout.state_json.read_text())
    return values


def quarantined(store: ProjectStore) -> list[bytes]:
    folder = store.layout.quarantine_dir
    return [path.read_bytes() for path in sorted(folder.glob("*")) if path.suffix != ".why"] if folder.exists() else []


def test_a_folder_without_files_is_a_new_project_and_stays_as_it_is(store: ProjectStore) -> None:
    assert store.load() == Loaded(Project(), store.load().edits, None, missing_state=True)
    assert os.listdir(store.layout.root) == []


def test_saved_is_loaded(store: ProjectStore) -> None:
    saved = put(store, state=State.RUNNING, run=RUN)
    assert saved.generation == 1
    loaded = store.load()
    assert loaded.project == saved
    assert (loaded.legacy, loaded.missing_state, loaded.stale, bool(loaded.edits)) == (False, False, False, False)
    assert shown(store)["run_id"] == "r1"
    assert shown(store)["heartbeat_at"] == 100


def test_f13_a_stale_save_writes_nothing(store: ProjectStore) -> None:
    saved = put(store, state=State.DEV_READY)
    before = store.layout.state_json.read_bytes(), store.layout.control_json.read_bytes()
    with pytest.raises(StaleRecord) as caught:
        store.save(saved.evolve(state=State.DONE), Moment(1), expect_generation=0)
    assert caught.value.hint
    assert (store.layout.state_json.read_bytes(), store.layout.control_json.read_bytes()) == before


def test_edits_by_hand_are_seen_until_they_are_saved(store: ProjectStore) -> None:
    put(store, state=State.INTAKE_READY)
    edit(store, state="DEV_READY", mine={"a": [1]}, interactive_mode=False)
    edits = store.load().edits
    assert (edits.state, edits.changed) == (State.DEV_READY, ("state", "interactive_mode"))
    put(store, state=State.DEV_READY, settings=edits.settings)
    assert not store.load().edits
    assert shown(store)["mine"] == {"a": [1]}
    assert quarantined(store) == []


def test_an_edit_between_load_and_save_is_kept(store: ProjectStore) -> None:
    project = put(store)
    store.load()
    edit(store, diagnosis="a person's words")
    store.save(project, Moment(1), expect_generation=1)
    assert len(quarantined(store)) == 1
    assert b"a person's words" in quarantined(store)[0]


def test_a_project_of_the_original(store: ProjectStore) -> None:
    shutil.copy(FIXTURES / "STATE.original.json", store.layout.state_json)
    (store.layout.root / ".agent_lock").mkdir()
    loaded = store.load()
    assert loaded.legacy
    assert loaded.project.run is not None
    assert sorted(os.listdir(store.layout.root)) == [".agent_lock", "STATE.json"]
    put(store, state=State.DEV_READY, run=None)
    values = shown(store)
    assert list(values)[:5] == ["state", "role", "next", "lock", "run_id"]
    assert (values["next"], values["lock"], values["auto_run"]) == ("DEV_READY", ".agent_lock", False)
    assert not store.load().legacy


@pytest.mark.parametrize("content", [b"", b"{", b'{"state": 1}', b"\xff", b"\0\0\0"])
def test_f15_an_unreadable_state_is_never_lost(store: ProjectStore, content: bytes) -> None:
    project = put(store, state=State.DEV_READY)
    store.layout.state_json.write_bytes(content)
    with pytest.raises(UnreadableFile):
        store.load()
    assert store.layout.state_json.read_bytes() == content
    loaded = store.load(tolerate_unreadable=True)
    assert loaded.project == project
    assert loaded.unreadable is not None
    with store.mutex():
        store.save(project, Moment(2), expect_generation=1)
    assert quarantined(store) == [content]
    assert store.load().project == project.evolve(generation=2)


def test_f15_without_a_control_record_an_unreadable_state_stops_everything(store: ProjectStore) -> None:
    store.layout.state_json.write_bytes(b"{")
    with pytest.raises(UnreadableFile):
        store.load(tolerate_unreadable=True)
    assert os.listdir(store.layout.root) == ["STATE.json"]


def test_f12_unknown_fields_come_back_after_an_agent_broke_the_file(store: ProjectStore) -> None:
    put(store)
    edit(store, mine=1)
    project = put(store)
    store.layout.state_json.unlink()
    os.mkfifo(store.layout.state_json)
    with store.mutex():
        store.save(project, Moment(3), expect_generation=2)
    assert shown(store)["mine"] == 1


def test_f27_the_project_goes_on_without_its_state_file(store: ProjectStore) -> None:
    project = put(store, state=State.RUNNING, run=RUN)
    store.layout.state_json.unlink()
    loaded = store.load()
    assert loaded.missing_state
    assert loaded.project == project
    put(store)
    assert shown(store)["state"] == "RUNNING"


@pytest.mark.parametrize("damage", ["remove", "break", "zeros"])
def test_f14_a_lost_control_record_comes_back(store: ProjectStore, damage: str) -> None:
    project = put(store, state=State.DEV_READY, streaks={"transient": 3})
    control = store.layout.control_json
    if damage == "remove":
        control.unlink()
    else:
        control.write_bytes(b"{" if damage == "break" else b"\0" * 99)
    loaded = store.load()
    assert loaded.project == project
    assert not loaded.edits
    put(store)
    assert json.loads(control.read_text())["project"]["generation"] == 2
    assert len(quarantined(store)) == (damage != "remove")


def test_two_broken_control_records_name_the_cure(store: ProjectStore) -> None:
    put(store)
    for name in ("control.json", "control.json.good"):
        (store.layout.control_dir / name).write_bytes(b"{")
    with pytest.raises(UnreadableFile) as caught:
        store.load()
    assert "control.json.good" in caught.value.hint
    for name in ("control.json", "control.json.good"):
        (store.layout.control_dir / name).unlink()
    assert store.load().legacy


def crash_between_the_files(store: ProjectStore, **changes: Any) -> Project:
    """Save, and put back the STATE.json from before, as a crash between the two writes leaves it."""
    path = store.layout.state_json
    kept = path.with_name("kept")
    os.link(path, kept)
    saved = put(store, **changes)
    os.rename(kept, path)
    return saved


def test_f28_a_crash_between_control_record_and_state_is_no_edit(store: ProjectStore) -> None:
    put(store, state=State.DEV_READY)
    saved = crash_between_the_files(store, state=State.RUNNING, run=RUN)
    loaded = store.load()
    assert loaded.project == saved
    assert loaded.stale
    assert not loaded.edits
    put(store)
    assert shown(store)["state"] == "RUNNING"
    assert not store.load().stale


def test_f28_a_crash_after_an_edit_was_taken_does_not_take_it_twice(store: ProjectStore) -> None:
    put(store, state=State.INTAKE_READY)
    edit(store, state="SPEC_READY")
    crash_between_the_files(store, state=State.RUNNING, run=RUN)
    assert store.load().stale
    assert not store.load().edits


def test_restoring_an_old_state_file_is_an_edit(store: ProjectStore) -> None:
    put(store, state=State.DEV_READY)
    old = store.layout.state_json.read_bytes()
    put(store, state=State.PAUSED)
    store.layout.state_json.write_bytes(old)
    assert store.load().edits.state is State.DEV_READY


def test_a_beat_touches_only_what_aiframe_wrote(store: ProjectStore) -> None:
    put(store, state=State.RUNNING, run=RUN)
    store.beat(Moment(200.5))
    store.beat(Moment(230.5))
    assert store.heartbeat() == 230.5
    assert (shown(store)["heartbeat_at"], shown(store)["updated_at"]) == (230, 230)
    assert not store.load().edits
    edit(store, diagnosis="x")
    foreign = store.layout.state_json.read_bytes()
    store.beat(Moment(260.0))
    assert store.layout.state_json.read_bytes() == foreign
    assert store.heartbeat() == 260.0
    store.layout.state_json.unlink()
    store.beat(Moment(290.0))
    assert not store.layout.state_json.exists()


def test_no_heartbeat_yet(store: ProjectStore) -> None:
    assert store.heartbeat() == 0


def _folder(path: Path) -> None:
    path.mkdir()


def _full_folder(path: Path) -> None:
    path.mkdir()
    (path / "pid").touch()


def _file(path: Path) -> None:
    path.write_text("old\n")


@pytest.mark.parametrize(
    ("before", "after_set", "after_clear"),
    [
        pytest.param(None, "r1\n", None, id="nothing"),
        pytest.param(_file, "r1\n", None, id="a file"),
        pytest.param(_folder, "r1\n", None, id="the original's empty folder"),
        pytest.param(_full_folder, "folder", "folder", id="a folder with something in it"),
    ],
)
def test_agent_lock(store: ProjectStore, before: Any, after_set: str, after_clear: str | None) -> None:
    path = store.layout.agent_lock

    def found() -> str | None:
        return "folder" if path.is_dir() else path.read_text() if path.exists() else None

    if before:
        before(path)
    store.set_agent_lock("r1")
    assert found() == after_set
    store.set_agent_lock(None)
    store.set_agent_lock(None)
    assert found() == after_clear
