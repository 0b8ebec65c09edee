"""The audit of work for a person's repository: what it lets pass lands, what it sends back or writes never does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from app.test_app_audit import auditor, judged, say
from app.test_app_worktree import TARGET, repository, shown, workspace
from app.test_app_worktree import lay as lay_worktree
from support.projects import Bench, dev, git, task

WORK = dev("T1", files={"one.txt": "made by DEV\n"})
LANDED = ["T1: Task T1", "first"]
COMMIT = "git -c user.name=x -c user.email=x@example.org commit -q"


def lay(
    folder: Path, repo: Path, *turns: Mapping[str, Any], audit: Mapping[str, Any] | None = None, **settings: Any
) -> Bench:
    """A project for *repo* whose work is audited, by default by the agent that plays DEV."""
    bench = lay_worktree(folder, repo, task("T1", "test -e one.txt"), turns=list(turns) or [WORK], **settings)
    project = json.loads(bench.text("PROJECT.yaml"))
    bench.write("PROJECT.yaml", json.dumps({**project, "gates": {"audit": dict(audit or {})}}))
    return bench


def landed(repo: Path) -> list[str]:
    """The subjects on the target, the newest first."""
    return git(repo, "log", "--format=%s", TARGET).splitlines()


def told(bench: Bench) -> str:
    """What the journal says was put back."""
    return "\n".join(event.get("message", "") for event in bench.events if event["kind"] == "noted")


def test_work_that_is_approved_lands(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    (repo / "a.txt").write_text("a person is at work\n")
    before = shown(repo)
    bench = lay(tmp_path, repo, WORK, judged(True))
    bench.tick()
    assert (bench.where, landed(repo)) == ("DONE", LANDED), bench.log()
    assert "audit passed" in git(repo, "log", "-1", "--format=%(trailers:key=Aiframe-Gates)", TARGET)
    prompt = (bench.runs()[0] / "audit" / "prompt.md").read_text()
    assert "+made by DEV" in prompt
    assert str(workspace(bench, "T1")) in prompt
    assert shown(repo) == before


def test_findings_go_back_to_the_next_attempt_and_only_what_is_approved_lands(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    mends = dev("T1", attempt=2, run=["grep -q 'by DEV' one.txt && echo better > one.txt"])
    bench = lay(tmp_path, repo, WORK, mends, judged(False, "one.txt:1: not good enough", attempt=1), judged(True))
    bench.tick()
    assert (bench.where, landed(repo)) == ("DONE", LANDED), bench.log()
    assert git(repo, "show", f"{TARGET}:one.txt") == "better"
    assert ["audit_rejected" in outcome for _, outcome, _ in bench.ended()] == [True, False]
    assert "- one.txt:1: not good enough" in bench.prompts()[1]


def test_three_rejections_need_a_person_and_nothing_has_landed(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    before = shown(repo)
    tries = [dev("T1", attempt=number, files={"one.txt": f"try {number}\n"}) for number in (1, 2, 3, 4)]
    bench = lay(tmp_path, repo, *tries, judged(False, "a flaw"))
    bench.tick()
    assert (bench.where, bench.statuses()) == ("ERROR", {"T1": "failed"}), bench.log()
    assert ["audit_rejected" in outcome for _, outcome, _ in bench.ended()] == [True, True, True]
    assert bench.state["failure"]["hint"]
    bench.tick()
    assert len(bench.ended()) == 3, "nothing is bought until a person says so"
    assert git(repo, "rev-parse", TARGET) == git(repo, "rev-parse", "master")
    assert git(repo, "show", "aiframe/shop/T1:one.txt") == "try 3", "the work is kept on its branch"
    assert shown(repo) == before


WRITES = {
    "changes the work": "echo evil >> one.txt",
    "changes a file of the person's": "echo evil > a.txt",
    "leaves a file": "echo evil > evil.txt",
    "removes the work": "rm one.txt",
    "links the work elsewhere": "rm one.txt; ln -s a.txt one.txt",
    "makes it a program": "chmod 755 one.txt",
    "commits": f"echo evil > evil.txt; git add -A; {COMMIT} -m evil",
    "commits and hides it": f"echo evil > evil.txt; git add evil.txt; {COMMIT} -m evil; rm evil.txt",
    "goes to another commit": f"git checkout -q --detach master; echo evil > evil.txt; git add -A; {COMMIT} -m evil",
    "goes to another branch": f"echo evil > evil.txt; git checkout -q -B other; git add -A; {COMMIT} -m evil",
    "cuts the workspace off": "rm .git; echo evil > evil.txt",
}


@pytest.mark.parametrize("name", ["changes the work", "commits and hides it", "cuts the workspace off"])
def test_an_auditor_that_writes_into_the_workspace_lets_nothing_pass(tmp_path: Path, name: str) -> None:
    repo = repository(tmp_path)
    before = shown(repo)
    bench = lay(tmp_path, repo, audit=auditor(f"{WRITES[name]}; {say(True)}"))
    bench.tick()
    assert (bench.where, bench.statuses()) == ("ERROR", {"T1": "todo"}), bench.log()
    assert "an audit may change nothing" in bench.state["failure"]["message"]
    assert landed(repo) == ["first"]
    assert shown(repo) == before
    assert git(repo, "diff", "--name-only", "master", "aiframe/shop/T1") == "one.txt"


@pytest.mark.parametrize("script", [pytest.param(script, id=name) for name, script in WRITES.items()])
def test_of_what_an_auditor_wrote_before_it_mended_its_ways_nothing_lands(tmp_path: Path, script: str) -> None:
    repo = repository(tmp_path)
    bench = lay(tmp_path, repo, audit=auditor(f"grep -q 'could not be used' || {{ {script}; }}; {say(True)}"))
    bench.tick()
    assert (bench.where, landed(repo)) == ("DONE", LANDED), bench.log()
    assert git(repo, "ls-tree", "-r", "--name-only", TARGET).split() == [".gitignore", "a.txt", "b.txt", "one.txt"]
    assert git(repo, "show", f"{TARGET}:one.txt") == "made by DEV"
    assert git(repo, "show", f"{TARGET}:a.txt") == "a"
    assert len(bench.ended()) == 1


PLANTS = {
    "a hook": "printf '#!/bin/sh\\ntouch {evil}\\n' > {hooks}/post-index-change; chmod +x {hooks}/post-index-change",
    "a monitor": "git config core.fsmonitor 'touch {evil}; false'",
    "a filter": "git config filter.f.clean 'touch {evil}; cat'; echo '* filter=f' > {hooks}/../info/attributes",
}


def steering(repo: Path) -> dict[Path, bytes]:
    """What steers git in the repository."""
    paths = [repo / ".git" / "config", *(repo / ".git" / "hooks").iterdir(), *(repo / ".git" / "info").iterdir()]
    return {path: path.read_bytes() for path in paths}


@pytest.mark.parametrize("plant", [pytest.param(plant, id=name) for name, plant in PLANTS.items()])
def test_what_an_auditor_plants_in_the_persons_repository_never_runs(tmp_path: Path, plant: str) -> None:
    repo, evil = repository(tmp_path), tmp_path / "evil"
    before = steering(repo)
    planted = plant.format(hooks="$(git rev-parse --git-common-dir | tr -d '\n')/hooks", evil=evil)
    bench = lay(tmp_path, repo, audit=auditor(f"{planted}; rm -f {evil}; {say(True)}"))
    bench.tick()
    assert not evil.exists()
    assert steering(repo) == before
    assert (bench.where, landed(repo)) == ("DONE", LANDED), bench.log()
    assert "changed by the step" in told(bench) or "created by the step" in told(bench)


def test_what_an_auditor_writes_into_the_persons_checkout_does_not_land(tmp_path: Path) -> None:
    """It cannot be told from a person's own work there, and like that it stays and never becomes part of a task."""
    repo = repository(tmp_path)
    writes = f"cd '{repo}'; echo evil > evil.txt; echo evil >> a.txt; git add evil.txt; {COMMIT} -m evil"
    bench = lay(tmp_path, repo, audit=auditor(f"{writes}; {say(True)}"))
    bench.tick()
    assert (bench.where, landed(repo)) == ("DONE", LANDED), bench.log()
    assert git(repo, "ls-tree", "-r", "--name-only", TARGET).split() == [".gitignore", "a.txt", "b.txt", "one.txt"]
    assert git(repo, "show", f"{TARGET}:a.txt") == "a"


def test_what_comes_onto_the_target_while_the_agent_works_is_shown_to_the_audit(tmp_path: Path) -> None:
    """F5. An agent that moves the target itself gets nothing past it."""
    repo = repository(tmp_path)
    smuggle = (
        f"echo smuggled > b.txt; git add b.txt; {COMMIT} -m smuggled; git update-ref refs/heads/{TARGET} HEAD;"
        " git reset -q --hard HEAD~"
    )
    bench = lay(tmp_path, repo, dev("T1", run=[smuggle, "echo one > one.txt"]), judged(True))
    bench.tick()
    prompt = (bench.runs()[0] / "audit" / "prompt.md").read_text()
    assert "+one" in prompt
    assert "+smuggled" in prompt
