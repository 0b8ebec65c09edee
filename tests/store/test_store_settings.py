"""PROJECT.yaml, and the schemas of the files that people write."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aiframe.core.budget import Budget, Limits
from aiframe.core.errors import UnreadableFile, UsageError
from aiframe.core.model import Project, Role, Rules
from aiframe.store.agent_settings import AgentSettings
from aiframe.store.codec import render_state, to_state
from aiframe.store.gate_settings import GateSettings
from aiframe.store.schema import Kind, json_schema
from aiframe.store.settings_file import ProjectSettings, SandboxSettings, load_settings, parse_settings
from aiframe.store.state_file import parse_state
from aiframe.store.tasks_file import parse_tasks
from aiframe.store.workspace_settings import WorkspaceSettings

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
FILE = Path("PROJECT.yaml")
FULL = b"""\
agent: {name: codex, model: m1, effort: high, profile: work}
agents:
  PO: {effort: low, extra: [1, true, null, "2", 1.5]}
  DIAGNOSE: {name: claude, fallback: {name: codex, model: m2}}
  INTAKE: {name: command, run: "cat {prompt}"}
limits: {stall_sec: 0, max_attempts: 5, dev_chain_limit: 1, transient_base_sec: 0.5}
on_task_failure: continue
budget:
  project: {tokens: 1000, cost_usd: 2.5}
  task: {wall_min: 0.5, attempts: 7}
sandbox: none
env: [OPENAI_API_KEY, _x1]
gates: {clean_checkout: true, timeout_min: 1.5, protect: [./tests/**, "*.lock"], max_deleted_files: 0, doctor: make it,
  prove_doctor: false, doctor_probe: ./src/a.py, prove_tests: [./tests/**, "*_test.go"]}
workspace: {setup: [npm ci, make], setup_timeout_min: 2}
"""


@pytest.mark.parametrize("content", [None, b"", b"# only words\n", b"agent:\nlimits:\nagents:\nenv:\n"])
def test_defaults(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "PROJECT.yaml"
    if content is not None:
        path.write_bytes(content)
    assert load_settings(path, {}) == ProjectSettings(path=path)
    assert ProjectSettings().agents[Role.DEV] == AgentSettings("codex")


def test_everything_set() -> None:
    found = parse_settings(FILE, FULL)
    assert found.agents == {
        Role.INTAKE: AgentSettings("command", options={"run": "cat {prompt}"}),
        Role.PO: AgentSettings("codex", "m1", "low", {"profile": "work", "extra": [1, True, None, "2", 1.5]}),
        Role.DEV: AgentSettings("codex", "m1", "high", {"profile": "work"}),
        Role.DIAGNOSE: AgentSettings("claude", fallback=AgentSettings("codex", "m2")),
    }
    assert found.rules == Rules(
        stall_sec=0,
        max_attempts=5,
        dev_chain_limit=1,
        transient_base_sec=0.5,
        continue_on_task_failure=True,
        budget=Budget(project=Limits(1000, 2.5), task=Limits(wall_min=0.5, attempts=7)),
    )
    assert [agent.label for agent in found.agents[Role.DIAGNOSE].chain] == ["claude", "codex/m2"]
    assert found.cost_limit == (9, 37)
    assert (found.sandbox, found.env) == (SandboxSettings("none"), ("OPENAI_API_KEY", "_x1"))
    assert found.gates == GateSettings(
        True, 90, ("tests/**", "*.lock"), 0, "make it",
        prove_doctor=False, doctor_probe="src/a.py", prove_tests=("tests/**", "*_test.go"),
    )  # fmt: skip
    assert found.workspace == WorkspaceSettings(setup=("npm ci", "make"), setup_timeout_s=120)


@pytest.mark.parametrize(
    ("data", "found", "hint"),
    [
        (b"agnet: codex", "1:1: the key 'agnet' is unknown", "did you mean `agent`?"),
        (b"\nlimits: {stal_sec: 1}", "2:10: limits: the key 'stal_sec' is unknown", "did you mean `stall_sec`?"),
        (b"budget: {week: {tokens: 1}}", "1:10: budget: the key 'week' is unknown", "project, day, task"),
        (b"budget: {day: {token: 1}}", "1:16: budget.day: the key 'token' is unknown", "did you mean `tokens`?"),
        (b"budget: {day: {tokens: 1.5}}", "1:24: budget.day: tokens must be a whole number of at least 1", "digits"),
        (b"budget: {task: {cost_usd: 0}}", "1:27: budget.task: cost_usd must be a number above 0", "digits"),
        (b"agent: {name: a, fallback: {model: m}}", "1:28: agent: fallback has no name", "fallback: claude"),
        (b"limits: {max_attempts: 0}", "1:24: limits: max_attempts must be a whole number of at least 1", "digits"),
        (b"limits: {max_attempts: 1.5}", "1:24: limits: max_attempts must be a whole number", "digits"),
        (b"limits: {transient_base_sec: 0}", "1:30: limits: transient_base_sec must be a number above 0", "digits"),
        (b"limits: {stall_sec: '5'}", "1:21: limits: stall_sec must be a number", "without quotes"),
        (b"limits: 5", "1:9: limits must hold keys", "indented"),
        (b"agents: {CHEF: codex}", "1:10: agents: the key 'CHEF' is unknown", "INTAKE"),
        (b"agent: [codex]", "1:8: agent must hold keys", "indented"),
        (b"agent: 'rm -rf /'", "1:8: 'rm -rf /' is no name of an agent", "codex"),
        (b"sandbox: bwrap", "1:10: sandbox `bwrap` is unknown", "auto, bubblewrap, container, none"),
        (b"sandbox: {kind: bwrap}", "1:17: sandbox: kind `bwrap` is unknown", "container"),
        (b"sandbox: {memory: 5}", "1:11: sandbox: the key 'memory' is unknown", "did you mean `memory_mb`?"),
        (b"sandbox: {memory_mb: -1}", "1:22: sandbox: memory_mb must be a whole number of at least 0", "digits"),
        (b"sandbox: {processes: 0.5}", "1:22: sandbox: processes must be a whole number", "digits"),
        (b"sandbox: {read: {a: b}}", "1:17: sandbox: read must be a list", "- "),
        (b"sandbox: [none]", "1:10: sandbox must hold keys", "indented"),
        (b"sandbox: container", "1:10: sandbox: a container needs an image", "kind: container, image: NAME"),
        (b"sandbox: {kind: container}", "1:10: sandbox: a container needs an image", "kind: container, image: NAME"),
        (b"on_task_failure: no", "1:18: on_task_failure `no` is unknown", "stop, continue"),
        (b"env: [A, KEY=secret]", "1:6: env: 'KEY' is no name of a variable", "names only"),
        (b"push: {branches: [main]}", "1:7: push: there is no branch that work lands on", "worktree"),
        (b"workspace: {kind: clone, repo: x}\npush: {remote: origin}", "2:7: push: no branch is named", "branches:"),
        (
            b"workspace: {kind: clone, repo: x}\npush: {remote: -x, branches: a}",
            "2:7: push: '-x' is no name",
            "git remote",
        ),
        (
            b"workspace: {kind: clone, repo: x}\npush: {force: true, branches: a}",
            "2:8: push: the key 'force' is unknown",
            "remote",
        ),
        (b"notify: [json://a, hunter2-secret]", "1:20: entry 2 of notify is no address", "apprise"),
        (b"notify: 'json:// secret'", "1:9: entry 1 of notify is no address", "apprise"),
        (b"notify: {json://secret: 1}", "1:9: notify must be a list", "begin each"),
        (b"gates: {clean: true}", "1:9: gates: the key 'clean' is unknown", "clean_checkout"),
        (b"gates: {clean_checkout: 1}", "1:25: gates: clean_checkout must be true or false", "without quotes"),
        (b"gates: {timeout_min: 0}", "1:22: gates: timeout_min must be a number above 0", "digits"),
        (b"gates: {max_deleted_files: -1}", "1:28: gates: max_deleted_files must be a whole number", "digits"),
        (b"gates: {protect: [a, /etc]}", "1:18: gates: protect: '/etc' names no file of the project", "tests/**"),
        (b"gates: {protect: a/../b}", "1:18: gates: protect: 'a/../b' names no file of the project", "tests/**"),
        (b"gates: {prove_doctor: 1}", "1:23: gates: prove_doctor must be true or false", "without quotes"),
        (b"gates: {doctor_probe: ''}", "1:23: gates: doctor_probe: '' names no file", "src/main.py"),
        (b"gates: {doctor_probe: /etc/passwd}", "1:23: gates: doctor_probe: '/etc/passwd' names no file", "tracked"),
        (b"gates: {doctor_probe: a/../../b}", "1:23: gates: doctor_probe: 'a/../../b' names no file", "tracked"),
        (b"gates: {doctor_probe: .git/config}", "1:23: gates: doctor_probe: '.git/config' names no file", "tracked"),
        (b"gates: {doctor_probe: src/}", "1:23: gates: doctor_probe: 'src/' names no file", "tracked"),
        (b"gates: {doctor_probe: {a: b}}", "1:23: gates: doctor_probe must be a text", ""),
        (
            b"gates: {prove_tests: [a, ../b]}",
            "1:22: gates: prove_tests: '../b' names no file of the project",
            "tests/**",
        ),
        (b"workspace: {setpu: x}", "1:13: workspace: the key 'setpu' is unknown", "did you mean `setup`?"),
        (b"workspace: {setup_timeout_min: x}", "1:32: workspace: setup_timeout_min must be a number", "digits"),
        (b"- a", "1:1: must hold keys and values", "agent: codex"),
        (b"agent: codex\nagent: claude", "2:1: the key 'agent' stands here again", "one of the two"),
        (b"agent: *x", "1:8: the alias *x", "write the value out"),
        (b"\xff", "1:1: byte 0 (0xff) is no UTF-8", "UTF-8"),
        (b"a: \0", "1:4: holds a NUL", "remove"),
        (b"[" * 100_000, "1:51: is nested deeper", "flatten"),
    ],
)
def test_refused_with_place_and_cure(data: bytes, found: str, hint: str) -> None:
    with pytest.raises(UnreadableFile) as caught:
        parse_settings(FILE, data)
    problem = caught.value.problems[0]
    assert f"{problem.line}:{problem.column}: {problem.message}".startswith(found)
    assert hint in problem.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("value", "limit"), [("", 2), ("7", 7)])
def test_the_chain_limit_of_the_environment_goes_first(tmp_path: Path, value: str, limit: int) -> None:
    path = tmp_path / "PROJECT.yaml"
    path.write_text("limits: {dev_chain_limit: 2}")
    assert load_settings(path, {"DEV_CHAIN_LIMIT": value}).rules.dev_chain_limit == limit


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "٣", "9" * 5000])
def test_a_chain_limit_that_is_no_number(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match="DEV_CHAIN_LIMIT"):
        load_settings(tmp_path / "none", {"DEV_CHAIN_LIMIT": value})


PIECES = st.sampled_from(
    ["agent: ", "agents: ", "limits: ", "env: ", "codex", "{", "}", "[", "]", ",", "\n", "\n  ", "DEV: ", "name: ", "x",
     "stall_sec: ", "9", "-1", "1e5", ".nan", "~", "'", '"', ": ", "- ", "&a ", "*a", "!!int ", "#", "|", "\t", "?"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=20).map(lambda pieces: "".join(pieces).encode()) | st.binary(max_size=40))
@settings(max_examples=300)
def test_fuzz(data: bytes) -> None:
    with suppress(UnreadableFile):
        parse_settings(FILE, data)


def valid(kind: Kind, value: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(json_schema(kind)).is_valid(value))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("sandbox: none", SandboxSettings("none"), id="word"),
        pytest.param("sandbox: {processes: 0}", SandboxSettings(processes=0), id="one key"),
        pytest.param("sandbox: {read: ~/sdk}", SandboxSettings(read=("~/sdk",)), id="one path"),
        pytest.param(
            "sandbox: {kind: container, image: 'ours:1', memory_mb: 100, processes: 9, read: [/opt/data, ../shared]}",
            SandboxSettings("container", "ours:1", 100, 9, ("/opt/data", "../shared")),
            id="every key",
        ),
    ],
)
def test_the_sandbox_is_a_word_or_keys(text: str, found: SandboxSettings) -> None:
    assert parse_settings(FILE, text.encode()).sandbox == found
    assert valid("project", yaml.safe_load(text))


@pytest.mark.parametrize("kind", ["tasks", "project", "state"])
def test_schemas_are_schemas_with_descriptions(kind: Kind) -> None:
    schema = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    parts = schema["properties"]["tasks"]["items"]["properties"] if kind == "tasks" else schema["properties"]
    assert all(part.get("description") for part in parts.values())
    json.dumps(schema)


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("STATE.*.json")), ids=lambda path: path.name)
def test_the_state_schema_takes_every_old_file(path: Path) -> None:
    parse_state(path, path.read_bytes())
    assert valid("state", json.loads(path.read_bytes()))


def test_the_schemas_take_what_aiframe_and_people_write() -> None:
    assert valid("state", json.loads(render_state(to_state(Project(), 5, {}))))
    assert valid("tasks", yaml.safe_load((FIXTURES / "TASKS.original.yaml").read_text()))
    assert valid("project", yaml.safe_load(FULL))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("tasks", "tasks: [{id: a}]"),
        ("tasks", "tasks: [{id: ../a, title: x}]"),
        ("tasks", "tasks: [{id: a, title: x, status: dnoe}]"),
        ("tasks", "tasks: [{id: a, title: x, priority: 9}]"),
        ("tasks", "tasks: [{id: a, title: x, review: maybe}]"),
        ("tasks", "tasks: [{id: a, title: x, verify: [{a: b}]}]"),
        ("tasks", "tasks: [{id: a, title: x, max_duration_min: 0}]"),
        ("tasks", "tasks: {a: b}"),
        ("project", "agnet: x"),
        ("project", "limits: {max_attempts: 0}"),
        ("project", "limits: {transient_base_sec: 0}"),
        ("project", "agents: {CHEF: codex}"),
        ("project", "sandbox: bwrap"),
        ("project", "sandbox: container"),
        ("project", "sandbox: {kind: container}"),
        ("project", "sandbox: {memory_mb: -1}"),
        ("project", "sandbox: {imgae: x}"),
        ("project", "env: [A=b]"),
        ("project", "gates: {prove_doctor: 1}"),
        ("project", "gates: {doctor_probe: ''}"),
        ("project", "gates: {doctor_probe: /etc/passwd}"),
        ("project", "gates: {doctor_probe: a/../../b}"),
        ("project", "gates: {doctor_probe: .git/config}"),
        ("project", "gates: {doctor_probe: src/}"),
        ("state", "timeout_sec: 0"),
        ("state", "plan_locked: 'no'"),
        ("state", "resume_state: DEV_REDY"),
        ("state", "review_every_n_tasks: -1"),
        ("state", "schema: 2"),
    ],
)
def test_schema_and_loader_refuse_the_same(kind: Kind, text: str) -> None:
    value = yaml.safe_load(text)
    assert not valid(kind, value)
    loaders = {"tasks": parse_tasks, "project": parse_settings, "state": parse_state}
    data = json.dumps(value) if kind == "state" else text
    with pytest.raises(UnreadableFile):
        loaders[kind](FILE, data.encode())
