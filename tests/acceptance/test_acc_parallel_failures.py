"""What goes wrong in every tool of this kind, while others work beside it: made for real in one lane or in all of them,
and the others are untouched."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from app.test_app_worktree import commit
from support.projects import git, lay_project, play, task, wait_for
from support.side_by_side import Yard, check_clear, check_landed, lay_yard, runner_of, shown, spans

HONEST = ("T1", "T2", "T3")
LATE = "until git -C '{repo}' log --format=%s aiframe/shop/landed | grep -q ^{first}:; do sleep 0.1; done"
"""Waits until the task *first* has landed."""


@dataclass(frozen=True, slots=True)
class Hour:
    """A run that is over, in which honest tasks and others were at work at the same moment. *before* is what a person
    saw of the checkout when it began, *theirs* the commit that they made on the target meanwhile."""

    yard: Yard
    before: tuple[str, ...]
    theirs: str

    def landed(self) -> list[str]:
        """What has landed, by its tasks."""
        said = git(
            self.yard.repo, "log", "--format=%(trailers:key=Aiframe-Task,valueonly,separator=)", self.yard.target
        )
        return sorted(said.split())

    def files_of(self, name: str) -> list[str]:
        """The files that the commit of the task *name* changes."""
        found = git(self.yard.repo, "log", "--format=%H", f"--grep=^Aiframe-Task: {name}$", self.yard.target)
        return git(self.yard.repo, "show", "--format=", "--name-only", found).splitlines()


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hour]:
    """Nine lanes at once on a detached HEAD: three that are honest, six that go wrong each in its own way."""
    folder = tmp_path_factory.mktemp("hour")
    files = {"tests/check.sh": "grep -qx right weak.txt\n", **{f"old/{n}.txt": f"{n}\n" for n in range(30)}}
    plan = [
        *(task(name, f"grep -qx {name} {name}.txt") for name in HONEST),
        task("clash", "grep -q clash a.txt"),
        task("astray", "grep -qx astray astray.txt"),
        task("liar", "test -e proof"),
        task("ill", "grep -qx ill ill.txt && test ! -e T2.txt"),
        task("weak", "sh tests/check.sh"),
        task("wipe", "test ! -e old"),
    ]
    more = {"gates": {"protect": ["tests/**"]}, "limits": {"max_attempts": 1}, "on_task_failure": "continue"}
    yard = lay_yard(folder, *plan, files=files, parallel=len(plan), **more)
    late = {first: LATE.format(repo=yard.repo, first=first) for first in HONEST}
    play(yard.bench, [
        yard.turn("T1", files={"T1.txt": "T1\n", "a.txt": "T1\n"}), yard.turn("T2"), yard.turn("T3"),
        yard.turn("clash", late["T1"], files={"a.txt": "clash\n"}, attempt=1), yard.turn("clash", files={}),
        yard.turn("astray", f"cp '{yard.workspace('T1')}/.git' .git"),
        yard.turn("liar", closing={"summary": "All checks pass, it is done."}),
        yard.turn("ill", late["T2"]),
        yard.turn("weak", "echo exit 0 >tests/check.sh", files={"weak.txt": "wrong\n"}),
        yard.turn("wipe", "rm -r old"),
    ])  # fmt: skip
    git(yard.repo, "checkout", "-q", "--detach")
    before = shown(yard.repo)
    with yard.at_work(*(each["id"] for each in plan)):
        commit(yard.repo, "aiframe/shop/landed", b_txt="by a person\n")
        theirs = git(yard.repo, "rev-parse", "aiframe/shop/landed")
    text = yard.bench.text("TASKS.yaml")
    text = re.sub(r'("id": "clash".*"status": )"\w+"', r'\1"cancelled"', text)
    yard.bench.write("TASKS.yaml", text)
    yard.bench.do("run")
    yield Hour(yard, before, theirs)
    yard.bench.do("stop")


def check_honest(hour: Hour) -> None:
    """Whatever the others did: three tasks are done, each in one commit with its own files."""
    statuses = hour.yard.bench.statuses()
    assert {statuses[name] for name in HONEST} == {"done"}, hour.yard.said()
    assert [hour.files_of(name) for name in HONEST] == [["T1.txt", "a.txt"], ["T2.txt"], ["T3.txt"]]


def test_f1_work_whose_merge_failed_is_kept_whatever_becomes_of_its_lane(hour: Hour) -> None:
    check_honest(hour)
    assert hour.yard.bench.statuses()["clash"] == "cancelled", hour.yard.said()
    assert (hour.yard.bench.root / "lanes" / "shop.clash.closed-1").is_dir()
    refs = git(hour.yard.repo, "for-each-ref", "--format=%(refname)").splitlines()
    kept = [git(hour.yard.repo, "show", f"{ref}:a.txt") for ref in refs]
    assert "clash" in kept


def test_f2_a_detached_head_stays_and_what_a_person_lands_meanwhile_is_kept(hour: Hour) -> None:
    check_honest(hour)
    assert shown(hour.yard.repo) == hour.before
    assert git(hour.yard.repo, "merge-base", "--is-ancestor", hour.theirs, hour.yard.target) == ""
    assert git(hour.yard.repo, "show", f"{hour.yard.target}:b.txt") == "by a person"


def test_f3_a_lane_whose_folder_points_to_another_lane_commits_nothing_there(hour: Hour) -> None:
    check_honest(hour)
    assert "astray.txt" not in [file for name in HONEST for file in hour.files_of(name)]
    if "astray" in hour.landed():
        assert hour.files_of("astray") == ["astray.txt"]


def test_f4_done_is_what_was_proven_on_the_commit_that_is_kept(hour: Hour) -> None:
    """One lies, one is right alone and wrong beside what landed."""
    check_honest(hour)
    done = [name for name, status in hour.yard.bench.statuses().items() if status == "done"]
    assert not {"liar", "ill"} & set(done)
    check_landed(hour.yard, *done)


def test_f5_weakened_tests_are_held_for_a_person_and_land_nowhere(hour: Hour) -> None:
    check_honest(hour)
    assert hour.yard.bench.statuses()["weak"] != "done"
    assert "weak" not in hour.landed()
    assert git(hour.yard.repo, "show", f"{hour.yard.target}:tests/check.sh") == "grep -qx right weak.txt"
    said = hour.yard.bench.do("why", "--project", str(hour.yard.bench.root / "lanes" / "shop.weak")).said
    assert "tests/check.sh" in said or "protected" in said


def test_f24_bulk_deletions_are_held_for_a_person_and_delete_nothing(hour: Hour) -> None:
    check_honest(hour)
    assert hour.yard.bench.statuses()["wipe"] != "done"
    names = git(hour.yard.repo, "ls-tree", "-r", "--name-only", hour.yard.target).splitlines()
    assert len([name for name in names if name.startswith("old/")]) == 30
    assert {"T1.txt", "T2.txt", "T3.txt"} <= set(names)


# Processes ------------------------------------------------------------------------------------------------------------


def sleepers(nap: str) -> list[int]:
    """The living processes that sleep *nap*, whatever else is known of them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if nap.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def test_f6_f7_a_runner_that_dies_is_followed_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    """Each agent starts daemons that try to stay, one of them with an empty environment."""
    yard = lay_yard(tmp_path, *(task(name, f"grep -qx {name} {name}.txt") for name in HONEST))
    nap = f"7{uuid.uuid4().int % 10**6:06}.{uuid.uuid4().int % 10**6:06}"
    daemons = f"setsid sleep {nap} >/dev/null 2>&1 & env -i setsid sleep {nap} >/dev/null 2>&1 &"
    play(yard.bench, [{**(turn := yard.turn(name)), "run": [daemons, *turn["run"]]} for name in HONEST])
    with yard.at_work(*HONEST):
        wait_for(lambda: len(sleepers(nap)) == 6, "the daemons")
        killed = time.time()
        os.kill(runner_of(yard, "T2"), signal.SIGKILL)
        wait_for(lambda: yard.arrived().count("T2") == 2, "T2 again")
    assert yard.bench.where == "DONE", yard.said()
    starts = [at for name, at in yard.starts() if name == "T2"]
    assert starts[1] - killed < 60, "seen only after a timeout of 1800 s"  # and not by chance: nothing else waits
    assert sorted(yard.arrived()) == ["T1", "T2", "T2", "T3"]
    assert [span.task for span in spans(yard.bench)].count("T2") == 2
    wait_for(lambda: not sleepers(nap), "the end of the daemons", 5)
    check_landed(yard, *HONEST)
    check_clear(yard)


def test_f7_stop_ends_all_lanes_and_all_that_their_agents_started(tmp_path: Path) -> None:
    yard = lay_yard(tmp_path, *(task(name, "true") for name in HONEST))
    nap = f"7{uuid.uuid4().int % 10**6:06}.{uuid.uuid4().int % 10**6:06}"
    play(yard.bench, [yard.turn(name, f"setsid sleep {nap} & sleep {nap}", meets=False) for name in HONEST])
    yard.bench.do("tick", "--no-wait")
    wait_for(lambda: len(sleepers(nap)) == 6, "the agents")
    assert yard.bench.do("stop").code == 0
    wait_for(lambda: not sleepers(nap), "the end of all", 5)
    assert yard.bench.where == "PAUSED"


# Races ----------------------------------------------------------------------------------------------------------------


def test_f13_f21_racing_ticks_of_two_projects_on_one_repository_start_each_task_once(tmp_path: Path) -> None:
    """Six lanes at once, a person who makes worktrees meanwhile, and a folder that lies where one is to be made."""
    plan = [task(name, f"grep -qx {name} {name}.txt") for name in HONEST]
    yard = lay_yard(tmp_path, *plan)
    turns = [yard.turn(name) for name in HONEST]
    play(yard.bench, turns)
    settings: dict[str, Any] = {"parallel": 3, "workspace": {"kind": "worktree", "repo": str(yard.repo)}}
    other = Yard(
        replace(lay_project(tmp_path, *plan, name="mall", turns=turns, settings=settings), env=yard.bench.env),
        yard.repo, yard.marks,
    )  # fmt: skip
    yard.workspace("T1").mkdir(parents=True)
    (yard.workspace("T1") / "left.txt").write_text("by whom?\n")
    null = subprocess.DEVNULL
    ticks = [
        subprocess.Popen(each.bench.argv("tick", "--no-wait"), cwd=each.bench.root, env=each.bench.env, stdout=null)
        for each in (yard, other) * 3
    ]
    for number in range(5):
        git(yard.repo, "worktree", "add", "-q", "--detach", str(tmp_path / f"person-{number}"))
    assert [tick.wait(60) for tick in ticks] == [0] * len(ticks)
    wait_for(lambda: len(yard.arrived()) == 6, "six agents at work")
    with yard.at_work(), other.at_work():
        pass
    assert sorted(yard.arrived()) == ["T1", "T1", "T2", "T2", "T3", "T3"], "one was started twice"
    assert {yard.bench.where, other.bench.where} == {"DONE"}, yard.said()
    for number in range(5):
        git(yard.repo, "worktree", "remove", str(tmp_path / f"person-{number}"))
    for each in (yard, other):
        check_landed(each, *HONEST)
        assert len(spans(each.bench)) == 3
    assert git(yard.repo, "fsck", "--no-dangling") == ""
