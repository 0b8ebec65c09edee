"""What the result of a step says about its proof: ignored files that took part, and what nobody has checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.projects import dev, lay_project, task


@pytest.mark.parametrize(
    ("before", "work", "ignored"),
    [
        pytest.param({}, [], False, id="none"),
        pytest.param({"notes/x.md": "x", ".agent_lock": ""}, [], False, id="aiframe's own"),
        pytest.param({".gitignore": "dist/\n", "dist/deep/a": "a"}, [], True, id="there before the step"),
        pytest.param({}, ["echo '*.o' > .gitignore; touch a.o"], True, id="made by the agent"),
        pytest.param({".gitignore": "cache/\n"}, [], False, id="made by the check itself"),
        pytest.param({".gitignore": "one\n"}, ["git add -f one; git commit -qm x"], False, id="in the commit"),
        pytest.param({}, ["mkdir dist; touch dist/a"], False, id="not ignored"),
    ],
)
def test_ignored_files_that_took_part_are_told(
    tmp_path: Path, before: dict[str, str], work: list[str], ignored: bool
) -> None:
    check = "test -e one; case $(cat .gitignore) in cache/) mkdir -p cache; touch cache/x;; esac"
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    exports = "".join(f"export {name}={value}; " for name, value in identity.items())
    turn = dev("T1", run=["touch one", *(exports + line for line in work)])
    bench = lay_project(tmp_path, task("T1", check), turns=[turn])
    for name, text in before.items():
        bench.write(name, text)
    assert bench.tick().code == 0
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"})
    assert bench.results()[0]["ignored_inputs"] is ignored
    assert ("git ignores" in bench.log()) is ignored


UNVERIFIED = [
    pytest.param({}, ["it has no verify command"], id="no verify"),
    pytest.param({"verify": ["manual: looks good"]}, ["manual: looks good"], id="manual alone"),
    pytest.param({"verify": ["true", "manual"]}, ["manual"], id="manual besides a command"),
    pytest.param({"verify": ["true"], "review": True}, ["it asks for a review"], id="review"),
    pytest.param({"verify": ["true"]}, [], id="verified"),
]


@pytest.mark.parametrize(("fields", "unverified"), UNVERIFIED)
def test_what_nobody_has_checked_is_told(tmp_path: Path, fields: dict[str, Any], unverified: list[str]) -> None:
    bench = lay_project(tmp_path, {**task("T1"), **fields}, turns=[dev("T1", files={"one": ""})])
    ended = bench.tick()
    assert (ended.code, bench.where, bench.statuses()) == (0, "DONE", {"T1": "done"})
    assert bench.results()[0]["unverified"] == unverified
    told = [event["message"] for event in bench.events if event["kind"] == "noted"]
    assert [f"T1 is taken unverified, nobody is there to look: {check}" for check in unverified] == told
    assert all(note in ended.out for note in told)


@pytest.mark.parametrize(("fields", "unverified"), UNVERIFIED)
def test_what_a_person_will_look_at_is_not_unverified(
    tmp_path: Path, fields: dict[str, Any], unverified: list[str]
) -> None:
    state = {"state": "DEV_READY", "interactive_mode": True}
    bench = lay_project(tmp_path, {**task("T1"), **fields}, turns=[dev("T1", files={"one": ""})], state=state)
    bench.tick()
    bench.tick()
    assert bench.where == "REVIEW_WAITING"
    assert bench.statuses() == {"T1": "review" if unverified else "done"}
    assert bench.results()[0]["unverified"] == []


def test_an_attempt_that_fails_is_not_taken_at_all(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "false", "manual"), turns=[dev("T1", files={"one": ""})], limits={"max_attempts": 1}
    )
    assert bench.tick().code == 1
    assert bench.results()[0]["unverified"] == []
    assert [event for event in bench.events if event["kind"] == "noted"] == []
