"""Eight tasks over three resources in four slots on a repository of some hundred files: all land, each in its time."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from acceptance.test_acc_codex import Desk, closing, turn
from support.codex_home import codex_program
from support.model_server import Asked, Reply, shell
from support.needs import needs
from support.netns import loopback
from support.projects import git, play, task, wait_for
from support.side_by_side import (
    PATIENCE_S,
    Yard,
    check_apart,
    check_clear,
    check_landed,
    lay_yard,
    most_at_once,
    shown,
    spans,
)

FIRST = ("T1", "T2", "T3", "T4")
"""Those that can begin at once."""
RESOURCES = {"api": ["src/api/**"], "ui": ["src/ui/**"], "port": {"range": [9300, 9301]}}
FILES = {f"src/{part}/{n:03}.txt": f"{part} {n}\none\n" for part in ("api", "ui", "db") for n in range(100)}
EACH = "for file in src/{}/*.txt; do grep -qx {} $file || {{ {{ {}; }} >new.log; mv new.log $file; }}; done"
"""Each file whole or not at all, and nothing twice: whoever is killed here is followed by one that does it again."""
WORK = {
    "T1": EACH.format("api", "two", "sed 's/^one$/two/' $file"),
    "T2": EACH.format("ui", "two", "sed 's/^one$/two/' $file"),
    "T3": "mkdir -p ports && echo $AIFRAME_RESOURCE_PORT > ports/T3",
    "T4": "mkdir -p ports && echo $AIFRAME_RESOURCE_PORT > ports/T4",
    "T5": "mkdir -p ports && echo $AIFRAME_RESOURCE_PORT > ports/T5 && cat src/ui/*.txt | grep -c two > ui.txt",
    "T6": EACH.format("api", "three", "cat $file; echo three"),
    "T7": "cat src/api/*.txt src/ui/*.txt | grep -c two > both.txt",
    "T8": "for file in src/api/099.txt src/ui/099.txt; do test ! -e $file || rm $file; done",
}
PLAN = (
    task("T1", "! grep -lx one src/api/*.txt", locks={"writes": ["api"]}),
    task("T2", "! grep -lx one src/ui/*.txt", locks={"writes": ["ui"]}),
    task("T3", "grep -q 930 ports/T3", locks={"writes": ["port"]}),
    task("T4", "grep -q 930 ports/T4", locks={"writes": ["port"]}),
    task("T5", "grep -qx 100 ui.txt", locks={"reads": ["ui"], "writes": ["port"]}, blocked_by=["T2"]),
    task("T6", "test $(cat src/api/*.txt | grep -cx three) = 100", locks={"writes": ["api"]}),
    task("T7", "grep -qx 200 both.txt", locks={"reads": ["api", "ui"]}, blocked_by=["T1", "T2"]),
    task(
        "T8", "test ! -e src/api/099.txt && test -s both.txt", locks={"writes": ["api", "ui"]},
        blocked_by=["T5", "T6", "T7"],
    ),
)  # fmt: skip


@dataclass
class Office:
    """A model that plays all eight; the first four wait for each other, so that they are at work at the same time."""

    there: set[str] = field(default_factory=set)
    together: threading.Event = field(default_factory=threading.Event)

    def __call__(self, asked: Asked) -> Reply:
        name = asked.prompt.lower().partition("exactly one task: ")[2].split()[0].strip(".,:*`").upper()
        self.there.add(name)
        if set(FIRST) <= self.there:
            self.together.set()
        elif name in FIRST:
            self.together.wait(PATIENCE_S)
        return turn(asked, shell(WORK[name]), closing())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    codex_program()
    with loopback() as net:
        yield Desk(tmp_path, net)


def check_all(yard: Yard) -> None:
    """All have landed, in their order and never in each other's way; nothing is left, and the product is right."""
    names = [each["id"] for each in PLAN]
    assert yard.bench.where == "DONE", yard.said()
    assert yard.bench.statuses() == dict.fromkeys(names, "done")
    check_landed(yard, *names)
    check_apart(spans(yard.bench), PLAN, {"port": 2})
    check_after(yard)
    check_clear(yard)


def check_after(yard: Yard) -> None:
    """No task began before those that it builds on had landed."""
    runs = spans(yard.bench)
    for each in PLAN:
        began = min(span.began for span in runs if span.task == each["id"])
        for other in each.get("blocked_by", ()):
            assert all(span.ended <= began for span in runs if span.task == other), f"{each['id']} before {other}"


def ports(yard: Yard) -> dict[str, str]:
    """The number that each task with one was given."""
    return {name: git(yard.repo, "show", f"{yard.target}:ports/{name}") for name in ("T3", "T4", "T5")}


def test_eight_tasks_of_the_real_codex_in_four_slots(desk: Desk) -> None:
    laid = lay_yard(
        desk.folder, *PLAN, files=FILES, agent={"name": "codex"}, resources=RESOURCES, sandbox="none", parallel=1
    )
    before, office = shown(laid.repo), Office()
    with desk.serve(office) as server:
        env = {**desk.env(server.url), "XDG_STATE_HOME": str(desk.folder / "state")}
        yard = replace(laid, bench=replace(laid.bench, env=env, prefix=desk.net.prefix))
        ended = yard.bench.do("run", "--parallel", "4")
        assert ended.code == 0, ended.said
        asked = server.asked
    assert office.together.is_set(), "never were four at work at the same time"
    check_all(yard)
    assert len(asked) == 2 * len(PLAN), "an agent was bought twice"
    runs = spans(yard.bench)
    assert most_at_once(runs) == 4
    given = ports(yard)
    assert set(given.values()) == {"9300", "9301"}
    for one in runs:
        for other in runs:
            if one.task != other.task and {one.task, other.task} <= set(given) and one.meets(other):
                assert given[one.task] != given[other.task]
    assert tree_without_ports(yard.repo, yard.target) == expected(yard.repo)
    assert shown(yard.repo) == before


def expected(repo: Path) -> str:
    """The tree that the eight come to one after the other, ports/ aside; made beside *repo*."""
    apart = repo.with_name("apart")
    git(repo.parent, "clone", "-q", str(repo), str(apart))
    for each in PLAN:
        subprocess.run(["/bin/sh", "-c", WORK[each["id"]]], cwd=apart, check=True)
    git(apart, "add", "-A")
    git(apart, "commit", "-q", "-m", "all")
    return tree_without_ports(apart, "HEAD")


def tree_without_ports(repo: Path, commit: str) -> str:
    return "\n".join(line for line in git(repo, "ls-tree", "-r", commit).splitlines() if "\tports/" not in line)


# Under fire -----------------------------------------------------------------------------------------------------------

DEADLY_GIT = """#!/bin/sh
case " $* " in *" merge-tree "*) echo >>"{0}/merges" ;; *) exec "{git}" "$@" ;; esac
case "$(wc -l <"{0}/merges")" in
    1|3) strace -f -q -o /dev/null -e trace={calls} -e inject={calls}:signal=KILL:when=1 "{git}" "$@"
         code=$?; [ $code -le 128 ] || {{ echo killed >>"{0}/killed"; kill -9 $$; }}; exit $code ;;
esac
exec "{git}" "$@"
"""
"""A git whose first merge, and whose third, is killed when it begins to name the first object that it has written."""


def runners(yard: Yard) -> list[int]:
    """The processes that carry the steps of lanes."""
    found = []
    for record in yard.bench.root.glob("lanes/*/.git/aiframe/control.json"):
        with suppress(OSError, ValueError):
            run = json.loads(record.read_text())["project"].get("run")
            found += [run["runner"]["pid"]] if run else []
    return found


@needs("strace")
def test_eight_tasks_under_fire_come_to_the_same(tmp_path: Path) -> None:
    """SIGKILL to runners, to `run` itself, and to git in mid-merge: the same tree, and no finished work paid twice."""
    laid = lay_yard(tmp_path, *PLAN, files=FILES, resources=RESOURCES, limits={"transient_base_sec": 0.5})
    before, chance, programs = shown(laid.repo), random.Random(7), tmp_path / "bin"
    programs.mkdir()
    (programs / "git").write_text(DEADLY_GIT.format(programs, git=shutil.which("git"), calls="?link,?linkat,?rename"))
    (programs / "git").chmod(0o755)
    env = {**laid.bench.env, "PATH": f"{programs}{os.pathsep}{laid.bench.env['PATH']}"}
    yard = replace(laid, bench=replace(laid.bench, env=env))
    play(yard.bench, [yard.turn(name, line, "sleep 0.5", meets=False, files={}) for name, line in WORK.items()])
    hits = 0
    for _ in range(3):
        with subprocess.Popen(yard.bench.argv("run"), cwd=yard.bench.root, env=env, stdout=subprocess.DEVNULL) as run:
            found = wait_for(lambda: runners(yard), "a step")
            time.sleep(chance.uniform(0, 1.5))
            found = runners(yard) or found
            for victim in chance.sample(found, (len(found) + 1) // 2):
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    hits += 1
            run.kill()
    wait_for(lambda: is_over(yard), "the end")
    killed = len((programs / "killed").read_text().split())
    assert hits
    assert killed, "no git was killed in a merge"
    check_all(yard)
    assert tree_without_ports(yard.repo, yard.target) == expected(yard.repo)
    assert shown(yard.repo) == before
    assert len(yard.starts()) <= len(PLAN) + hits + killed, "agents were bought although nothing was lost"
    proven = [(result["task_id"], result["completed_at"]) for result in yard.bench.results() if result["success"]]
    finished = {name: min(at for proven_name, at in proven if proven_name == name) for name, _ in proven}
    assert all(at < finished[name] for name, at in yard.starts()), "an agent was bought for finished work"


def is_over(yard: Yard) -> bool:
    """Whether the plan is done after one more run; a task that was killed too often is tried again by a person."""
    if yard.bench.where == "ERROR":
        assert "interrupted, 4 times in a row" in yard.bench.control["failure"]["message"]
        yard.bench.do("retry")
    return yard.bench.do("run").code == 0 and yard.bench.where == "DONE"
