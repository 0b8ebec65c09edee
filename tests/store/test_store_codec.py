"""A project to its two files and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiframe.core.errors import UnreadableFile
from aiframe.core.model import (
    STEP_ROLES,
    Failure,
    FailureKind,
    Moment,
    Project,
    Question,
    Role,
    Run,
    Runner,
    Settings,
    State,
    Unknown,
    Wait,
)
from aiframe.store.codec import (
    as_state_file,
    decode_project,
    encode_project,
    fingerprint,
    from_legacy,
    parse_state,
    render_state,
    to_state,
    with_heartbeat,
)
from aiframe.store.control import ControlRecord, decode_record, encode_record
from aiframe.store.hand_edits import OWN_FIELDS, find_edits

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
STATE = Path("STATE.json")

TEXT = st.text(max_size=12)
NUMBER = st.integers(0, 2_000_000_000) | st.floats(0, 2e9, allow_nan=False)
COUNTS = st.dictionaries(TEXT, st.integers(0, 99), max_size=3)
SETTINGS = st.builds(Settings, timeout_sec=st.integers(1, 9999) | st.floats(0.5, 9e5))
WAIT = st.builds(Wait, NUMBER, st.floats(0, 1e6))
RUN = st.builds(
    Run,
    run_id=TEXT,
    role=st.sampled_from(STEP_ROLES),
    started=st.builds(Moment, NUMBER, NUMBER, TEXT, TEXT),
    timeout_s=NUMBER,
    runner=st.builds(Runner, st.integers(0, 1 << 31), NUMBER, TEXT, TEXT),
    task_id=TEXT,
)
FAILURE = st.builds(Failure, st.sampled_from(FailureKind), TEXT, TEXT, st.none() | NUMBER)
TEXTS = st.dictionaries(TEXT, TEXT, max_size=2)
IDLE_STATES = st.sampled_from([state for state in State if state is not State.RUNNING])
STATES = IDLE_STATES | st.builds(Unknown, TEXT.filter(lambda text: text not in State.__members__))
IDLE = st.builds(
    Project,
    state=STATES,
    settings=SETTINGS,
    diagnosis_done=st.booleans(),
    diagnosed_role=st.none() | st.sampled_from(STEP_ROLES),
    resume_state=st.none() | st.sampled_from(State),
    failure=st.none() | FAILURE,
    wait=st.none() | WAIT,
    streaks=COUNTS,
    attempts=COUNTS,
    shown=COUNTS,
    trees=TEXTS,
    to_look_at=st.dictionaries(TEXT, st.lists(TEXT, max_size=2).map(tuple), max_size=2),
    findings=TEXTS,
    diagnosis=TEXT,
    last_error=TEXT,
    paused_from=st.none() | st.sampled_from(State),
    pause_requested=st.booleans(),
    review_items=st.lists(TEXT, max_size=3).map(tuple),
    questions=st.lists(st.builds(Question, TEXT, TEXT, TEXT, st.lists(TEXT, max_size=2).map(tuple)), max_size=2).map(
        tuple
    ),
    planned_spec=TEXT,
    generation=st.integers(0, 10**12),
)
PROJECTS = IDLE | st.builds(lambda project, run: project.evolve(state=State.RUNNING, run=run), IDLE, RUN)
UNKNOWN_FIELDS = st.dictionaries(
    TEXT.map(lambda text: f"x{text}"), st.none() | st.integers(-9, 9) | TEXT | st.lists(TEXT, max_size=2), max_size=4
)


@given(PROJECTS)
@settings(max_examples=60)
def test_control_record_round_trip(project: Project) -> None:
    record = ControlRecord(project, "a", "b", 3)
    assert decode_record(Path("control.json"), encode_record(record)) == record
    assert decode_project({**encode_project(project), "of a newer version": 1}) == project


@given(PROJECTS, UNKNOWN_FIELDS, st.floats(0, 2e9))
@settings(max_examples=60)
def test_what_is_written_shows_no_edits(project: Project, unknown: dict[str, object], wall: float) -> None:
    before = {"next": None, "state": "ERROR", **unknown, "auto_run_pid": 7}
    data = render_state(to_state(project, wall, before))
    file = parse_state(STATE, data)
    edits = find_edits(project, as_state_file(project), file)
    assert not edits
    assert not edits.ignored
    assert list(file.raw)[: len(before)] == list(before)
    assert {name: file.raw[name] for name in unknown} == unknown
    assert file.raw["auto_run_pid"] == 7
    assert data.endswith(b"}\n")


@given(PROJECTS, st.integers(0, 2_000_000_000))
@settings(max_examples=40)
def test_a_heartbeat_changes_the_times_alone(project: Project, wall: int) -> None:
    trap = '  "heartbeat_at": 1'
    data = render_state(to_state(project, 5, {"notes": {"heartbeat_at": 1, "text": trap}}))
    beaten = with_heartbeat(data, wall)
    assert fingerprint(beaten) == fingerprint(data)
    assert json.loads(beaten) == {**json.loads(data), "heartbeat_at": wall, "updated_at": wall}


@pytest.mark.parametrize(
    ("name", "value"),
    [("state", "DONE"), ("timeout_sec", 7), ("generation", 9), ("next", 1), ("diagnosis", "x"), ("runner", {})],
)
def test_any_other_change_shows(name: str, value: object) -> None:
    values = to_state(Project(), 5, {"next": None})
    assert fingerprint(render_state({**values, name: value})) != fingerprint(render_state(values))


@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("state", "SPEC_READY", ("state",)),
        ("state", "LUNCH", ("state",)),
        ("interactive_mode", False, ("interactive_mode",)),
        ("timeout_sec", 60, ("timeout_sec",)),
        ("resume_state", "DEV_READY", ("resume_state",)),
        ("not_before", 99, ("not_before",)),
        ("last_error", "", ("last_error",)),
        ("review_items", [], ("review_items",)),
        ("heartbeat_at", 3, ()),
        ("next", "x", ()),
    ],
)
def test_edits_by_hand(name: str, value: object, changed: tuple[str, ...]) -> None:
    project = Project(last_error="boom", review_items=("T1",), settings=Settings(plan_locked=True))
    values = to_state(project, 5, {})
    file = parse_state(STATE, render_state({**values, name: value}))
    edits = find_edits(project, as_state_file(project), file)
    assert edits.changed == changed
    assert bool(edits) is bool(changed)
    if edits.settings:
        assert getattr(edits.settings, name) == value
        assert edits.settings.plan_locked
    if edits.state:
        assert str(edits.state) == value
    assert set(edits.fields) == set(changed) - {"state", *Settings.__struct_fields__}


@pytest.mark.parametrize("name", OWN_FIELDS)
def test_f14_what_only_aiframe_may_say_is_noted_and_ignored(name: str) -> None:
    lies = {"generation": 99, "started_at": 5, "failure": {"kind": "auth"}, "runner": {"pid": 1}}
    file = parse_state(STATE, render_state({**to_state(Project(), 5, {}), name: lies.get(name, "DEV")}))
    edits = find_edits(Project(), as_state_file(Project()), file)
    assert edits.ignored == (name,)
    assert not edits


def test_a_control_record_of_schema_1() -> None:
    record = decode_record(Path("control.json"), (FIXTURES / "control.schema-1.json").read_bytes())
    project = record.project
    assert project.run is not None
    assert (project.run.task_id, project.run.started.mono, project.generation) == ("T3", 812.25, 41)
    assert project.wait == Wait(1763700000, 900)
    assert project.questions[0].choices == ("80", "8080")
    assert project.diagnosed_role is Role.DEV


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no JSON"),
        (b"\0" * 100, "is no JSON"),
        (b"[]", "is no JSON object"),
        (b'{"schema": 1}', "is no control record"),
        (b'{"schema": 1, "project": {"state": 3}}', "is no control record"),
        (b'{"schema": 1, "project": {"run": {"role": "CHEF"}}}', "is no control record"),
        (b'{"schema": 2, "project": {}}', "newer aiframe"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_a_broken_control_record_names_the_cure(data: bytes, message: str) -> None:
    with pytest.raises(UnreadableFile, match=message) as caught:
        decode_record(Path("control.json"), data)
    assert caught.value.hint


@given(st.binary(max_size=80))
@settings(max_examples=60)
def test_fuzz_control_record(data: bytes) -> None:
    with pytest.raises(UnreadableFile):
        decode_record(Path("control.json"), data)


def test_text_that_utf8_cannot_carry_is_replaced() -> None:
    project = Project(last_error="no file a\udcff.txt")
    assert encode_project(project)["last_error"] == "no file a\ufffd.txt"
    assert b"a\xef\xbf\xbd.txt" in render_state(to_state(project, 1, {}))


def test_without_a_control_record_the_projection_is_enough() -> None:
    project = Project(state=State.DEV_READY, settings=Settings(interactive_mode=False), last_error="x")
    assert from_legacy(parse_state(STATE, render_state(to_state(project, 5, {})))) == project
