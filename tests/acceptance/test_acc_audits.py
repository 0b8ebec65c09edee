"""Audits by the real codex, claude and opencode: their word lets work pass or sends it back, and they write nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from acceptance.test_acc_clis import DONE
from app.test_app_worktree import TARGET, repository, shown
from support.agent_bench import HOMES, shared_folder, slot
from support.clis import program
from support.model_server import ModelServer, Reply, Text, patch, shell
from support.netns import loopback
from support.projects import Bench, git, lay_project, task

FLAW = "one.txt:1: it says first, where the task wants second"


def judged(approved: bool, *findings: str) -> Text:
    """The answer of an audit."""
    return Text(json.dumps({"approved": approved, "findings": list(findings)}))


@dataclass(frozen=True)
class Desk:
    """Where the CLI *name* builds and audits."""

    name: str
    folder: Path
    slots: Path

    @contextmanager
    def bench(self, replies: Sequence[Reply], **settings: Any) -> Iterator[tuple[Bench, ModelServer]]:
        """A project with one task; its model plays *replies*."""
        with loopback() as net, ModelServer(replies, net.listener.dup()) as server, slot(self.name, self.slots):
            laid = lay_project(
                self.folder,
                task("T1", "test -e one.txt", dod=["one.txt is made"]),
                agent={"name": self.name, "program": str(program(self.name))},
                settings={"gates": {"audit": {}}, **settings},
            )
            env = {**os.environ, "XDG_STATE_HOME": str(self.folder / "state")}
            yield Bench(laid.root, {**env, **HOMES[self.name](self.folder, server.url)}, net.prefix), server


@pytest.fixture(params=["codex", "claude", "opencode"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    program(request.param)
    return Desk(request.param, tmp_path, shared_folder(tmp_path_factory.getbasetemp()))


def test_work_that_is_rejected_is_mended_and_kept(desk: Desk) -> None:
    replies: list[Reply] = [
        *(shell("echo first > one.txt"), DONE, judged(False, FLAW)),
        *(shell("echo second > one.txt"), DONE, judged(True)),
    ]
    with desk.bench(replies) as (bench, server):
        ended = bench.tick()
        assert (ended.code, bench.where) == (0, "DONE"), ended.said
        prompts = [asked.prompt for asked in server.asked]
    assert [outcome for _, outcome, _ in bench.ended()] == ["audit_rejected", "ok"]
    assert ["You are AUDIT" in prompt for prompt in prompts] == [False, False, True] * 2
    assert (FLAW in prompts[0], FLAW in prompts[3]) == (False, True)
    assert "+first" in prompts[2]
    assert "+second" in prompts[5]
    assert "- one.txt is made" in prompts[5]
    assert bench.git("show", "HEAD:one.txt") == "second"
    assert bench.commits() == ["T1: Task T1"]
    assert "audit passed" in bench.git("log", "--format=%(trailers:key=Aiframe-Gates)")
    rejected, kept = bench.results()
    audits = [[gate for gate in result["gates"] if gate["name"] == "audit"] for result in (rejected, kept)]
    assert [[gate["command"] for gate in each] for each in audits] == [[desk.name], [desk.name]]
    assert audits[1][0]["exit_code"] == 0
    earlier = 200 if desk.name == "codex" else 0  # it tells what its whole session has used
    assert kept["usage"]["input_tokens"] == 300 + earlier, "of two requests for the work, and one for its audit"


def test_an_audit_that_tries_to_write_leaves_nothing_behind(desk: Desk) -> None:
    repo = repository(desk.folder)
    before, outside = shown(repo), desk.folder / "outside.txt"
    tries: list[Reply] = [
        shell(f"echo evil >> one.txt; echo evil > by-shell.txt; echo evil > '{repo}/by-shell.txt'; echo > {outside}"),
        patch("by-tool.txt", "evil"),
        patch(str(outside), "evil"),
    ]
    work = {"kind": "worktree", "repo": str(repo)}
    with desk.bench([shell("echo first > one.txt"), DONE, *tries, judged(True)], workspace=work) as (bench, server):
        ended = bench.tick()
        assert (ended.code, bench.where) == (0, "DONE"), ended.said
        asked = server.asked
    assert len(asked) == 6, "the model tried all of it, and was asked once"
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "first"]
    assert git(repo, "ls-tree", "-r", "--name-only", TARGET).split() == [".gitignore", "a.txt", "b.txt", "one.txt"]
    assert git(repo, "show", f"{TARGET}:one.txt") == "first"
    assert not outside.exists()
    assert shown(repo) == before
