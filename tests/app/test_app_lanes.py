"""Tasks side by side: each in a lane of its own, none in another's way, all landed one by one on one branch."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, git, lay_project, play, task, tasks_yaml, wait_for
from support.side_by_side import lay_yard

TARGET = "aiframe/shop/landed"
WORK = 'date +%s.%N > "began-$1"; sleep "$2"; printf "%s\\n" "$1" > "$1.txt"; date +%s.%N > "ended-$1"'


def repository(folder: Path) -> Path:
    """A person's repository."""
    root = folder / "app"
    root.mkdir(parents=True)
    (root / "a.txt").write_text("a\n")
    (root / ".gitignore").write_text("began-*\nended-*\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


def lay(folder: Path, *tasks: Mapping[str, Any], seconds: float = 1, **settings: Any) -> Bench:
    """A project with a command for an agent, which notes in *marks* when each task began and ended."""
    marks = folder / "marks"
    marks.mkdir(parents=True)
    work = WORK.replace('"began', f'"{marks}/began').replace('"ended', f'"{marks}/ended')
    (folder / "work.sh").write_text(work)
    agent = {"name": "command", "line": f"/bin/sh {folder}/work.sh {{task}} {seconds}"}
    more = {
        "agent": agent, "sandbox": "none", "parallel": 3,
        "workspace": {"kind": "worktree", "repo": str(repository(folder))}, **settings,
    }  # fmt: skip
    bench = lay_project(folder, *tasks, settings=more)
    bench.edit_state(state="DEV_READY", interactive_mode=False)
    return replace(bench, env={**os.environ, "XDG_STATE_HOME": str(folder / "state")})


def proven(name: str, **more: Any) -> dict[str, Any]:
    return task(name, f"grep -q {name} {name}.txt", **more)


def spans(bench: Bench) -> dict[str, tuple[float, float]]:
    """When each task began and ended, in epoch seconds."""
    marks = bench.root.parent / "marks"
    names = [path.name.removeprefix("began-") for path in marks.glob("began-*")]
    return {name: (read(marks / f"began-{name}"), read(marks / f"ended-{name}")) for name in names}


def read(path: Path) -> float:
    return float(path.read_text())


def together(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def test_tasks_run_side_by_side_and_land_one_by_one(tmp_path: Path) -> None:
    bench = lay(tmp_path, *(proven(f"T{n}") for n in (1, 2, 3)))
    done = bench.tick()
    assert bench.where == "DONE", done.said
    assert set(bench.statuses().values()) == {"done"}
    repo = tmp_path / "app"
    assert sorted(git(repo, "log", "--format=%s", f"main..{TARGET}").splitlines()) == [
        "T1: Task T1", "T2: Task T2", "T3: Task T3"
    ]  # fmt: skip
    times = spans(bench)
    assert all(together(times["T1"], times[other]) for other in ("T2", "T3"))
    assert not list((bench.root / "lanes").iterdir()), "what is over is put away"
    assert git(repo, "branch", "--format=%(refname:short)").splitlines() == [TARGET, "main"]
    assert len(bench.results()) == 3
    assert bench.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("locks", "settings", "overlap"),
    [
        pytest.param({"writes": ["src/**"]}, {}, False, id="the same files"),
        pytest.param({"writes": ["api"]}, {"resources": {"api": ["src/**"]}}, False, id="the same resource"),
        pytest.param({"reads": ["api"]}, {"resources": {"api": ["src/**"]}}, True, id="both read"),
        pytest.param({"reads": ["db"]}, {"resources": {"db": {"slots": 1}}}, False, id="one slot"),
        pytest.param({}, {"parallel": {"tasks": 2, "agents": {"command": 1}}}, False, id="one agent of its kind"),
    ],
)
def test_locks_keep_tasks_apart(tmp_path: Path, locks: Any, settings: Any, overlap: bool) -> None:
    names = ("T1", "T2")
    more = {"locks": locks} if locks else {}
    tasks = [task(name, f"test -f src/{name}.txt" if "writes" in locks else "true", **more) for name in names]
    bench = lay(tmp_path, *tasks, **settings)
    script = tmp_path / "work.sh"
    script.write_text(
        script.read_text().replace('> "$1.txt"', '> "src/$1.txt"').replace("printf", "mkdir -p src; printf")
    )
    if "writes" not in locks:
        script.write_text(script.read_text().replace("mkdir -p src; ", "").replace("src/", ""))
    said = bench.tick().said
    assert bench.where == "DONE", said
    times = spans(bench)
    assert together(times["T1"], times["T2"]) is overlap


def test_each_task_gets_a_port_of_its_own(tmp_path: Path) -> None:
    tasks = [task(f"T{n}", "true", locks={"writes": ["port"]}) for n in (1, 2, 3)]
    bench = lay(tmp_path, *tasks, resources={"port": {"range": [9000, 9001]}})
    script = tmp_path / "work.sh"
    script.write_text(script.read_text().replace('printf "%s\\n" "$1"', 'printf "%s\\n" "$AIFRAME_RESOURCE_PORT"'))
    assert bench.tick().code == 0
    assert bench.where == "DONE"
    repo, times = tmp_path / "app", spans(bench)
    ports = {name: git(repo, "show", f"{TARGET}:{name}.txt") for name in times}
    assert set(ports.values()) == {"9000", "9001"}
    for one in times:
        for other in times:
            assert one == other or ports[one] != ports[other] or not together(times[one], times[other])


def test_a_task_waits_for_those_it_builds_on(tmp_path: Path) -> None:
    bench = lay(tmp_path, task("T1", "true"), task("T2", "grep -q T1 T1.txt", blocked_by=["T1"]), task("T3", "true"))
    bench.tick()
    assert bench.where == "DONE"
    times = spans(bench)
    assert times["T1"][1] < times["T2"][0]
    assert together(times["T1"], times["T3"])


def test_a_service_in_trouble_is_waited_for_with_the_locks_in_hand(tmp_path: Path) -> None:
    """What the first has half done lies in files that the second would write."""
    plan = [task(name, f"grep -q {name} a.txt", locks={"writes": ["a.txt"]}) for name in ("T1", "T2")]
    yard = lay_yard(tmp_path, *plan, limits={"transient_base_sec": 1})
    half = yard.turn("T1", meets=False, files={"a.txt": "half\n"}, fail={"kind": "transient", "message": "busy"})
    whole = [
        yard.turn(name, meets=False, files={}, append={"a.txt": f"{name}\n"}, **more)
        for name, more in (("T1", {"repeat": 1}), ("T2", {}))
    ]
    play(yard.bench, [half, *whole])
    said = yard.bench.do("run").said
    assert yard.bench.where == "DONE", said
    assert yard.arrived() == ["T1", "T1", "T2"]


def test_a_quota_that_is_used_up_is_met_by_those_at_work_and_no_others(tmp_path: Path) -> None:
    plan = [proven(name) for name in ("T1", "T2", "T3")]
    yard = lay_yard(tmp_path, *plan, parallel=2)
    refused = [
        yard.turn(name, meets=False, fail={"kind": "quota", "message": "come back later"}) for name in ("T1", "T2")
    ]
    turns = [yard.turn("T3", meets=False), *(yard.turn(name, meets=False, repeat=1) for name in ("T1", "T2"))]
    play(yard.bench, [*refused, *turns])
    yard.bench.do("tick")
    assert sorted(yard.arrived()) == ["T1", "T2"]
    yard.bench.do("resume", "--now")
    said = yard.bench.do("tick").said
    assert (yard.bench.where, sorted(yard.arrived())) == ("DONE", ["T1", "T1", "T2", "T2", "T3"]), said


def test_a_task_that_fails_stops_the_project_and_the_others_end(tmp_path: Path) -> None:
    bench = lay(tmp_path, task("T1", "false"), proven("T2"), limits={"max_attempts": 1})
    ended = bench.tick()
    assert ended.code == 1
    assert bench.where == "ERROR"
    assert bench.statuses() == {"T1": "failed", "T2": "done"}
    assert "T1" in ended.said
    assert bench.do("retry", "T1").code == 0
    lane = bench.root / "lanes" / "shop.T1"
    text = (lane / "TASKS.yaml").read_text()
    (lane / "TASKS.yaml").write_text(text.replace("'false'", "'true'"))
    bench.tick()
    assert bench.where == "DONE", bench.tick().said


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_it_ends_as_if_nothing_had_happened(tmp_path: Path, seed: int) -> None:
    """SIGKILL to whoever looks after the lanes, to the runner of one, or to both, again and again."""
    plan = [proven("T1"), proven("T2", blocked_by=["T1"]), proven("T3"), proven("T4")]
    bench, chance = lay(tmp_path, *plan, seconds=0.5), random.Random(seed)
    for _ in range(5):
        with subprocess.Popen(bench.argv("tick"), cwd=bench.root, env=bench.env, stdout=subprocess.DEVNULL) as ticking:
            with suppress(subprocess.TimeoutExpired):
                ticking.wait(chance.uniform(0.1, 1.5))
            victims = [runner for runner in runners(bench) if chance.random() < 0.5]
            for victim in victims:
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            if not victims or chance.random() < 0.5:
                ticking.kill()
            else:
                ticking.terminate()
    wait_for(lambda: is_over(bench), "the end", 60)
    assert set(bench.statuses().values()) == {"done"}
    # Killed between the claim of a name and its record, the project gets another name, and so does its branch.
    target = json.loads((bench.control_dir / "workspace.json").read_text())["target"]
    subjects = git(tmp_path / "app", "log", "--format=%s", f"main..{target}").splitlines()
    assert sorted(subjects) == [f"T{n}: Task T{n}" for n in (1, 2, 3, 4)]
    assert subjects.index("T1: Task T1") > subjects.index("T2: Task T2")
    assert not list((bench.root / "lanes").glob("[!.]*"))
    assert git(tmp_path / "app", "branch", "--format=%(refname:short)").splitlines() == [target, "main"]
    assert git(tmp_path / "app", "fsck", "--no-dangling") == ""


def is_over(bench: Bench) -> bool:
    """Whether the plan is done after one more tick; a task that was killed too often is tried again by a person."""
    if bench.where == "ERROR":
        assert "interrupted, 4 times in a row" in bench.control["failure"]["message"]
        bench.do("retry")
    return bench.do("tick").code == 0 and bench.where == "DONE"


def runners(bench: Bench) -> list[int]:
    """The processes that carry the steps of lanes."""
    found = []
    for record in bench.root.glob("lanes/*/.git/aiframe/control.json"):
        with suppress(OSError, ValueError):
            run = json.loads(record.read_text())["project"].get("run")
            found += [run["runner"]["pid"]] if run else []
    return found


def test_what_has_just_been_planned_is_worked_at(tmp_path: Path) -> None:
    yard = lay_yard(tmp_path)
    yard.bench.edit_state(state="SPEC_READY")
    plan = tasks_yaml(*(task(name, f"grep -qx {name} {name}.txt") for name in ("T1", "T2")))
    planned = {"role": "PO", "files": {"TASKS.yaml": plan}, "closing": {"summary": "Two.", "state": "DEV_READY"}}
    play(yard.bench, [planned, *(yard.turn(name, meets=False) for name in ("T1", "T2"))])
    said = yard.bench.do("run").said
    assert (yard.bench.where, yard.bench.statuses()) == ("DONE", {"T1": "done", "T2": "done"}), said


@pytest.mark.parametrize("kind", ["worktree", "clone"])
def test_what_others_have_landed_meanwhile_is_nothing_that_a_task_has_changed(tmp_path: Path, kind: str) -> None:
    """Each declares what it writes; whoever lands later is not held for what the others did."""
    plan = [proven(name, locks={"writes": [f"{name}.txt"]}) for name in ("T1", "T2")]
    bench = lay(tmp_path, *plan, workspace={"kind": kind, "repo": str(tmp_path / "app")})
    bench.tick()
    assert bench.where == "DONE", bench.statuses()


def test_a_project_with_one_folder_is_refused(tmp_path: Path) -> None:
    bench = lay(tmp_path, proven("T1"), workspace={"kind": "inplace"})
    ended = bench.tick()
    assert ended.code in (1, 2)
    assert "side by side" in ended.err
    assert "worktree" in ended.err


def test_run_goes_on_to_the_end_and_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    plan = [
        proven("T1", locks={"writes": ["src/**"]}), proven("T2", locks={"writes": ["port"]}),
        proven("T3", locks={"writes": ["src/x.txt", "port"]}, blocked_by=["T1"]),
        proven("T4", locks={"reads": ["api"]}),
    ]  # fmt: skip
    free = [{key: value for key, value in each.items() if key != "locks"} for each in plan]
    resources = {"port": {"range": [9000, 9009]}, "api": ["a.txt"]}
    bench = lay(tmp_path, *plan, parallel=2, resources=resources)
    dry = bench.do("run", "--dry-run")
    assert dry.code == 0
    assert dry.out.splitlines() == [
        "1. together:", "   T1  (writes src/**)", "   T2  (writes port; port=9000)",
        "2. together:", "   T3  (writes src/x.txt; writes port; port=9000)", "   T4  (reads api)",
        "look: T1: src/** matches no file that is there", "look: T3: src/x.txt matches no file that is there",
    ]  # fmt: skip
    assert not (bench.root / "lanes").exists()
    bench.write("TASKS.yaml", json.dumps({"version": 1, "tasks": free}))
    ended = bench.do("run", "--parallel", "4")
    assert ended.code == 0, ended.said
    assert bench.where == "DONE"
    times = spans(bench)
    assert all(together(times["T1"], times[other]) for other in ("T2", "T4"))


def test_a_dry_run_says_why_a_task_will_never_start(tmp_path: Path) -> None:
    plan = [
        proven("T1", status="failed"), proven("T2", blocked_by=["T1"]), proven("T3", status="cancelled"),
        proven("T4", blocked_by=["T3"]), proven("T5", status="review"),
    ]  # fmt: skip
    dry = lay(tmp_path, *plan).do("run", "--dry-run")
    assert sorted(dry.out.splitlines()) == [
        "never: T1 is failed", "never: T2 waits for T1", "never: T4 waits for T3, which is cancelled",
        "never: T5 is in review",
    ]  # fmt: skip


def test_a_lock_on_an_unknown_resource_is_told_before_anything_starts(tmp_path: Path) -> None:
    bench = lay(tmp_path, proven("T1", locks={"writes": ["apii"]}), resources={"api": ["src/**"]})
    for words in (("run", "--dry-run"), ("run",), ("tick",)):
        ended = bench.do(*words)
        assert ended.code == 2
        assert "TASKS.yaml: T1 locks 'apii', which is no resource" in ended.err
        assert "api" in ended.err.partition("cure")[2]
    assert not (bench.root / "lanes").exists()


def test_a_pause_lets_the_steps_end_and_a_resume_goes_on(tmp_path: Path) -> None:
    plan = [proven("T1"), proven("T2"), proven("T3", blocked_by=["T1"])]
    yard = lay_yard(tmp_path, *plan)
    bench = yard.bench
    play(bench, [yard.turn(each["id"]) for each in plan])
    bench.do("tick", "--no-wait")
    wait_for(lambda: len(yard.arrived()) == 2, "two steps")
    said = bench.do("pause").said
    assert "T1, T2 may end their step" in said
    (yard.marks / "go").touch()
    bench.tick()
    assert bench.where == "PAUSED"
    assert bench.statuses() == {"T1": "done", "T2": "done", "T3": "todo"}
    assert bench.do("resume").code == 0
    assert bench.do("run").code == 0
    assert bench.where == "DONE"


def test_stop_ends_the_steps_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    bench = lay(tmp_path, proven("T1"), proven("T2"), seconds=60)
    bench.do("tick", "--no-wait")
    wait_for(lambda: len(list((tmp_path / "marks").glob("began-*"))) == 2, "two steps")
    assert "T1, T2 stopped" in bench.do("stop").said
    assert bench.where == "PAUSED"
    assert set(bench.statuses().values()) == {"in_progress"}
    script = tmp_path / "work.sh"
    script.write_text(script.read_text().replace('sleep "$2"', "true"))
    bench.do("resume")
    assert bench.do("run").code == 0
    assert bench.where == "DONE"


def test_a_budget_of_the_project_counts_all_lanes_and_stops_them(tmp_path: Path) -> None:
    plan = [proven(f"T{n}") for n in range(1, 6)]
    bench = lay(tmp_path, *plan, parallel=2, seconds=0.1, budget={"project": {"attempts": 3}})
    ended = bench.do("run")
    assert bench.where == "PAUSED", ended.said
    assert "budget" in ended.said
    done = list(bench.statuses().values()).count("done")
    assert 3 <= done <= 4
    assert bench.control["spending"]["project"]["attempts"] == done
    settings = json.loads((bench.root / "PROJECT.yaml").read_text())
    bench.write("PROJECT.yaml", json.dumps(settings | {"budget": {"project": {"attempts": 9}}}))
    bench.do("resume")
    assert bench.do("run").code == 0
    assert bench.where == "DONE"


def test_a_budget_of_each_task_holds_in_its_lane(tmp_path: Path) -> None:
    bench = lay(tmp_path, task("T1", "false"), proven("T2"), seconds=0.1, budget={"task": {"attempts": 1}})
    ended = bench.do("run")
    assert bench.statuses()["T2"] == "done", ended.said
    lane = bench.do("why", "--project", str(bench.root / "lanes" / "shop.T1"))
    assert "the budget of task T1 of 1 attempt is spent" in lane.said
    assert len(list((bench.root / "lanes" / "shop.T1" / "logs" / "runs").iterdir())) == 1
