"""Eight tasks over three resources in four slots on a repository of some hundred files: all land, each in its time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from acceptance.test_acc_codex import Desk, closing, turn
from support.codex_home import codex_program
from support.model_server import Asked, Reply, shell
from support.netns import loopback
from support.projects import git, task
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
WORK = {
    "T1": "sed -i 's/^one$/two/' src/api/*.txt",
    "T2": "sed -i 's/^one$/two/' src/ui/*.txt",
    "T3": "mkdir -p ports && echo $AIFRAME_RESOURCE_PORT > ports/T3",
    "T4": "mkdir -p ports && echo $AIFRAME_RESOURCE_PORT > ports/T4",
    "T5": "mkdir -p ports && echo $AIFRAME_RESOURCE_PORT > ports/T5 && cat src/ui/*.txt | grep -c two > ui.txt",
    "T6": "for file in src/api/*.txt; do echo three >> $file; done",
    "T7": "cat src/api/*.txt src/ui/*.txt | grep -c two > both.txt",
    "T8": "rm src/api/099.txt src/ui/099.txt",
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
    assert git(yard.repo, "diff", "--stat=200", "master", yard.target).splitlines()[-1].split()[0] == "205"
    assert shown(yard.repo) == before
