"""What has landed is pushed where PROJECT.yaml says so, never forced; what hinders it is told, and hinders nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.lanes import TARGET, landed, lay_lanes, lay_serial
from support.projects import Bench, dev, git, lock_free, task, wait_for

from aiframe.workspaces.pushing import TIMEOUT_S

PUSH = {"remote": "origin", "branches": ["land*"]}
KILL_PUSH = """#!/bin/sh
test -e {mark} && exit 0
touch {mark}
pid=$PPID
until tr '\\0' ' ' </proc/$pid/cmdline | grep -q aiframe.app.pushing; do
    victims="$victims $pid"
    pid=$(awk '/^PPid/ {{print $2}}' /proc/$pid/status)
    test "$pid" -gt 1 || exit 1
done
kill -9 $pid $victims
exit 1
"""
"""A hook of the remote: the first time, whoever pushes is killed."""


def remote_of(repo: Path, name: str = "origin") -> Path:
    """A bare repository as the remote *name* of *repo*."""
    bare = repo.parent / f"{name}.git"
    git(repo.parent, "clone", "-q", "--bare", str(repo), str(bare))
    git(repo, "remote", "add", name, str(bare))
    return bare


def hook(bare: Path, text: str) -> None:
    path = bare / "hooks" / "pre-receive"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def lay(folder: Path, *names: str, push: Any = None) -> tuple[Bench, Path, Path]:
    """Tasks that each make a file; the repository has a remote."""
    turns = [dev(name, files={f"{name}.txt": f"{name}\n"}) for name in names]
    tasks = [task(name, f"test -e {name}.txt") for name in names]
    bench, repo = lay_serial(folder, *tasks, turns=turns, push=push or PUSH)
    return bench, repo, remote_of(repo)


def at(repo: Path, branch: str = TARGET) -> str:
    return git(repo, "rev-parse", branch)


def told(bench: Bench) -> list[str]:
    return [event["kind"] for event in bench.events if event["kind"].startswith("push")]


def test_what_has_landed_is_pushed_and_nothing_else(tmp_path: Path) -> None:
    bench, repo, bare = lay(tmp_path, "T1", "T2")
    git(repo, "tag", "v1")
    evil = tmp_path / "evil"
    for name in ("pre-push", "reference-transaction"):
        path = repo / ".git" / "hooks" / name
        path.write_text(f"#!/bin/sh\ntouch {evil}\n")
        path.chmod(0o755)
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert at(bare) == at(repo)
    assert landed(bare) == ["T1", "T2"]
    assert git(bare, "for-each-ref", "--format=%(refname)").splitlines() == ["refs/heads/landed", "refs/heads/main"]
    assert not evil.exists(), "a hook of the repository ran"
    assert set(told(bench)) == {"pushed"}, "each landing, or both at once where the first one took long"
    assert "push origin" not in bench.do("why").said


@pytest.mark.parametrize(
    "push",
    [
        pytest.param({"branches": ["main", "release/*"]}, id="another branch"),
        pytest.param({}, id="nothing is said"),
    ],
)
def test_a_branch_that_no_pattern_names_is_not_pushed(tmp_path: Path, push: dict[str, Any]) -> None:
    bench, _, bare = lay(tmp_path, "T1", push=push or None)
    if not push:
        settings = json.loads(bench.text("PROJECT.yaml"))
        del settings["push"]
        bench.write("PROJECT.yaml", json.dumps(settings))
    bench.tick()
    assert bench.where == "DONE"
    assert landed(bare) == []
    assert told(bench) == []


def test_nothing_is_pushed_before_anything_has_landed(tmp_path: Path) -> None:
    bench, repo, bare = lay(tmp_path, "T1")
    before = at(bare)
    git(repo, "commit", "-q", "--allow-empty", "-m", "a person's own")
    git(repo, "branch", "-f", TARGET, "main")
    bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace("test -e T1.txt", "false"))
    bench.tick()
    assert at(bare) == before


def test_a_rejected_push_is_told_once_and_tried_again(tmp_path: Path) -> None:
    bench, repo, bare = lay(tmp_path, "T1", "T2")
    theirs = tmp_path / "theirs"
    git(tmp_path, "clone", "-q", "-b", TARGET, str(bare), str(theirs))
    git(theirs, "commit", "-q", "--allow-empty", "-m", "of somebody else")
    git(theirs, "push", "-q")
    ahead = at(bare)
    bench.tick()
    assert bench.where == "DONE", "what is in the way of a push is in the way of nothing else"
    assert landed(repo) == ["T1", "T2"]
    assert at(bare) == ahead, "never forced"
    assert told(bench) == ["push_failed"]
    why = bench.do("why").said
    assert "fetch first" in why
    assert "push origin" in why
    assert f"push origin {TARGET}" in bench.do("status").said
    record = bench.control_dir / "push.json"
    tries = json.loads(record.read_text())["tries"]
    assert tries in (1, 2), "at each landing that found none under way"
    bench.tick()
    assert json.loads(record.read_text())["tries"] == tries, "but not at each tick"
    git(bare, "update-ref", f"refs/heads/{TARGET}", at(repo, "main"))
    record.write_text(json.dumps({**json.loads(record.read_text()), "next_at": time.time()}))
    (bench.control_dir / "idle").unlink(missing_ok=True)
    bench.tick()
    assert at(bare) == at(repo)
    assert told(bench) == ["push_failed", "pushed"]
    assert "push origin" not in bench.do("why").said


def test_a_tick_at_rest_wakes_when_the_next_push_is_due(tmp_path: Path) -> None:
    """Though nothing has changed, and a stamp says so."""
    bench, repo, bare = lay(tmp_path, "T1")
    away = bare.rename(tmp_path / "away.git")
    bench.tick()
    record = bench.control_dir / "push.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "next_at": time.time() + 2}))
    wait_for(lambda: (bench.tick(), (bench.control_dir / "idle").exists())[1], "a stamp")
    away.rename(bare)
    time.sleep(2)
    bench.tick()
    assert at(bare) == at(repo)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        pytest.param("", "no remote origin", id="no such remote"),
        pytest.param("nowhere.git", "not appear to be a git repository", id="nothing there"),
        pytest.param("http://me:hunter2@127.0.0.1:9/x.git", "unable to access", id="no network"),
        pytest.param("ext::sh -c 'touch evil'", "not allowed", id="an address that is a program"),
    ],
)
def test_what_hinders_is_told_without_secrets(tmp_path: Path, address: str, said: str) -> None:
    bench, repo, _ = lay(tmp_path, "T1")
    git(repo, "remote", "remove", "origin")
    if address:
        git(repo, "config", "remote.origin.url", address)
    bench.tick()
    assert bench.where == "DONE", bench.log()
    why = bench.do("why").said
    assert said in why
    assert "hunter2" not in why + bench.text("logs/events.ndjson") + (bench.control_dir / "push.json").read_text()
    assert not (repo / "evil").exists()


def test_a_push_that_was_killed_is_made_once_more(tmp_path: Path) -> None:
    bench, repo, bare = lay(tmp_path, "T1")
    hook(bare, KILL_PUSH.format(mark=tmp_path / "killed"))
    bench.tick("--no-wait")
    wait_for((tmp_path / "killed").exists, "the kill")
    wait_for(lambda: lock_free(bench), "the end of the step")
    assert landed(repo) == ["T1"]
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert at(bare) == at(repo)
    assert len(bench.prompts()) == 1


@contextmanager
def mute_remote() -> Iterator[str]:
    """The address of a remote that takes every call and never answers; at the end of the block it hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"git://127.0.0.1:{server.getsockname()[1]}/x.git"


def test_a_push_that_hangs_keeps_no_lane_from_starting_and_landing(tmp_path: Path) -> None:
    names = ("T1", "T2", "T3")
    after = dict(zip(names[1:], names, strict=False))
    tasks = [task(name, f"test -e {name}.txt", blocked_by=[after[name]] if name in after else []) for name in names]
    bench = lay_lanes(tmp_path, *tasks, work={name: f"touch {name}.txt" for name in names}, push=PUSH)
    repo, words = tmp_path / "app", bench.argv("run", "--project", str(bench.root))
    with (tmp_path / "said").open("wb") as said, mute_remote() as address:
        git(repo, "remote", "add", "origin", address)
        run = subprocess.Popen(words, stdout=said, stderr=said, env=bench.env)
        wait_for(lambda: list(bench.statuses().values()) == ["done"] * 3, "all done", deadline_s=TIMEOUT_S * 0.8)
        assert told(bench) == [], "the first push was over already"
    assert run.wait(TIMEOUT_S) == 0, "nobody waits for a remote that has hung up"
    assert landed(repo) == list(names)
    assert "landed is not pushed to origin yet" in (tmp_path / "said").read_text()
    assert set(told(bench)) == {"push_failed"}


def test_a_push_that_hangs_keeps_no_step_of_a_chain_waiting(tmp_path: Path) -> None:
    names = ("T1", "T2", "T3")
    bench, repo, _ = lay(tmp_path, *names)
    with mute_remote() as address:
        git(repo, "remote", "set-url", "origin", address)
        began = time.monotonic()
        ran = bench.tick()
        assert bench.where == "DONE", ran.said
        assert landed(repo) == list(names)
        assert bench.tick().code == 0, "nor the next tick"
        assert time.monotonic() - began < TIMEOUT_S * 0.8, "it waited until the push was given up"
        assert told(bench) == [], "the push was over already"
    wait_for(lambda: told(bench) == ["push_failed"], "the end of the push, which goes on by itself")
    assert "push origin" in bench.do("why").said
    assert "landed is not pushed to origin yet" in bench.tick().said, "told once"
    assert "landed is not pushed to origin yet" not in bench.tick().said


def test_the_end_of_a_run_waits_for_its_push_and_tells_of_it(tmp_path: Path) -> None:
    bench, repo, bare = lay(tmp_path, "T1", "T2", "T3", "T4")
    ran = bench.do("run")
    assert (bench.where, at(bare)) == ("DONE", at(repo)), ran.said
    assert "landed is pushed to origin" in ran.out


def test_lanes_push_as_one_project(tmp_path: Path) -> None:
    names = ("T1", "T2")
    tasks = [task(name, f"test -e {name}.txt") for name in names]
    bench = lay_lanes(tmp_path, *tasks, work={name: f"touch {name}.txt" for name in names}, push=PUSH)
    repo = tmp_path / "app"
    bare = remote_of(repo)
    ended = bench.do("run")
    assert bench.where == "DONE", ended.said
    assert at(bare) == at(repo)
    assert "landed is pushed to origin" in ended.said
