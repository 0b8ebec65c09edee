"""The scripted agent: its file format, and turns played by a real process."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path, PurePath
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.agent_run import Ran, run_agent

from aiframe.agents import find_agent
from aiframe.agents.script_file import Turn, choose_turn, read_script
from aiframe.agents.script_writer import HEADER, turn_text
from aiframe.core.errors import UnreadableFile, UsageError
from aiframe.core.model import FailureKind, Role
from aiframe.core.ports import AgentRequest, Usage


@pytest.fixture
def step(tmp_path: Path) -> AgentRequest:
    (tmp_path / "ws").mkdir()
    workspace = PurePath(tmp_path / "ws")
    return AgentRequest("p", Role.DEV, workspace, PurePath(tmp_path / "run"), task_id="T1", options={"file": "s.yaml"})


def play(step: AgentRequest, turn: str) -> Ran:
    """Play one turn of role DEV, given as YAML lines."""
    lines = "".join(f"    {line}\n" for line in turn.splitlines())
    Path(step.workspace, "s.yaml").write_text(f"version: 1\nturns:\n  - role: DEV\n{lines}", encoding="utf-8")
    return run_agent(find_agent("scripted", {}), step)


def test_a_turn_does_all_that_it_says_in_order(step: AgentRequest) -> None:
    turn = """\
delay: 0.01
type_delay: 0.01
say: "one\\ntwo é"
files: {sub/a.txt: "a\\n", b.txt: b}
append: {sub/a.txt: "more\\n", new.txt: n}
replace: [{path: sub/a.txt, old: a, new: A}]
delete: [b.txt]
run: ["cat sub/a.txt; echo err >&2; exit 3", "pwd"]
raw: not json
usage: {input_tokens: 5, output_tokens: 6}
cost_usd: 0.25
closing: {summary: ready, state: DEV_READY}
"""
    ran = play(step, turn)
    assert ran.log.splitlines() == [
        "one",
        "two é",
        "write sub/a.txt",
        "write b.txt",
        "append sub/a.txt",
        "append new.txt",
        "replace sub/a.txt",
        "delete b.txt",
        "$ cat sub/a.txt; echo err >&2; exit 3",
        "A",
        "more",
        "err",
        "[exit code 3]",
        "$ pwd",
        str(step.workspace),
        "[exit code 0]",
        "not json",
    ]
    assert sorted(path.name for path in Path(step.workspace).iterdir()) == ["new.txt", "s.yaml", "sub"]
    assert ran.answer.failure is None
    assert ran.answer.closing is not None
    assert ran.answer.closing["state"] == "DEV_READY"
    assert ran.answer.usage == Usage(5, 0, 6, 0)
    assert ran.answer.cost_usd == 0.25
    assert ran.complete


def test_a_turn_that_was_recorded_brings_every_kind_of_file(step: AgentRequest) -> None:
    there = Path(step.workspace)
    (there / "old").mkdir()
    (there / "old" / "deep").write_text("x")
    (there / "was-link").symlink_to("nowhere")
    turn = """\
clear: [old, was-link, never-there]
files: {old: "a file\\n", was-link: text, run.sh: "echo hi"}
binary: {data.bin: AAH/}
links: {to-old: old, out: /nowhere/at/all}
modes: {run.sh: "755"}
left_out: [huge.bin]
run_id: r-1
"""
    ran = play(step, turn)
    assert ran.answer.failure is None
    assert (there / "old").read_text() == "a file\n"
    assert not (there / "was-link").is_symlink()
    assert (there / "data.bin").read_bytes() == b"\0\1\xff"
    assert {name: os.readlink(there / name) for name in ("to-old", "out")} == {
        "to-old": "old",
        "out": "/nowhere/at/all",
    }
    assert os.access(there / "run.sh", os.X_OK)
    assert "not in the recording: huge.bin" in ran.log


@pytest.mark.parametrize(("speed", "at_most_s"), [(0, 5.0), (1000, 5.0)])
def test_time_passes_as_fast_as_the_option_says(step: AgentRequest, speed: float, at_most_s: float) -> None:
    faster = replace(step, options={**step.options, "speed": speed})
    began = time.monotonic()
    ran = play(faster, "delay: 60\nfail: {kind: quota, message: full, reset_in: 600}")
    assert time.monotonic() - began < at_most_s
    assert ran.answer.failure is not None
    assert ran.answer.failure.reset_at is not None
    assert ran.answer.failure.reset_at < time.time() + 1


def test_the_same_attempt_once_more_plays_the_turn_of_that_time(step: AgentRequest) -> None:
    script = "version: 1\nturns:\n" + "".join(
        f"  - {{role: DEV, task: T1, attempt: 1, {more}}}\n" for more in ("say: first", "repeat: 1, say: second")
    )
    Path(step.workspace, "s.yaml").write_text(script)
    runs = Path(step.run_dir).parent / "runs"
    said = []
    for name, last in (("a", '{"type": "end"}'), ("b", '{"type": "text"}'), ("c", '{"type": "end"}'), ("d", "")):
        ran = run_agent(find_agent("scripted", {}), replace(step, run_dir=PurePath(runs / name)))
        said.append(ran.answer.text)
        (runs / name).mkdir(parents=True, exist_ok=True)
        (runs / name / "agent.jsonl").write_text(ran.raw.partition("\n")[0] + f"\n{last}\n")
    assert said == ["first", "second", "second", "first"]  # b was killed; nothing is named for the third time


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(say=TEXTS, files=st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=3), closing=st.dictionaries(TEXTS, TEXTS))
def test_a_written_turn_reads_back_as_it_was(say: str, files: dict[str, str], closing: dict[str, str]) -> None:
    turn = {"role": "DEV", "say": say, "files": files, "closing": closing}
    assert yaml.safe_load(HEADER + turn_text(turn) * 2) == {"version": 1, "turns": [turn, turn]}


def test_a_failure_of_the_scripts_own(step: AgentRequest) -> None:
    before = time.time()
    ran = play(step, "fail: {kind: quota, message: full, hint: wait, reset_in: 60}")
    failure = ran.answer.failure
    assert failure is not None
    assert (failure.kind, failure.message, failure.hint) == (FailureKind.QUOTA, "full", "wait")
    assert failure.reset_at is not None
    assert before + 60 <= failure.reset_at <= time.time() + 60
    assert ran.complete


def test_an_exit_code_without_a_word_is_a_crash(step: AgentRequest) -> None:
    ran = play(step, "say: hm\nexit: 9\nclosing: {summary: s}")
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.TRANSIENT
    assert "exit code 9" in ran.answer.failure.message
    assert ran.answer.closing is None


def test_a_closing_block_that_does_not_fit(step: AgentRequest) -> None:
    ran = play(step, "closing: {summary: s, state: RUNNING}")
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.INVALID_OUTPUT


def test_hang_says_nothing_more_and_can_be_killed(step: AgentRequest) -> None:
    Path(step.workspace, "s.yaml").write_text("version: 1\nturns: [{role: DEV, files: {a: b}, hang: true}]\n")
    command = find_agent("scripted", {}).command(step)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command.argv, cwd=command.cwd, env=env, stdout=subprocess.PIPE, text=True) as player:
        deadline = time.monotonic() + 30
        while not Path(step.workspace, "a").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.5)
        still_there = player.poll() is None
        player.kill()
        said = player.stdout.read() if player.stdout else ""
    assert still_there
    assert [json.loads(line)["type"] for line in said.splitlines()] == ["start", "file"]


def test_a_turn_that_was_killed_is_played_again(step: AgentRequest) -> None:
    first, second = (play(step, "append: {log.txt: x}\nsay: same") for _ in range(2))
    assert (first.raw, first.answer) == (second.raw, second.answer)
    assert Path(step.workspace, "log.txt").read_text() == "xx"


def test_a_project_cannot_take_the_players_modules(step: AgentRequest) -> None:
    for name in ("json.py", "yaml.py", "aiframe.py", "sitecustomize.py"):
        Path(step.workspace, name).write_text("raise SystemExit('taken over')\n")
    assert play(step, "say: hi").answer.failure is None


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param("files: {../out.txt: x}", id="up"),
        pytest.param("files: {/tmp/aiframe-out.txt: x}", id="absolute"),
        pytest.param("files: {link/out.txt: x}", id="linked folder"),
        pytest.param("append: {file-link: x}", id="linked file"),
        pytest.param("clear: [link/kept]", id="clear"),
        pytest.param("binary: {file-link: AAAA}", id="binary"),
        pytest.param("links: {link/new: kept}", id="links"),
        pytest.param('modes: {file-link: "755"}', id="modes"),
        pytest.param("delete: [sub/../../outside]", id="up again"),
        pytest.param("delete: [.]", id="the workspace itself"),
        pytest.param("delete: [sub/..]", id="the workspace by another name"),
        pytest.param("replace: [{path: link/kept, old: k, new: x}]", id="replace"),
    ],
)
def test_a_turn_stays_in_the_workspace(step: AgentRequest, turn: str) -> None:
    """F17."""
    outside = Path(step.workspace).parent / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    Path(step.workspace, "link").symlink_to(outside)
    Path(step.workspace, "file-link").symlink_to(outside / "kept")
    ran = play(step, turn)
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.SETUP
    assert "leads out of the workspace" in ran.answer.failure.message
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"
    assert not Path(step.workspace).parent.joinpath("out.txt").exists()
    assert not Path("/tmp/aiframe-out.txt").exists()


def test_text_to_replace_that_is_not_there(step: AgentRequest) -> None:
    ran = play(step, "replace: [{path: a, old: gone, new: x}]")
    assert ran.answer.failure is not None
    assert "'gone'" in ran.answer.failure.message


def test_no_turn_for_a_step_names_the_cure(step: AgentRequest) -> None:
    Path(step.workspace, "s.yaml").write_text("version: 1\nturns: [{role: PO, say: plan}]\n")
    ran = run_agent(find_agent("scripted", {}), replace(step, attempt=3))
    failure = ran.answer.failure
    assert failure is not None
    assert failure.kind is FailureKind.SETUP
    assert f"{step.workspace}/s.yaml has no turn for role DEV, task T1, attempt 3" in failure.message
    assert "add a turn {role: DEV, task: T1}" in failure.hint


def test_no_file_option() -> None:
    with pytest.raises(UsageError, match="needs the option file"):
        find_agent("scripted", {}).command(AgentRequest("p", Role.DEV, PurePath("/"), PurePath("/")))


TURNS = (
    Turn(Role.DEV, say="any"),
    Turn(Role.DEV, attempt=2, say="any 2"),
    Turn(Role.DEV, task="T1", say="T1"),
    Turn(Role.DEV, task="T1", attempt=2, say="T1 2"),
    Turn(Role.DEV, task="T1", attempt=2, say="T1 2 again"),
    Turn(Role.PO, say="plan"),
)


@pytest.mark.parametrize(
    ("role", "task", "attempt", "say"),
    [
        (Role.DEV, "T1", 1, "T1"),
        (Role.DEV, "T1", 2, "T1 2"),
        (Role.DEV, "T1", 3, "T1"),
        (Role.DEV, "T2", 1, "any"),
        (Role.DEV, "T2", 2, "any 2"),
        (Role.PO, "", 7, "plan"),
        (Role.INTAKE, "", 1, None),
    ],
)
def test_the_nearest_turn_is_chosen(role: Role, task: str, attempt: int, say: str | None) -> None:
    turn = choose_turn(TURNS, role, task, attempt)
    assert (turn.say if turn else None) == say


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", ["s.yaml: the file is empty"], id="empty"),
        pytest.param("turns: [", ["s.yaml:1:9: "], id="no YAML"),
        pytest.param("version: 1\nturns:\n\t- a\n", ["s.yaml:3:1: "], id="tab"),
        pytest.param("version: 2\nturns: [{role: PO}]", ["s.yaml:1:10: version must be 1"], id="version"),
        pytest.param("turns: [{role: PO}]", ["s.yaml:1:1: version must be 1"], id="no version"),
        pytest.param("version: 1\nturns: []", ["s.yaml:2:8: turns must be a list"], id="no turns"),
        pytest.param("version: 1\nturn: []", ["s.yaml:2:1: unknown field 'turn'"], id="misspelt"),
        pytest.param("version: 1\nturns: [{role: QA}]", ["s.yaml:2:16: Invalid enum value 'QA'"], id="role"),
        pytest.param(
            "version: 1\nturns:\n- say: x", ["s.yaml:3:3: the turn missing required field `role`"], id="no role"
        ),
        pytest.param("version: 1\nturns:\n- role: PO\n  sya: x", ["s.yaml:4:3: ", "unknown field `sya`"], id="field"),
        pytest.param(
            "version: 1\nturns:\n- role: PO\n  replace:\n  - path: a\n    old: 1\n    new: b",
            ["s.yaml:6:10: Expected `str`, got `int`"],
            id="deep inside",
        ),
        pytest.param(
            "version: 1\nturns:\n- role: PO\n  delay: -1\n- role: DEV\n  exit: 256\n- role: DEV\n  say: a\n  say: b",
            ["s.yaml:4:10: ", "s.yaml:6:9: ", "s.yaml:9:3: 'say' is there twice"],
            id="all at once",
        ),
        pytest.param(b"version: 1\nturns: \xff", ["s.yaml:2:8: this byte is no UTF-8"], id="no UTF-8"),
        pytest.param("version: 1\nturns: [{role: PO, say: !!python/name:os.system x}]", ["s.yaml:2:9: "], id="tag"),
        pytest.param("a: \0", ["s.yaml: no YAML: unacceptable character"], id="NUL"),
        pytest.param("[" * 5000, ["s.yaml: no YAML"], id="deep nesting"),
        pytest.param("&a [*a]", ["s.yaml:1:1: version"], id="a list in itself"),
        pytest.param('{"turns": [{"role": "PO"}]}', ["s.yaml:1:1: version must be 1"], id="JSON without a version"),
        pytest.param('{"version": true, "turns": [{"role": "PO"}]}', ["s.yaml:1:13: version"], id="JSON of no version"),
        pytest.param('{"version": 1, "turns": []}', ["s.yaml:1:25: turns must be"], id="JSON without turns"),
        pytest.param('{"version": 1, "turns": [{"role": "PO"}], "x": 1}', ["1:43: unknown field 'x'"], id="JSON field"),
        pytest.param(
            '{"version": 1, "turns": [{"role": "PO",\n"say": "", "say": ""}]}',
            ["s.yaml:2:12: 'say' is there twice"],
            id="JSON with the same twice",
        ),
        pytest.param(
            '{"version": 1, "turns": [{"role": "PO", "delay": NaN}]}', ["s.yaml:1:50: Expected `float`"], id="JSON NaN"
        ),
    ],
)
def test_an_unreadable_script_names_the_place(tmp_path: Path, text: str | bytes, said: list[str]) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UnreadableFile) as caught:
        read_script(path)
    for part in said:
        assert part in caught.value.message.replace(f"{tmp_path}/", "")
    assert "docs/scripted-agent.md" in caught.value.hint


def test_the_place_reaches_the_person_through_the_agent(step: AgentRequest) -> None:
    ran = play(step, "files: [a]")
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.SETUP
    assert "s.yaml:4:12: Expected `object`, got `array`" in ran.answer.failure.message


def test_a_script_that_is_not_there(step: AgentRequest) -> None:
    ran = run_agent(find_agent("scripted", {"file": "gone.yaml"}), replace(step, options={}))
    assert ran.answer.failure is not None
    assert ran.answer.failure.kind is FailureKind.SETUP
    assert "gone.yaml: the script cannot be read: No such file" in ran.answer.failure.message


def test_the_documented_example_plays(step: AgentRequest) -> None:
    document = Path(__file__).resolve().parents[2].joinpath("docs", "scripted-agent.md").read_text(encoding="utf-8")
    Path(step.workspace, "s.yaml").write_text(document.partition("```yaml\n# script.yaml\n")[2].partition("```")[0])
    steps = [(Role.PO, "", 1), (Role.DEV, "T1", 1), (Role.DEV, "T1", 2)]
    agent = find_agent("scripted", {})
    for role, task, attempt in steps:
        answer = run_agent(agent, replace(step, role=role, task_id=task, attempt=attempt)).answer
        assert answer.failure is None
        assert answer.closing is not None
    assert Path(step.workspace, "hello.sh").read_text() == "echo hello\n"


def test_json_is_read_as_json(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text('{"version": 1, "turns": [{"role": "PO", "say": "\\ud83d\\ude00\\/", "delay": 1e2}]}\n')
    assert read_script(path) == (Turn(Role.PO, say="\U0001f600/", delay=100),)


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\nturns: [{role: PO}]\n")
    assert read_script(path) == (Turn(Role.PO),)


FIELDS = st.sampled_from(["version", "turns", "role", "say", "files", "attempt", "closing", "replace"])
SCRIPTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["PO", "DEV", 1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=15,
)


@given(text=st.text() | SCRIPTS.map(lambda value: json.dumps({"version": 1, "turns": value})))
def test_any_text_is_turns_or_problems_with_their_place(tmp_path_factory: Any, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"script-{os.getpid()}.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        assert read_script(path)
    except UnreadableFile as error:
        found = error.problems
    else:
        return
    assert found
