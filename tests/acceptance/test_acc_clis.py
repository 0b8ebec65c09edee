"""The whole product with the real claude and opencode: a step that is refused, a wrong one, and one that mends it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.agent_bench import shared_folder, slot
from support.cli_homes import claude_home, opencode_home
from support.clis import program
from support.model_server import ModelServer, Reply, Text, api_error, shell
from support.netns import loopback
from support.projects import Bench, lay_project, task

CLOSING: dict[str, Any] = {
    "summary": "worked",
    "state": "DEV_READY",
    "question": None,
    "reason": "",
    "review_items": [],
}
DONE = Text(json.dumps(CLOSING))


HOMES: Mapping[str, Callable[[Path, str], Mapping[str, str]]] = {
    "claude": claude_home,
    "opencode": partial(opencode_home, snapshots=True),
}


@pytest.mark.parametrize("name", ["claude", "opencode"])
def test_a_task_is_done_by(name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    replies: list[Reply] = [
        api_error(401, "authentication_error", "bad key"),
        *(shell("echo helo > hello.txt"), DONE),
        *(shell("echo hello > hello.txt; (setsid sleep 600 > /dev/null 2>&1 &)"), DONE),
    ]
    with (
        loopback() as net,
        ModelServer(replies, net.listener.dup()) as server,
        slot(name, shared_folder(tmp_path_factory.getbasetemp())),
    ):
        agent = {"name": name, "program": str(program(name))}
        laid = lay_project(tmp_path, task("T1", "grep -qx hello hello.txt"), agent=agent)
        bench = Bench(laid.root, {**os.environ, **HOMES[name](tmp_path, server.url)}, net.prefix)

        refused = bench.tick()
        assert (refused.code, bench.where, bench.state["failure"]["kind"]) == (1, "ERROR", "auth"), refused.said
        assert f"{name} auth login" in refused.said
        assert bench.do("resume").code == 0
        ended = bench.tick()
        assert (ended.code, bench.where) == (0, "DONE"), ended.said
        asked = server.asked

    assert [step[1] for step in bench.ended()] == ["auth", "verify_failed", "ok"]
    assert bench.commits() == ["T1: Task T1"]
    assert bench.git("show", "HEAD:hello.txt") == "hello"
    assert f"Aiframe-Agent: {name}" in bench.git("log", "-1", "--grep=^T1", "--format=%(trailers:only,unfold)")
    mending = next(each for each in asked if "findings]" in each.prompt)
    assert "ended with exit code 1" in mending.prompt
    done = bench.results()[-1]
    assert done["usage"]["input_tokens"] == 200
    assert (done.get("total_cost_usd") is None) is (name == "opencode")
