"""gates.audit in PROJECT.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from aiframe.core.errors import UnreadableFile
from aiframe.store.agent_settings import AgentSettings
from aiframe.store.schema import json_schema
from aiframe.store.settings_file import parse_settings

FILE = Path("PROJECT.yaml")
BUILDER = AgentSettings("codex", "m1", "high", {"profile": "work"})


@pytest.mark.parametrize(
    ("audit", "agent", "rounds"),
    [
        pytest.param(None, None, 3, id="none"),
        pytest.param({}, BUILDER, 3, id="that of DEV"),
        pytest.param({"rounds": 5}, BUILDER, 5, id="rounds"),
        pytest.param({"agent": "claude"}, AgentSettings("claude"), 3, id="another agent"),
        pytest.param({"agent": "claude", "model": "m2"}, AgentSettings("claude", "m2"), 3, id="its model"),
        pytest.param({"effort": "low"}, AgentSettings("codex", "m1", "low", {"profile": "work"}), 3, id="effort alone"),
        pytest.param(
            {"agent": {"name": "command", "line": "judge"}}, AgentSettings("command", options={"line": "judge"}), 3,
            id="with its options",
        ),
    ],
)  # fmt: skip
def test_who_judges(audit: object, agent: AgentSettings | None, rounds: int) -> None:
    text: dict[str, object] = {"agent": {"name": "codex", "model": "m1", "effort": "high", "profile": "work"}}
    text |= {"gates": {"audit": audit}} if audit is not None else {}
    settings = parse_settings(FILE, json.dumps(text).encode())
    assert (settings.gates.audit, settings.rules.audit_rounds) == (agent, rounds)
    jsonschema.validate(text, json_schema("project"))
    assert {each.name for each in settings.all_agents} == {"codex"} | ({agent.name} if agent else set())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("gates: {audit: yes please}", "gates.audit|audit must hold keys and values", id="no mapping"),
        pytest.param("gates: {audit: {round: 1}}", "the key 'round' is unknown", id="unknown key"),
        pytest.param("gates: {audit: {rounds: 0}}", "rounds must be a whole number of at least 1", id="no round"),
        pytest.param("gates: {audit: {agent: '-x'}}", "'-x' is no name of an agent", id="no name"),
        pytest.param("limits: {audit_rounds: 1}", "the key 'audit_rounds' is unknown", id="one word for one thing"),
        pytest.param("agents: {AUDIT: codex}", "the key 'AUDIT' is unknown", id="no role with a step"),
    ],
)
def test_refused_by_loader_and_schema(text: str, said: str) -> None:
    with pytest.raises(UnreadableFile) as caught:
        parse_settings(FILE, text.encode())
    assert any(part in str(caught.value) for part in said.split("|"))
    if "'-x'" not in text:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(text), json_schema("project"))
