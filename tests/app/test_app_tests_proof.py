"""gates.prove_tests: the tests that come with a change have to fail without it, or the change goes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.needs import needs
from support.projects import dev, git, play, task
from support.proving import KINDS, Proving, lay_proving, placed

FILES = {
    "add.sh": "echo $(($1 + $2))\n",
    "tests/test_add.sh": 'test "$(sh add.sh 1 2)" = 3\n',
    "tests/test_old.sh": "test -e add.sh\n",
    "tests/data.txt": "1\n",
    ".gitignore": "*.o\nmade/\n",
}
RUN_ALL = "for each in tests/*.sh; do sh $each || exit 1; done"
TRIPLE = {"triple.sh": "echo $(($1 * 3))\n"}
TESTS_IT = {"tests/test_triple.sh": 'test "$(sh triple.sh 2)" = 6\n'}
ASSERTS_NOTHING = {"tests/test_triple.sh": "sh triple.sh 2 2>&- || true\n"}

inplace_and_worktree = pytest.mark.parametrize("kind", KINDS)


def lay(folder: Path, kind: str, *turns: dict[str, Any], verify: tuple[str, ...] = (RUN_ALL,), **more: Any) -> Proving:
    """A project with one task; *more* are keys of gates, and `setup`, `audit` or `files`."""
    setup, files = more.pop("setup", ()), more.pop("files", {})
    gates = {"prove_tests": ["tests/**"], **more}
    return lay_proving(folder, kind, FILES | files, [task("T1", *verify)], list(turns), gates, setup)


def work(*changes: dict[str, str], **more: Any) -> dict[str, Any]:
    files: dict[str, str] = {}
    for each in changes:
        files |= each
    return dev("T1", files=files, **more)


def proofs(project: Proving, number: int = 0) -> list[tuple[str, bool]]:
    """The checks of the tests of a run, and whether each passed."""
    return [(g["name"], g["exit_code"] == 0) for g in project.gates(number) if g["name"].startswith("tests")]


@placed(
    "turn, more, checks",
    [
        pytest.param(work(TRIPLE, TESTS_IT), {}, [("tests-1", False), ("tests-with-1", True)], id="a new test"),
        pytest.param(work(TRIPLE, TESTS_IT), {"clean_checkout": True}, [("tests-1", False)], id="clean checkout"),
        pytest.param(
            work({"add.sh": "echo $(($1 + $2 + ${3:-0}))\n", "tests/test_add.sh": 'test "$(sh add.sh 1 2 3)" = 6\n'}),
            {},
            [("tests-1", False), ("tests-with-1", True)],
            id="a changed test",
        ),
        pytest.param(
            work({"add.sh": "echo 2\n", "tests/data.txt": "2\n"}, run=["git rm -q tests/test_add.sh"]),
            {"verify": ["test -e tests/test_old.sh", 'test "$(sh add.sh 1 0)" = "$(cat tests/data.txt)"']},
            [("tests-1", True), ("tests-2", False), ("tests-with-1", True), ("tests-with-2", True)],
            id="one changed and one deleted, by the second command",
        ),
        pytest.param(
            work(
                TRIPLE, {"tests/test_three.sh": 'test "$(sh triple.sh 2)" = 6\n'}, run=["git rm -q tests/test_add.sh"]
            ),
            {},
            [("tests-1", False), ("tests-with-1", True)],
            id="renamed and rewritten",
        ),
        pytest.param(
            work(TRIPLE, TESTS_IT, run=["mkdir made; echo x > made/lib"]),
            {"setup": ["mkdir -p made; echo x > made/lib"], "verify": [f"test -e made/lib && {{ {RUN_ALL}; }}"]},
            [("tests-setup-1", True), ("tests-1", False), ("tests-with-setup-1", True), ("tests-with-1", True)],
            id="with what the setup makes",
        ),
    ],
    both=["a new test", "clean checkout", "with what the setup makes"],
)
def test_tests_that_fail_without_the_work_are_proven(
    tmp_path: Path, kind: str, turn: dict[str, Any], more: dict[str, Any], checks: list[tuple[str, bool]]
) -> None:
    project = lay(tmp_path, kind, turn, **{**more, "verify": tuple(more.get("verify", [RUN_ALL]))})
    base = git(project.repo, "rev-parse", "HEAD") if kind == "worktree" else ""
    project.bench.tick()
    assert project.bench.statuses() == {"T1": "done"}, project.bench.log()
    assert proofs(project) == checks
    gates = project.gates()
    without = next(gate for gate in gates if gate["name"] == "tests-1")
    assert (without["ran_on"], without["clean_checkout"]) == ("the base with only the tests of the work", True)
    landed = git(project.repo, "rev-parse", f"{project.bench.results()[0]['commit']}^{{tree}}")
    changed = git(project.repo, "diff", "--name-only", without["tree"], landed).split()
    assert changed
    assert not [name for name in changed if name.startswith("tests/")], "the tests are those of the work"
    if base:
        assert git(project.repo, "diff", "--name-only", base, without["tree"], "--", ".", ":!tests") == ""
    assert {gate["tree"] for gate in gates if not gate["ran_on"]} == {landed}
    assert (project.bench.root / without["log_file"]).is_file()
    assert "fails without the work, as it has to" in project.bench.log()


@placed(
    "turn, more, says",
    [
        pytest.param(work(TRIPLE, ASSERTS_NOTHING), {}, "pass without your change", id="asserts nothing"),
        pytest.param(work(TRIPLE, {"tests/test_triple.sh": "true\n"}), {}, "pass without your change", id="true"),
        pytest.param(
            work({"add.sh": "echo 3\n", "tests/test_add.sh": "true\n"}), {}, "pass without your change", id="weakened"
        ),
        pytest.param(
            work(TRIPLE, {"tests/test_triple.sh": "true\n"}, run=["git rm -q tests/test_add.sh"]),
            {},
            "pass without your change",
            id="one that asserts nothing in place of one that does",
        ),
        pytest.param(
            work({"bin/triple": "#!/bin/sh\n"}, {"tests/test_triple.sh": "true\n"}, run=["chmod +x bin/triple"]),
            {"verify": ("bin/triple",)},
            "exit code 127: it could not be run",
            id="a command that is not there",
        ),
        pytest.param(
            work(TRIPLE, {"tests/test_triple.sh": "test -e triple.sh || sleep 60\n"}),
            {"timeout_min": 0.05},
            "did not end in time, which proves nothing",
            id="hangs",
        ),
    ],
    both=["asserts nothing"],
)
def test_tests_that_prove_nothing_go_back_to_the_agent(
    tmp_path: Path, kind: str, turn: dict[str, Any], more: dict[str, Any], says: str
) -> None:
    again = work(TRIPLE, TESTS_IT, attempt=2)
    project = lay(tmp_path, kind, {**turn, "attempt": 1}, again, **more)
    project.bench.tick()
    assert next(outcome for _, outcome, _ in project.bench.ended()) == "verify_failed"
    named = [name for name in turn["files"] if name.startswith("tests/")]
    prompt = project.bench.prompts()[1]
    assert "make them fail without it: " in prompt
    assert [name for name in (*named, says) if name not in prompt] == []
    assert proofs(project)[0][0] == "tests-1"
    assert project.bench.results()[0]["broken"]["failures"][0]["kind"] == "verify_failed"
    if not more:
        assert project.bench.statuses() == {"T1": "done"}, project.bench.log()
        assert project.landed("tests/test_triple.sh") == TESTS_IT["tests/test_triple.sh"].strip()


@placed(
    "turn, verify, says",
    [
        pytest.param(work(TRIPLE), (RUN_ALL,), "no test was added or changed", id="no test"),
        pytest.param(
            work(TRIPLE, run=["git rm -q tests/test_old.sh"]), (RUN_ALL,), "no test was added or changed", id="deleted"
        ),
        pytest.param(
            work(TRIPLE, run=["git mv tests/test_old.sh tests/test_new.sh"]),
            (RUN_ALL,),
            "no test was added or changed",
            id="renamed",
        ),
        pytest.param(
            work({"tests/test_more.sh": "true\n"}), (RUN_ALL,), "the work is tests alone", id="tests and nothing else"
        ),
        pytest.param(work(TRIPLE, TESTS_IT), (), "no verify command", id="nothing that runs them"),
        pytest.param(
            work(TRIPLE, {"tests/test_triple.sh": "test -e lib.o && test $(sh triple.sh 2) = 6\n", "lib.o": ""}),
            (RUN_ALL,),
            "is not known: in a clean checkout",
            id="tests that need ignored files",
        ),
    ],
    both=["no test", "nothing that runs them", "tests that need ignored files"],
)
def test_where_nothing_can_be_proven_the_work_lands_and_people_are_told(
    tmp_path: Path, kind: str, turn: dict[str, Any], verify: tuple[str, ...], says: str
) -> None:
    project = lay(tmp_path, kind, turn, verify=verify)
    project.bench.tick()
    assert project.bench.statuses() == {"T1": "done"}, project.bench.log()
    result = project.bench.results()[0]
    assert [note for note in result["notes"] if says in note] != []
    assert says in project.bench.log()
    assert says in json.dumps(project.bench.events)


def test_no_change_and_no_patterns_say_nothing(tmp_path: Path) -> None:
    nothing = lay(tmp_path / "a", "inplace", dev("T1"))
    off = lay(tmp_path / "b", "inplace", work(TRIPLE, ASSERTS_NOTHING), prove_tests=[])
    for project in (nothing, off):
        project.bench.tick()
        assert project.bench.statuses() == {"T1": "done"}
        assert (proofs(project), project.bench.results()[0]["notes"]) == ([], [])


def test_it_costs_attempts_until_the_task_has_failed(tmp_path: Path) -> None:
    turns = [work(TRIPLE, {"tests/test_triple.sh": f"true {number}\n"}, attempt=number) for number in (1, 2, 3)]
    project = lay(tmp_path, "inplace", *turns)
    project.bench.tick()
    assert project.bench.statuses() == {"T1": "failed"}
    assert [outcome for _, outcome, _ in project.bench.ended()].count("verify_failed") == 3


@inplace_and_worktree
def test_the_auditor_is_told_what_was_found(tmp_path: Path, kind: str) -> None:
    judge = {"role": "AUDIT", "closing": {"approved": True, "findings": []}}
    for name, turn, says in (("a", work(TRIPLE, TESTS_IT), "as it has to"), ("b", work(TRIPLE), "no test was added")):
        (tmp_path / name).mkdir()
        project = lay(tmp_path / name, kind, turn, judge, audit={})
        project.bench.tick()
        assert project.bench.statuses() == {"T1": "done"}, project.bench.log()
        prompt = (project.bench.runs()[0] / "audit" / "prompt.md").read_text()
        assert says in prompt.partition("## What the tests of the change prove")[2]
        assert "verify-1 ended with exit code 0" in prompt
        assert "tests-1 ended" not in prompt, "a check that has to fail would be taken for one that failed"


def test_an_audit_without_it_hears_nothing_of_tests(tmp_path: Path) -> None:
    judge = {"role": "AUDIT", "closing": {"approved": True, "findings": []}}
    project = lay(tmp_path, "inplace", work(TRIPLE, TESTS_IT), judge, audit={}, prove_tests=[])
    project.bench.tick()
    assert "What the tests of the change prove" not in (project.bench.runs()[0] / "audit" / "prompt.md").read_text()


def test_an_earlier_attempts_work_is_part_of_the_change(tmp_path: Path) -> None:
    """What the first attempt left is still there for the second, and is no part of the base."""
    first = work(TRIPLE, ASSERTS_NOTHING, attempt=1)
    project = lay(tmp_path, "inplace", first, work(TESTS_IT, attempt=2))
    project.bench.tick()
    assert project.bench.statuses() == {"T1": "done"}, project.bench.log()
    assert proofs(project, 1) == [("tests-1", False), ("tests-with-1", True)]


def test_the_agents_own_commits_are_part_of_the_change(tmp_path: Path) -> None:
    commit = "git add triple.sh tests; git -c user.name=a -c user.email=b@example.org commit -qm mine"
    project = lay(tmp_path, "inplace", work(TRIPLE, ASSERTS_NOTHING, run=[commit], attempt=1))
    play(project.bench, [work(TRIPLE, ASSERTS_NOTHING, run=[commit], attempt=1)])
    project.bench.tick()
    assert next(outcome for _, outcome, _ in project.bench.ended()) == "verify_failed"


@needs("bwrap")
def test_the_tests_run_in_the_sandbox_of_the_gates(tmp_path: Path) -> None:
    project = lay(tmp_path, "inplace", work(TRIPLE, TESTS_IT))
    project.settings(sandbox="bubblewrap")
    project.bench.tick()
    assert project.bench.statuses() == {"T1": "done"}, project.bench.log()
    assert {gate["sandbox"] for gate in project.gates()} == {"bubblewrap"}
