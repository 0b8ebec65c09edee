"""The real codex CLI in a container: it works, resumes and audits there, and has nothing of the machine in reach."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from acceptance.test_acc_audits import judged
from acceptance.test_acc_codex import Desk, closing, into
from app.test_app_container import Engine, containers, engine
from app.test_app_worktree import TARGET, repository, shown
from support.codex_home import codex_program
from support.engines import ENGINE
from support.model_server import Reply, shell
from support.needs import needs
from support.netns import loopback
from support.projects import git, task

__all__ = ["engine"]
pytestmark = needs(ENGINE)
PROGRAM = "/home/agent/bin/codex"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    codex_program()
    with loopback() as net:
        yield Desk(tmp_path, net)


def lodge(desk: Desk, env: Mapping[str, str]) -> None:
    """Have codex and its configuration lie where PROJECT.yaml lets containers see them."""
    home = Path(env["HOME"])
    (home / ".codex").mkdir()
    shutil.copy(Path(env["CODEX_HOME"]) / "config.toml", home / ".codex")
    (home / "bin").mkdir()
    (home / "bin" / "codex").symlink_to(codex_program())


LOOK = "env; ls -a ~ /; touch /usr/x; git -c user.name=a -c user.email=a@b.c commit -qam mine && echo committed"
REPLIES: Sequence[Reply] = [
    *(into("one.txt", "half\n"), shell(LOOK), closing()),
    *(into("one.txt", "one\n"), closing()),  # in the session of before
    *(shell("echo more >one.txt; cat one.txt"), judged(True)),
]
"""A developer that is wrong at first, and an auditor that tries to write."""


@pytest.mark.skipif(
    ENGINE == "docker", reason="the host's network is that of docker's daemon, where no server of ours is"
)
def test_codex_works_in_a_container_to_landed(desk: Desk, engine: Engine) -> None:
    variables, image = engine
    repo = repository(desk.folder)
    before = shown(repo)
    with desk.serve(REPLIES) as server:
        env = desk.env(server.url)
        lodge(desk, env)
        credentials = {"env": ["STUB_API_KEY"], "files": ["~/.codex/config.toml", "~/bin/codex"]}
        workspace = {"kind": "container", "repo": str(repo), "image": image, "network": "host",
                     "credentials": credentials}  # fmt: skip
        settings = {"workspace": workspace, "gates": {"audit": {"agent": "codex"}}}
        bench = desk.bench(
            server.url, task("T1", "grep -qx one one.txt"), options={"program": PROGRAM}, settings=settings
        )
        bench.tick(**variables, XDG_STATE_HOME=str(desk.folder / "state"), OTHER_SECRET="s3cret-0f-another")
        assert bench.where == "DONE", bench.log()
        asked = server.asked
    assert len(asked) == len(REPLIES)
    looked, audited = asked[2].tool_outputs[-1], asked[-1].tool_outputs[-1]
    assert "HOME=/home/agent" in looked, looked
    assert "committed" in looked
    assert "s3cret-0f-another" not in looked
    assert "half" in json.dumps(asked[3].body), "it began a new session"
    assert "Read-only file system" in audited
    assert git(repo, "show", f"{TARGET}:one.txt") == "one"
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "first"]
    assert shown(repo) == before
    (first, last) = bench.results()
    assert first["session_id"] == last["session_id"] != ""
    assert containers(bench) == []
