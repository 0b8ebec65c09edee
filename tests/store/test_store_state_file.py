"""STATE.json: every mistake named with its place, old files loaded for ever."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiframe.core.errors import UnreadableFile
from aiframe.core.model import FailureKind, Moment, Role, Runner, Settings, State, Unknown, Wait
from aiframe.store.codec import from_legacy, parse_state

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
STATE = Path("STATE.json")


def problems(data: bytes) -> list[str]:
    with pytest.raises(UnreadableFile) as caught:
        parse_state(STATE, data)
    assert caught.value.hint
    return [f"{problem.line}:{problem.column}: {problem.message}" for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("data", "first"),
    [
        pytest.param(b"", "1:1: is empty", id="empty"),
        pytest.param(b" \n", "1:1: is empty", id="blank"),
        pytest.param(b"[]", "1:1: is no JSON object", id="a list"),
        pytest.param(b'{\n  "state": }', "2:12: is no JSON: expecting value", id="syntax"),
        pytest.param(b'{"state": "DONE",\n\n}', "3:1: is no JSON: expecting property name", id="trailing comma"),
        pytest.param(b'{"state": "DONE"', "1:17: is no JSON: expecting ',' delimiter", id="torn"),
        pytest.param(b'{"a":\n "\xff"}', "2:3: byte 8 (0xff) is no UTF-8", id="no UTF-8"),
        pytest.param(b'{"state":\n\0}', "2:1: holds a NUL", id="NUL"),
        pytest.param(b"\0" * 4096, "1:1: holds a NUL", id="zeros after a power cut"),
        pytest.param(b'{"a": "NaN",\n "timeout_sec": NaN}', "2:17: NaN is no JSON number", id="NaN"),
        pytest.param(b'{"a": -Infinity}', "1:7: -Infinity is no JSON number", id="infinity"),
        pytest.param(b'{"state": "DONE",\n "state": "ERROR"}', "2:2: the key 'state' stands here again", id="twice"),
        pytest.param(b'{"a": {"b": 1,\n "\\u0062": 2}}', "2:2: the key 'b' stands here again", id="twice, escaped"),
        pytest.param(b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "1:105: is nested deeper than 100", id="deep"),
        pytest.param(b"[" * 100_000, "0:0: is nested deeper than 100", id="very deep"),
        pytest.param(b'{"a": "\\ud800"}', "1:7: holds half of a surrogate pair", id="surrogate"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "0:0: is no JSON", id="huge number"),
        pytest.param(b'{"timeout_sec": 1e999}', "1:2: timeout_sec must be a number of seconds", id="overflow"),
        pytest.param(b'{\n "timeout_sec": "1800"}', "2:2: timeout_sec must be a number of seconds above 0", id="text"),
        pytest.param(b'{"timeout_sec": 0}', "1:2: timeout_sec must be a number of seconds above 0", id="zero"),
        pytest.param(b'{"timeout_sec": true}', "1:2: timeout_sec must be a number", id="bool as number"),
        pytest.param(b'{"plan_locked": "no"}', "1:2: plan_locked must be true or false", id="text as bool"),
        pytest.param(b'{"state": 3}', "1:2: state must be the name of a state, not 3", id="state"),
        pytest.param(b'{"resume_state": "DEV_REDY"}', "1:2: resume_state must be one of", id="resume_state"),
        pytest.param(b'{"review_every_n_tasks": 1.5}', "1:2: review_every_n_tasks must be a whole", id="fraction"),
        pytest.param(b'{"review_items": [["x"]]}', "1:2: review_items must be a list of task ids", id="items"),
        pytest.param(b'{"started_at": -1}', "1:2: started_at must be a time", id="negative time"),
        pytest.param(b'{"failure": "x"}', "1:2: failure must be an object", id="failure"),
        pytest.param(b'{"schema": 2}', "1:2: schema must be 1 or lower", id="newer"),
    ],
)
def test_f15_nasty_files(data: bytes, first: str) -> None:
    assert problems(data)[0].startswith(first)


def test_all_problems_at_once_on_their_lines() -> None:
    data = b'{\n "state": [],\n "plan_locked": 1,\n "diagnosis": {}\n}'
    assert [text.partition(":")[0] for text in problems(data)] == ["2", "3", "4"]


def test_a_large_file_is_read_in_reasonable_time() -> None:
    many = ",".join(f'"k{n}": "v"' for n in range(200_000))
    file = parse_state(STATE, f'{{"state": "DONE", {many}}}'.encode())
    assert file.state is State.DONE


def test_leniency_of_a_person_s_editor() -> None:
    data = '\ufeff{\r\n "state": "DEV_READY", "role": null, "review_items": [1, {"id": "T2"}], "x": "é"}'.encode()
    file = parse_state(STATE, data)
    assert (file.state, file.role, file.review_items) == (State.DEV_READY, "", ("1", "T2"))
    assert file.raw["x"] == "é"


def test_a_state_nobody_knows_is_kept() -> None:
    assert parse_state(STATE, b'{"state": "LUNCH"}').state == Unknown("LUNCH")


def test_the_original_s_file() -> None:
    project = from_legacy(parse_state(STATE, (FIXTURES / "STATE.original.json").read_bytes()))
    assert project.state is State.RUNNING
    assert project.run is not None
    assert (project.run.run_id, project.run.role) == ("20250314-092653-4711", Role.DEV)
    assert project.run.started == Moment(wall=1741944413)
    assert project.run.runner == Runner(pid=0, started=0)
    assert project.settings == Settings(plan_locked=True, require_confirmations=False)
    assert project.review_items == ("T1", "T2")


def test_the_original_s_first_file() -> None:
    project = from_legacy(parse_state(STATE, (FIXTURES / "STATE.original-intake.json").read_bytes()))
    assert project.state is State.INTAKE_READY
    assert project.run is None
    assert project.settings == Settings()


def test_a_run_without_a_usable_name() -> None:
    project = from_legacy(parse_state(STATE, b'{"state": "RUNNING", "role": "CHEF", "run_id": "../x"}'))
    assert project.run is not None
    assert (project.run.run_id, project.run.role) == ("legacy", Role.DEV)


def test_a_file_of_schema_1() -> None:
    file = parse_state(STATE, (FIXTURES / "STATE.schema-1.json").read_bytes())
    project = from_legacy(file)
    assert project.state is State.DIAGNOSE_READY
    assert project.resume_state is State.DEV_READY
    assert project.failure is not None
    assert project.failure.kind is FailureKind.STALLED
    assert project.wait == Wait(1763700000, 600)
    assert project.settings == Settings(2400, False, True, 0, False)
    assert (file.generation, file.last_error) == (41, "stalled")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["state", "timeout_sec", "resume_state", "review_items", "not_before", "schema", "runner", "failure", "x", ""]
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=5)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_fuzz_bytes(data: bytes) -> None:
    with suppress(UnreadableFile):
        parse_state(STATE, data)


@given(OBJECTS, st.booleans(), st.integers(0, 200))
def test_fuzz_values(values: dict[str, object], ascii_only: bool, cut: int) -> None:
    data = json.dumps(values, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    for candidate in (data, data[:cut]):
        with suppress(UnreadableFile):
            from_legacy(parse_state(STATE, candidate))
