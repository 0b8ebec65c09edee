"""`aiframe init --from`: what a Task Orchestrator was told is told here, and what cannot be is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from app.test_app_worktree import repository, shown

from aiframe.app.making.frame import lay_frame
from aiframe.app.making.init import InitReport, init_project
from aiframe.core.errors import AiframeError, UnreadableFile
from aiframe.core.model import Role, State, Task, TaskStatus
from aiframe.core.resources import Capacity, Resource
from aiframe.process import now
from aiframe.store.layout import Layout
from aiframe.store.project_store import ProjectStore
from aiframe.store.settings_file import ProjectSettings, load_settings
from aiframe.store.tasks_file import load_tasks

WHOLE = """\
# as the tool's own example has it
repo_path: my app
main_branch: master
task_branch_prefix: agent/
doctor: "npm run lint && npm test"
doctor_timeout: 600
max_parallel: 3
max_retries: 5
resources:
  - key: api
    description: The server.
    paths: ["src/api/**", ./routes/**]
    owner: nobody
  - key: database
    description: The one there is
  - key: the web
    paths: [web/**]
bootstrap: [npm ci, "npm run build"]
docker: {image: "worker:latest", dockerfile: templates/worker.Dockerfile, memory: 4g, cpus: 2, pids_limit: 256}
worker: {sdk: codex-sdk, model: gpt-5-codex, effort: high}
planner: {model: gpt-5}
telemetry: off
"""


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    return lay_frame(tmp_path / "frame").root


def take(frame: Path, config: str | bytes, **given: Any) -> InitReport:
    path = frame.parent / "old.yaml"
    path.write_bytes(config if isinstance(config, bytes) else config.encode())
    environ = {**os.environ, "XDG_STATE_HOME": str(frame.parent / "state")}
    fixed: dict[str, Any] = {"clock": now(), "cwd": frame, "environ": environ, "old": path, **given}
    return init_project(frame, "shop", **fixed)


def settings_of(report: InitReport) -> ProjectSettings:
    return load_settings(report.path / "PROJECT.yaml", {})


def manifest(repo: Path, place: str, spec_text: str = "", **fields: Any) -> Path:
    folder = repo / ".tasks" / place
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(fields, indent=2))
    if spec_text:
        (folder / "spec.md").write_text(spec_text)
    return folder


# What has a counterpart -----------------------------------------------------------------------------------------------


def test_all_that_has_a_counterpart_is_taken_over_and_the_rest_is_named(tmp_path: Path, frame: Path) -> None:
    repo = repository(tmp_path)
    before = shown(repo)
    report = take(frame, WHOLE)
    found = settings_of(report)
    work, box = found.workspace, found.sandbox
    assert (work.kind, work.repo, work.base, work.setup) == (
        "worktree", str(repo), "master", ("npm ci", "npm run build"),
    )  # fmt: skip
    assert (found.gates.doctor, found.gates.timeout_s) == ("npm run lint && npm test", 600)
    assert (found.rules.capacity, found.rules.max_attempts) == (Capacity(3), 5)
    assert found.rules.resources == {
        "api": Resource("api", ("src/api/**", "routes/**")),
        "database": Resource("database", slots=1),
        "the-web": Resource("the-web", ("web/**",)),
    }
    assert (box.kind, box.image, box.memory_mb, box.processes) == ("container", "worker:latest", 4096, 256)
    assert {(a.name, a.model, a.effort) for a in (found.agents[Role.DEV],)} == {("codex", "gpt-5-codex", "high")}
    assert found.agents[Role.PO].model == "gpt-5"
    left = [note.split(": ", 1)[1].split(",")[0] for note in report.notes if note.startswith("not taken over")]
    assert sorted(left) == [
        "docker.cpus",
        "docker.dockerfile",
        "resources.api.owner",
        "task_branch_prefix",
        "telemetry",
    ]
    assert all(", because " in note for note in report.notes if note.startswith("not taken over"))
    assert any("'the web' is called the-web" in note for note in report.notes)
    assert "# api: The server." in (report.path / "PROJECT.yaml").read_text()
    assert shown(repo) == before


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param('doctor: "make"', {"doctor": "make"}, id="a doctor"),
        pytest.param("doctor: {command: make, timeout_minutes: 5}", {"doctor": "make", "timeout_s": 300}, id="mapping"),
        pytest.param("doctor: [make lint, make]", {"doctor": "make lint && make"}, id="a list"),
        pytest.param("test_command: make", {"doctor": "make"}, id="tests alone"),
        pytest.param("doctor: make\ntest_command: make", {"doctor": "make"}, id="the same twice"),
        pytest.param("doctor: a\ntestCommand: b", {"doctor": "a && b"}, id="both"),
        pytest.param('doctor: "a || c"\ntest_command: b', {"doctor": "set -e\na || c\nb"}, id="both, and not simple"),
    ],
)
def test_the_command_for_the_whole(frame: Path, config: str, expected: dict[str, Any]) -> None:
    gates = settings_of(take(frame, config)).gates
    assert {name: getattr(gates, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param("{api: [src/**, lib/**]}", {"api": Resource("api", ("src/**", "lib/**"))}, id="names and globs"),
        pytest.param("{api: src/**}", {"api": Resource("api", ("src/**",))}, id="one glob"),
        pytest.param("{api: {globs: [src/**]}}", {"api": Resource("api", ("src/**",))}, id="mappings"),
        pytest.param("[db, api]", {"db": Resource("db", slots=1), "api": Resource("api", slots=1)}, id="names alone"),
        pytest.param("[{name: a b}, {name: a-b}]", "stands here again", id="two that get one name"),
        pytest.param("[{paths: [src]}]", "needs a key", id="no name"),
        pytest.param("[{key: etc, paths: [/etc/**]}]", "names no file of the repository", id="outside"),
        pytest.param("[{key: up, paths: [a/../../b]}]", "names no file of the repository", id="above"),
    ],
)
def test_resources(frame: Path, config: str, expected: dict[str, Resource] | str) -> None:
    if not isinstance(expected, str):
        assert settings_of(take(frame, f"resources: {config}")).rules.resources == expected
        return
    with pytest.raises(UnreadableFile, match=rf"old\.yaml:1:\d+: .*{expected}"):
        take(frame, f"resources: {config}")


def test_what_is_given_on_the_command_line_goes_before(tmp_path: Path, frame: Path) -> None:
    repo = repository(tmp_path)
    report = take(frame, WHOLE.replace("my app", "nowhere"), repo=repo, agent="claude")
    found = settings_of(report)
    assert found.workspace.repo == str(repo)
    assert (found.agents[Role.DEV].name, found.agents[Role.DEV].model) == ("claude", "")


def test_a_base_that_is_not_there_is_made_when_asked_for(tmp_path: Path, frame: Path) -> None:
    repository(tmp_path)
    config = WHOLE.replace("main_branch: master", "main_branch: main")
    with pytest.raises(AiframeError) as refused:
        take(frame, config)
    assert "--create-base" in refused.value.hint
    assert settings_of(take(frame, config, create_base=True)).workspace.base == "main"


# Tasks ----------------------------------------------------------------------------------------------------------------


def test_its_tasks_become_the_plan_and_the_project_is_ready_to_run(tmp_path: Path, frame: Path) -> None:
    repo = repository(tmp_path, {".gitignore": ".tasks/\n", "a.txt": "a\n"})
    manifest(
        repo, "001-login", "# Log in\n\nWith a passkey: ünïcode.\n", id="001", name="Log in", description="A form.",
        dependencies=[], locks={"reads": ["the web"], "writes": ["api"]}, estimated_minutes=20,
        verify={"doctor": "npm test", "commands": ["npm run e2e"], "strict": True},
    )  # fmt: skip
    manifest(repo, "002", name="Log out", dependencies=["001"], verify="npm test", status="done", priority="high")
    manifest(repo, "deep/er/003", title="Look", depends_on="002", status="failed", acceptance_criteria=["it is nice"])
    report = take(frame, WHOLE)
    first, second, third = load_tasks(report.path / "TASKS.yaml").tasks
    assert first == Task(
        id="001", title="Log in", description="A form.\n\n# Log in\n\nWith a passkey: ünïcode.",
        verify=("npm test", "npm run e2e"), reads=("the-web",), writes=("api",), notes=first.notes,
    )  # fmt: skip
    assert '"estimated_minutes": 20' in first.notes
    assert '"strict": true' in first.notes
    assert (second.id, second.status, second.priority, second.blocked_by) == ("002", TaskStatus.DONE, "high", ("001",))
    assert (third.id, third.status, third.dod) == ("003", TaskStatus.TODO, ("it is nice",))
    project = ProjectStore(Layout(report.path)).load().project
    assert (project.state, project.settings.plan_locked) == (State.DEV_READY, True)
    assert report.next_commands[0].startswith("aiframe run --dry-run")
    said = "\n".join(report.notes)
    assert "tasks taken over from manifests: 3" in said
    assert "done in the old tool, and so here: 002" in said
    assert "so a person has to look: 003" in said


@pytest.mark.parametrize(
    ("named", "described", "noted"),
    [
        pytest.param("spec.md", "The spec.", False, id="from its folder on"),
        pytest.param(".tasks/one/spec.md", "The spec.", False, id="from the top folder on"),
        pytest.param("{repo}/.tasks/one/spec.md", "The spec.", False, id="a whole path"),
        pytest.param("elsewhere.md", "", True, id="nowhere"),
    ],
)
def test_where_a_manifest_may_say_its_specification_is(
    tmp_path: Path, frame: Path, named: str, described: str, noted: bool
) -> None:
    repo = repository(tmp_path)
    manifest(repo, "one", "The spec.\n", name="One", spec_path=named.format(repo=repo))
    (task,) = load_tasks(take(frame, WHOLE).path / "TASKS.yaml").tasks
    assert (task.description, named in task.notes) == (described, noted)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"id": "../up"}, r"one/manifest.json:2:3: .*not usable", id="an id"),
        pytest.param({"id": "two"}, "manifest.json:2:3: the id two stands in .*one/manifest.json too", id="twice"),
        pytest.param({"dependencies": ["nine"]}, r"manifest.json:2:3: one depends on 'nine'", id="an unknown one"),
        pytest.param(
            {"dependencies": ["two"]}, "wait for each other: (one -> two -> one|two -> one -> two)", id="cycle"
        ),
        pytest.param({"locks": ["api"]}, "locks must hold reads and writes", id="locks"),
        pytest.param({"locks": {"writes": ["../x"]}}, "leads out of the repository", id="a lock outside"),
        pytest.param({"name": {"a": 1}}, "name must be a text", id="a name"),
        pytest.param({"spec_path": "../../../secret"}, "leads outside", id="a specification outside"),
        pytest.param({"spec_path": "/etc/hostname"}, "leads outside", id="a specification of the machine"),
    ],
)
def test_a_manifest_that_will_not_do(tmp_path: Path, frame: Path, fields: dict[str, Any], said: str) -> None:
    repo = repository(tmp_path)
    manifest(repo, "one", **fields)
    manifest(repo, "two", id="two", dependencies=["one"] if "dependencies" in fields else [])
    with pytest.raises(AiframeError, match=said):
        take(frame, WHOLE)
    assert [path.name for path in (frame / "projects").iterdir() if not path.name.startswith(".git")] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(b'{"id": "one",}', r"manifest.json:1:\d+: is no JSON", id="no JSON"),
        pytest.param(b"\xff\xfe", "no UTF-8", id="no text"),
        pytest.param(b"[" * 100_000, "no JSON|nested", id="deep"),
        pytest.param(b" " * 300_000, "at most 262144", id="huge"),
        pytest.param(b"[]", "is no JSON object", id="a list"),
    ],
)
def test_a_manifest_that_cannot_be_read(tmp_path: Path, frame: Path, text: bytes, said: str) -> None:
    repo = repository(tmp_path)
    (manifest(repo, "one") / "manifest.json").write_bytes(text)
    with pytest.raises(UnreadableFile, match=said):
        take(frame, WHOLE)


def test_links_out_of_the_repository_are_not_followed(tmp_path: Path, frame: Path) -> None:
    repo = repository(tmp_path)
    (tmp_path / "secret").write_text("the secret\n")
    (manifest(repo, "one", name="One") / "spec.md").symlink_to(tmp_path / "secret")
    with pytest.raises(AiframeError, match="leads outside"):
        take(frame, WHOLE)


# Files that are none --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "said"),
    [
        pytest.param("", r"old.yaml:1:1: is no configuration", id="empty"),
        pytest.param("- a\n- b\n", "is no configuration of a Task Orchestrator", id="a list"),
        pytest.param("agent: codex\nlimits: {}\n", "is no configuration of a Task Orchestrator", id="another file"),
        pytest.param("repo_path: [\n", r"old.yaml:\d+:\d+: is no YAML", id="no YAML"),
        pytest.param("\tdoctor: x", r"old.yaml:1:1: is indented with a tab", id="a tab"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0", "no UTF-8", id="no text"),
        pytest.param(b"doctor: " + b"x" * 2_000_000, "at most 1048576 are read", id="huge"),
        pytest.param("doctor: x\ndoctor: y\n", r"old.yaml:2:1: the key 'doctor' stands here again", id="a key twice"),
        pytest.param(
            "doctor: x\nmax_parallel: 0\n", r"old.yaml:2:15: max_parallel must be a whole number", id="a zero"
        ),
        pytest.param("doctor: x\nmax_parallel: many\n", r"old.yaml:2:15: max_parallel must be", id="no number"),
        pytest.param("doctor: x\nbootstrap: [[a]]\n", "an entry of bootstrap is no single text", id="no commands"),
        pytest.param("doctor: x\ndocker: yes\n", "docker must hold keys and values", id="no mapping"),
        pytest.param("repo_path: nowhere\n", "there is no folder", id="no repository"),
    ],
)
def test_a_file_that_will_not_do_leaves_nothing(frame: Path, config: str | bytes, said: str) -> None:
    with pytest.raises(AiframeError, match=said) as refused:
        take(frame, config)
    assert refused.value.hint
    assert [path.name for path in (frame / "projects").iterdir() if not path.name.startswith(".git")] == []


def test_a_file_that_is_not_there(frame: Path) -> None:
    with pytest.raises(AiframeError, match="there is no file"):
        init_project(frame, "shop", clock=now(), cwd=frame, environ=os.environ, old=frame / "none.yaml")
