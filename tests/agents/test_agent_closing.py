"""The closing block: a schema that the service accepts, and our own check of what comes back."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiframe.agents.closing import closing_schema, parse_closing
from aiframe.core.model import STEP_ROLES, Role

DONE: dict[str, Any] = {"summary": "s", "state": None, "question": None}
DEV = {**DONE, "reason": "", "review_items": []}
DIAGNOSE = {**DONE, "diagnosis": "d", "timeout_sec": 3600}
AUDIT = {"approved": False, "findings": ["a.py:3: no"]}
BLOCKS: dict[Role, dict[str, Any]] = {Role.INTAKE: DONE, Role.PO: DONE, Role.DEV: DEV, Role.DIAGNOSE: DIAGNOSE}
ASKED = {"text": "Which?", "choices": ["a", "b"], "default": "a"}


@pytest.mark.parametrize("role", STEP_ROLES)
def test_the_schema_is_strict_and_takes_a_whole_block(role: Role) -> None:
    schema = closing_schema(role)
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in (schema, schema["properties"]["question"]):
        assert part["required"] == list(part["properties"])
        assert part["additionalProperties"] is False
    for block in (BLOCKS[role], {**BLOCKS[role], "question": ASKED}):
        jsonschema.validate(block, schema)
        assert parse_closing(json.dumps(block), role) == (block, "")


@pytest.mark.parametrize(
    ("role", "text", "closing"),
    [
        pytest.param(Role.PO, '{"summary": "s"}', DONE, id="what is missing is empty"),
        pytest.param(Role.DEV, '{"summary": "s"}', DEV, id="for DEV too"),
        pytest.param(Role.AUDIT, json.dumps(AUDIT), AUDIT, id="an audit"),
        pytest.param(Role.AUDIT, '{"approved": true}', {"approved": True, "findings": []}, id="an audit finds nothing"),
        pytest.param(Role.PO, ' \n{"summary": "s"}\n ', DONE, id="space around"),
        pytest.param(Role.PO, 'All done.\n```json\n{"summary": "s"}\n```\nBye.', DONE, id="fenced"),
        pytest.param(Role.PO, '```json\n{"a": 1}\n```\n```json\n{\n"summary": "s"}\n```', DONE, id="the last fence"),
        pytest.param(Role.PO, 'said\n{"a": 1}\n{"summary": "s"}\nbye', DONE, id="the last line that is an object"),
        pytest.param(
            Role.PO,
            '{"summary": "s", "state": "DEV_READY", "question": {"text": "?"}}',
            {"summary": "s", "state": "DEV_READY", "question": {"text": "?", "choices": [], "default": ""}},
            id="a question alone",
        ),
        pytest.param(Role.PO, '{"summary": "a\\u001b[2Jb\\ud800"}', {**DONE, "summary": "ab"}, id="control characters"),
    ],
)
def test_a_block_is_found_and_made_whole(role: Role, text: str, closing: dict[str, Any]) -> None:
    assert parse_closing(text, role) == (closing, "")


@pytest.mark.parametrize(
    ("role", "text", "complaint"),
    [
        pytest.param(Role.PO, "I am done.", "must end with one JSON object, but it was: 'I am done.'", id="prose"),
        pytest.param(Role.PO, "", "the answer was empty", id="nothing"),
        pytest.param(Role.PO, "[1]", "must end with one JSON object", id="a list"),
        pytest.param(Role.PO, '{"summary": ', "must end with one JSON object", id="cut off"),
        pytest.param(Role.PO, "{}", "summary must be text", id="no summary"),
        pytest.param(
            Role.PO, '{"summary": "s", "state": "RUNNING"}', "state must be one of DEV_READY or null", id="RUNNING"
        ),
        pytest.param(
            Role.INTAKE, '{"summary": "s", "state": "DONE"}', "INTAKE_WAITING, SPEC_READY or null", id="intake"
        ),
        pytest.param(Role.DEV, '{"summary": "s", "states": 1}', "'states' is no field of it", id="unknown field"),
        pytest.param(
            Role.DEV, '{"summary": 1, "reason": 2}', "summary must be text; reason must be text", id="all at once"
        ),
        pytest.param(Role.DEV, '{"summary": "s", "review_items": [1]}', "review_items must be a list", id="items"),
        pytest.param(
            Role.DEV, '{"summary": "s", "question": "?"}', "question must be null or an object", id="question"
        ),
        pytest.param(Role.DEV, '{"summary": "s", "question": {"text": " "}}', "question.text", id="no question"),
        pytest.param(
            Role.DEV, '{"summary": "s", "question": {"text": "?", "choices": 1}}', "question.choices", id="choices"
        ),
        pytest.param(
            Role.DEV, '{"summary": "s", "question": {"text": "?", "default": 1}}', "question.default", id="default"
        ),
        pytest.param(Role.DIAGNOSE, '{"summary": "s", "timeout_sec": true}', "timeout_sec must be", id="true"),
        pytest.param(Role.DIAGNOSE, '{"summary": "s", "timeout_sec": -1}', "timeout_sec must be", id="negative"),
        pytest.param(Role.AUDIT, '{"findings": []}', "approved must be true or false", id="no word"),
        pytest.param(Role.AUDIT, '{"approved": "yes"}', "approved must be true or false", id="no truth value"),
        pytest.param(Role.AUDIT, '{"approved": false, "findings": "x"}', "findings must be a list", id="no list"),
        pytest.param(
            Role.AUDIT, '{"approved": true, "state": "DONE"}', "'state' is no field", id="an audit sets no state"
        ),
        pytest.param(Role.PO, '{"a":' * 100_000, "must end with one JSON object", id="deep"),
    ],
)
def test_what_does_not_fit_gets_the_exact_complaint(role: Role, text: str, complaint: str) -> None:
    closing, said = parse_closing(text, role)
    assert closing is None
    assert complaint in said
    assert len(said) < 2000


NAMES = ["summary", "state", "question", "approved"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(NAMES), inner),
    max_leaves=10,
)


@given(st.sampled_from(Role), st.text() | JSON.map(json.dumps))
def test_any_text_gives_a_block_of_the_schema_or_a_complaint(role: Role, text: str) -> None:
    closing, complaint = parse_closing(text, role)
    assert (closing is None) == bool(complaint)
    if closing is not None:
        jsonschema.validate(closing, closing_schema(role))
