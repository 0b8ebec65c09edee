"""gates.doctor is relied on once it was seen to pass on the files as they are, and to fail on a planted fault."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.needs import needs
from support.projects import dev, git, lock_free, task, wait_for
from support.proving import KINDS, Proving, lay_proving, placed

from aiframe.workspaces.planting import FAULT

COMPILES = "python3 -m compileall -q ."
FILES = {
    "src/main.py": "def main() -> int:\n    return 1\n",
    "src/more.py": "MORE = 1\n",
    "lib/few.py": "F = 1\n",
    "tests/test_main.py": "from src.main import main\n\nassert main() == 1  # a long line of a test\n",
    "Makefile": "check:\n\tpython3 -m compileall -q src\n",
    ".gitignore": "__pycache__/\nmade/\n",
}
SHELL = {"run.sh": "#!/bin/sh\necho hello\n", "notes.txt": "x\n"}
TASKS = [task("T1", "test -e one.txt"), task("T2", "test -e two.txt")]
TURNS = [dev("T1", files={"one.txt": "1\n"}), dev("T2", files={"two.txt": "2\n"})]

inplace_and_worktree = pytest.mark.parametrize("kind", KINDS)


def lay(
    folder: Path, kind: str = "inplace", files: dict[str, str] | None = None, tasks: int = 1, **gates: Any
) -> Proving:
    """A project with *tasks* to do; `setup` and `sandbox` are keys of PROJECT.yaml's own, the others those of gates."""
    settings = {name: gates.pop(name) for name in ("setup", "sandbox") if name in gates}
    return lay_proving(folder, kind, FILES if files is None else files, TASKS[:tasks], TURNS, gates, **settings)


def told(project: Proving) -> dict[str, str]:
    """What a person is told of the failure."""
    return dict(project.bench.state["failure"])


def names(project: Proving, number: int = -1) -> list[tuple[str, bool]]:
    """The checks of a run, and whether each passed."""
    return [(gate["name"], gate["exit_code"] == 0) for gate in project.gates(number)]


def assert_nothing_is_left(project: Proving) -> None:
    """No fault lies where anybody works, and the checkout is gone."""
    assert project.checkouts() == []
    mark = FAULT.decode().strip()
    roots = {project.bench.root, project.repo, project.bench.root.parent / "state"}
    found = [path for root in roots for path in root.rglob("*.py") if path.is_file()]
    found += [path for root in roots for path in root.rglob("*.sh") if path.is_file()]
    assert [str(path) for path in found if mark in path.read_text()] == []
    assert git(project.repo, "status", "--porcelain", "--", "src", "lib", "run.sh") == ""


@placed(
    "files, command, setup, noticed",
    [
        pytest.param(FILES, COMPILES, [], "src/main.py", id="compileall"),
        pytest.param(FILES, "make check", [], "src/main.py", id="make"),
        pytest.param(SHELL, "sh -n run.sh", [], "run.sh", id="sh -n"),
        pytest.param(
            FILES,
            "{ test -d made || test -e STATE.json; } && make check",
            ["mkdir made"],
            "src/main.py",
            id="what the setup makes",
        ),
    ],
    both=["compileall", "what the setup makes"],
)
def test_a_doctor_that_notices_a_fault_is_relied_on(
    tmp_path: Path, kind: str, files: dict[str, str], command: str, setup: list[str], noticed: str
) -> None:
    project = lay(tmp_path, kind, files, doctor=command, setup=setup)
    done = project.bench.tick()
    assert (project.bench.where, project.bench.statuses()) == ("DONE", {"T1": "done"}), done.said + project.bench.log()
    proof = [gate for gate in project.gates() if gate["ran_on"]]
    checks = [gate for gate in proof if "setup" not in gate["name"]]
    assert [gate["name"] for gate in checks] == ["doctor-base", "doctor-fault-1"]
    assert all(gate["clean_checkout"] for gate in proof)
    base, fault = checks
    assert (base["exit_code"], base["ran_on"]) == (0, "the base")
    assert fault["exit_code"] != 0
    assert fault["ran_on"] == f"the base with a fault planted in {noticed}"
    assert git(project.repo, "diff", "--name-only", base["tree"], fault["tree"]) == noticed
    assert FAULT.decode().strip() in git(project.repo, "show", f"{fault['tree']}:{noticed}")
    assert (project.bench.root / fault["log_file"]).is_file()
    assert names(project)[-2:] == [("verify-1", True), ("doctor", True)]
    assert_nothing_is_left(project)


@placed(
    "command, more, tried",
    [
        pytest.param("true", {}, "src/main.py, then in src/more.py, then in lib/few.py", id="true"),
        pytest.param("grep -q main src/main.py", {}, "src/main.py", id="grep"),
        pytest.param("python3 -m compileall -q tests", {}, "src/main.py", id="one folder"),
        pytest.param("mkdir made", {}, "src/main.py", id="one that passes but once"),
        pytest.param("true", {"doctor_probe": "lib/few.py"}, "a file, in lib/few.py", id="the file that is named"),
        pytest.param(
            "! grep -q planted src/main.py || sleep 60",
            {"timeout_min": 0.05, "doctor_probe": "src/main.py"},
            "src/main.py",
            id="hangs on a fault",
        ),
    ],
    both=["true", "one that passes but once"],
)
def test_a_doctor_that_notices_nothing_stops_the_project_before_an_agent_is_paid(
    tmp_path: Path, kind: str, command: str, more: dict[str, Any], tried: str
) -> None:
    project = lay(tmp_path, kind, doctor=command, **more)
    assert project.bench.tick().code == 1
    assert (project.bench.where, project.bench.statuses()) == ("ERROR", {"T1": "todo"}), project.bench.log()
    failure = told(project)
    assert failure["kind"] == "setup"
    assert f"`{command}` notices no fault" in failure["message"]
    assert tried in failure["message"]
    assert all(way in failure["hint"] for way in ("correct gates.doctor", "doctor_probe: PATH", "prove_doctor: false"))
    assert "notices no fault" in project.bench.do("why").out
    assert not list(project.bench.root.glob("logs/runs/*/agent.jsonl")), "the agent was started in vain"
    assert names(project)[0] == ("doctor-base", True)
    assert_nothing_is_left(project)


def test_what_a_person_does_about_it_is_taken_up(tmp_path: Path) -> None:
    project = lay(tmp_path, doctor="python3 -m compileall -q tests")
    assert project.bench.tick().code == 1
    project.settings(gates={"doctor_probe": "tests/test_main.py"})
    project.bench.do("resume")
    assert project.bench.tick().code == 0
    assert project.bench.statuses() == {"T1": "done"}
    assert names(project)[:2] == [("doctor-base", True), ("doctor-fault-1", False)]


@pytest.mark.parametrize("gates", [{"prove_doctor": False}, {"doctor_probe": "src/more.py", "prove_doctor": False}])
def test_a_person_may_rely_on_it_unproven(tmp_path: Path, gates: dict[str, Any]) -> None:
    project = lay(tmp_path, doctor="true", **gates)
    assert project.bench.tick().code == 0
    assert names(project) == [("verify-1", True), ("doctor", True)]
    assert project.checkouts() == []


@placed(
    "command, more, says",
    [
        pytest.param("echo seen by the doctor; exit 3", {}, ["exit code 3", "seen by the doctor"], id="red"),
        pytest.param("sleep 60", {"timeout_min": 0.01}, ["did not end within 0.6 s"], id="hangs"),
        pytest.param("nothing-of-that-name", {}, ["exit code 127"], id="not there"),
        pytest.param("test -e .git", {}, ["exit code 1"], id="needs the repository"),
    ],
    both=["red", "needs the repository"],
)
def test_a_base_that_is_red_before_any_work_is_a_persons_matter(
    tmp_path: Path, kind: str, command: str, more: dict[str, Any], says: list[str]
) -> None:
    project = lay(tmp_path, kind, doctor=command, **more)
    assert project.bench.tick().code == 1
    failure = told(project)
    assert (project.bench.where, project.bench.statuses()) == ("ERROR", {"T1": "todo"})
    assert failure["kind"] == "setup"
    assert [words for words in says if words not in failure["message"]] == []
    assert "workspace" in failure["hint"]
    assert not list(project.bench.root.glob("logs/runs/*/agent.jsonl"))
    assert project.gates()[-1]["exit_code"] != 0
    assert_nothing_is_left(project)


def test_a_setup_that_fails_is_told_as_such(tmp_path: Path) -> None:
    """In a worktree that of the workspace fails first."""
    project = lay(tmp_path, doctor=COMPILES, setup=["true", "echo lacking; exit 4"])
    assert project.bench.tick().code == 1
    failure = told(project)
    assert failure["kind"] == "setup"
    assert "the setup command `echo lacking; exit 4` failed with exit code 4" in failure["message"]
    assert "workspace.setup" in failure["hint"]
    assert names(project) == [("doctor-setup-1", True), ("doctor-setup-2", False)]
    assert_nothing_is_left(project)


@pytest.mark.parametrize("path", ["src", "none.py", "link.py"])
def test_a_probe_that_is_no_tracked_file_is_refused(tmp_path: Path, path: str) -> None:
    project = lay(tmp_path, doctor=COMPILES, doctor_probe=path)
    (project.repo / "link.py").symlink_to("src/main.py")
    project.bench.tick()
    assert f"gates.doctor_probe in PROJECT.yaml names {path}" in told(project)["message"]
    assert told(project)["kind"] == "setup"


def test_without_a_source_file_the_proof_waits_for_one(tmp_path: Path) -> None:
    project = lay(tmp_path, files={"notes.txt": ""}, tasks=2, doctor="true")
    turns = [dev("T1", files={"one.txt": "1", "main.py": "X = 1\n"}), TURNS[1]]
    (tmp_path / "script.json").write_text(json.dumps({"version": 1, "turns": turns}))
    project.bench.tick()
    assert project.bench.statuses() == {"T1": "done", "T2": "todo"}
    assert "is seen once there is a source file" in project.bench.log()
    assert "at the end of a file, in main.py" in told(project)["message"]


@inplace_and_worktree
def test_it_is_proven_once_and_again_when_what_it_hangs_on_changes(tmp_path: Path, kind: str) -> None:
    """T1 lands, so the base of T2 is another one; then the command changes, and T2 is to do again."""
    project = lay(tmp_path, kind, SHELL, tasks=2, doctor="sh -n run.sh")
    project.bench.tick()
    assert project.bench.statuses() == {"T1": "done", "T2": "done"}, project.bench.log()
    assert [name for name, _ in names(project, 0)] == ["doctor-base", "doctor-fault-1", "verify-1", "doctor"]
    assert [name for name, _ in names(project, 1)] == ["verify-1", "doctor"]
    assert project.landed("two.txt") == "2"
    for changes in ({"gates": {"doctor": "sh -n ./run.sh"}}, {"workspace": {"setup": ["true"]}}):
        assert project.bench.do("undo", "T2").code == 0
        project.settings(**changes)
        project.bench.tick()
        assert project.bench.statuses()["T2"] == "done", project.bench.log()
        checks = [name for name, _ in names(project) if "setup" not in name]
        assert checks[:2] == ["doctor-base", "doctor-fault-1"]
    assert project.bench.do("undo", "T2").code == 0
    project.settings(gates={"doctor": "true"})
    assert project.bench.tick().code == 1
    assert "notices no fault" in told(project)["message"]


@inplace_and_worktree
def test_a_proof_whose_runner_is_killed_is_made_again(tmp_path: Path, kind: str) -> None:
    go, begun = tmp_path / "go", tmp_path / "begun"
    waits = f"{COMPILES} || {{ test -e {go} || {{ touch {begun}; sleep 60; }}; exit 1; }}"
    project = lay(tmp_path, kind, doctor=waits)
    project.bench.tick("--no-wait")
    wait_for(begun.exists, "the planted fault")
    assert project.checkouts() != []
    os.kill(project.bench.state["runner"]["pid"], signal.SIGKILL)
    wait_for(lambda: lock_free(project.bench), "the end of the run")
    go.touch()
    assert not (project.bench.control_dir / "doctor-proof.json").exists()
    project.bench.tick()
    assert (project.bench.where, project.bench.statuses()) == ("DONE", {"T1": "done"}), project.bench.log()
    assert names(project)[:2] == [("doctor-base", True), ("doctor-fault-1", False)]
    assert_nothing_is_left(project)


def test_an_agent_cannot_forge_that_it_is_proven(tmp_path: Path) -> None:
    forge = "test ! -e .git/aiframe/doctor-proof.json || echo '{}' > .git/aiframe/doctor-proof.json"
    project = lay(tmp_path, files=SHELL, tasks=2, doctor="sh -n run.sh")
    turns = [dev("T1", files={"one.txt": "1"}, run=[forge]), TURNS[1]]
    (tmp_path / "script.json").write_text(json.dumps({"version": 1, "turns": turns}))
    project.bench.tick()
    assert project.bench.statuses() == {"T1": "done", "T2": "done"}
    assert "aiframe's own doctor-proof.json was lost: restored" in json.dumps(project.bench.results()[0]["notes"])
    assert [name for name, _ in names(project, 1)] == ["verify-1", "doctor"]


@needs("bwrap")
def test_the_proof_runs_in_the_sandbox_of_the_gates(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    project = lay(tmp_path, doctor=f"touch {outside} 2>&-; {COMPILES}", sandbox="bubblewrap")
    project.bench.tick()
    assert project.bench.statuses() == {"T1": "done"}, project.bench.log()
    assert {gate["sandbox"] for gate in project.gates()} == {"bubblewrap"}
    assert not outside.exists()
