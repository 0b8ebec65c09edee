"""Tasks side by side where somebody takes things away: the branch they land on, their lanes, their folders' names."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.lanes import TARGET, asked, landed, lay_lanes
from support.projects import Bench, git, task, tasks_yaml, wait_for

WRITE = "echo {0} >{0}.txt"


def lay(folder: Path, *tasks: dict[str, Any], **work: str) -> Bench:
    """A project whose agents write a file named after their task, where *work* says nothing else."""
    given = {each["id"]: WRITE.format(each["id"]) for each in tasks} | work
    return lay_lanes(folder, *tasks, work=given)


def runner_in(bench: Bench, name: str) -> int:
    """The process that carries the step of the task *name*."""
    record = bench.root / "lanes" / f"shop.{name}" / ".git" / "aiframe" / "control.json"
    return int(json.loads(record.read_text())["project"]["run"]["runner"]["pid"])


def test_a_target_that_is_deleted_is_made_anew_from_what_landed_last_in_any_lane(tmp_path: Path) -> None:
    plan = [task("A", "test -f A.txt"), task("B", "test -f B.txt")]
    bench, repo = lay(tmp_path, *plan, C=WRITE.format("C")), tmp_path / "app"
    assert bench.do("run").code == 0
    before = landed(repo)
    git(repo, "branch", "-D", TARGET)
    done = [{**each, "status": "done"} for each in plan]
    bench.write("TASKS.yaml", tasks_yaml(*done, task("C", "test -f A.txt && test -f B.txt && test -f C.txt")))
    bench.do("resume")
    ended = bench.do("run")
    assert bench.where == "DONE", ended.said
    assert sorted(before) == ["A", "B"]
    assert landed(repo) == [*before, "C"]
    kept = git(repo, "for-each-ref", "--format=%(refname)", "refs/aiframe/landed").splitlines()
    assert kept == ["refs/aiframe/landed/shop"], "one for all lanes, and none that stays behind"


@pytest.mark.parametrize("kind", ["worktree", "clone"])
def test_a_target_that_is_deleted_while_an_agent_works_is_made_anew(tmp_path: Path, kind: str) -> None:
    gone = f"git -C '{tmp_path}/app' update-ref -d refs/heads/{TARGET}; {WRITE.format('B')}"
    plan = [task("A", "test -f A.txt"), task("B", "test -f A.txt && test -f B.txt", blocked_by=["A"])]
    workspace = {"kind": kind, "repo": str(tmp_path / "app"), "target": TARGET}
    bench = lay_lanes(tmp_path, *plan, work={"A": WRITE.format("A"), "B": gone}, workspace=workspace)
    ended = bench.do("run")
    assert (bench.where, ended.code) == ("DONE", 0), ended.said
    assert landed(tmp_path / "app") == asked(tmp_path) == ["A", "B"]


def test_no_task_is_kept_out_by_the_name_of_what_was_put_aside(tmp_path: Path) -> None:
    """X is cancelled, so its lane becomes X.closed-1; a task has that id."""
    bench = lay(tmp_path, task("X", "true", agent="human"), task("X.closed-1", "test -f X.closed-1.txt"))
    bench.do("tick", "--no-wait")
    tasks = (task("X", "true", status="cancelled"), task("X.closed-1", "test -f X.closed-1.txt"))
    bench.write("TASKS.yaml", tasks_yaml(*tasks))
    (bench.root / "lanes" / "shop.Y").mkdir()
    (bench.root / "lanes" / "shop.Y" / "of a person").touch()
    bench.write("TASKS.yaml", tasks_yaml(*tasks, task("Y", "test -f Y.txt")))
    (tmp_path / "do" / "Y.sh").write_text(WRITE.format("Y"))
    ended = bench.do("run")
    assert bench.where == "DONE", ended.said
    assert sorted(landed(tmp_path / "app")) == ["X.closed-1", "Y"]
    left = sorted(path.name for path in (bench.root / "lanes").iterdir())
    assert left == ["shop.X.closed-1", "shop.Y.closed-1"]
    assert (bench.root / "lanes" / "shop.Y.closed-1" / "of a person").exists()


@pytest.mark.parametrize("killed", [False, True], ids=["runners alive", "runners killed too"])
def test_lanes_that_are_removed_at_work_give_no_task_a_second_agent_at_once(tmp_path: Path, killed: bool) -> None:
    """The agents of the removed lanes end, the same tasks go on in the same workspaces, and each lands once."""
    names, log = ("A", "B"), tmp_path / "agents"
    first = f'test -e "{tmp_path}/again-$1" || {{ touch "{tmp_path}/again-$1"; sleep 30; }}'
    slow = f'echo "in $1" >>{log}; echo half >>"$1.txt"; {first}; echo whole >>"$1.txt"; echo "out $1" >>{log}'
    bench = lay(tmp_path, *(task(name, f"grep -q whole {name}.txt") for name in names), **dict.fromkeys(names, slow))
    with (
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen(bench.argv("run"), cwd=bench.root, env=bench.env, stdout=said, stderr=said) as running,
    ):
        wait_for(lambda: sorted(asked(tmp_path)) == list(names), "both at work")
        runners = [runner_in(bench, name) for name in names] if killed else []
        for runner in runners:
            os.kill(runner, signal.SIGKILL)
        (bench.root / "lanes").rename(tmp_path / "lanes")  # at once, so that no look finds half of it
        shutil.rmtree(tmp_path / "lanes", ignore_errors=True)
        running.wait(60)
    repo = tmp_path / "app"
    assert bench.where == "DONE", (tmp_path / "said").read_text()
    assert sorted(landed(repo)) == list(names), "each has landed once"
    lines = log.read_text().split("\n")
    assert sorted(line for line in lines if line.startswith("out")) == ["out A", "out B"], "the first ones were ended"
    assert [git(repo, "show", f"{TARGET}:{name}.txt") for name in names] == ["half\nhalf\nwhole"] * 2, (
        "and gone on from"
    )
    assert git(repo, "branch", "--format=%(refname:short)").splitlines() == ["landed", "main"]
    assert git(repo, "worktree", "list").count("\n") == 0
