"""A lane that cannot be looked after: the others go on, it is told once, and after some tries its task fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.projects import Bench, git, lock_free, wait_for
from support.saying import Say, say
from support.scripted_lanes import does, lay, proven

from aiframe.core.model import Rules

__all__ = ["say"]
LIMIT = Rules().transient_limit
BROKEN = {
    "its record": (".git/aiframe/lane.json",),
    "its control record": (".git/aiframe/control.json", ".git/aiframe/control.json.good"),
    "its plan": ("TASKS.yaml",),
    "its settings": ("PROJECT.yaml",),
    "its documents": ("SPEC.md",),
    "its repository": (".git/HEAD",),
}


def begun(folder: Path, say: Say) -> tuple[Bench, Path]:
    """Two tasks and one after the second; the lane of the first is there, and both rest since somebody said stop."""
    go = folder / "go"
    wait = f"for i in $(seq 300); do test -e {go} && break; sleep 0.1; done"
    turns = [does("T1", run=[wait]), does("T2", run=[wait]), does("T3")]
    limits = {"transient_base_sec": 0.05, "transient_max_sec": 0.1}
    plan = [proven("T1"), proven("T2"), proven("T3", blocked_by=["T2"])]
    bench = lay(folder, *plan, turns=turns, attended=False, limits=limits, on_task_failure="continue")
    say("tick", "--no-wait")
    lanes = [bench.root / "lanes" / f"shop.{name}" for name in ("T1", "T2")]
    wait_for(lambda: all(any(lane.glob("logs/runs/*/prompt.md")) for lane in lanes), "two steps")
    say("stop")
    wait_for(lambda: all(lock_free(Bench(lane)) for lane in lanes), "no step")
    go.touch()
    return bench, lanes[0]


def spoil(lane: Path, names: tuple[str, ...]) -> dict[Path, bytes | None]:
    """Put a folder in the place of each of the files *names*; what they held."""
    held = {}
    for path in (lane / name for name in names):
        held[path] = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        path.mkdir()
    return held


def mend(held: dict[Path, bytes | None]) -> None:
    for path, data in held.items():
        path.rmdir()
        if data is not None:
            path.write_bytes(data)


@pytest.mark.parametrize("names", BROKEN.values(), ids=BROKEN)
def test_a_lane_that_cannot_be_looked_after_holds_up_no_other(tmp_path: Path, say: Say, names: tuple[str, ...]) -> None:
    bench, lane = begun(tmp_path, say)
    held = spoil(lane, names)
    say("resume")
    said = say("run")
    assert bench.statuses() == {"T1": "failed", "T2": "done", "T3": "done"}, said
    assert said.count("T1 cannot be looked after") == 1, said
    told = [event for event in bench.events if event["kind"] == "noted" and event.get("task") == "T1"]
    assert len(told) == 1
    said = say("why")
    for words in (told[0]["message"], said):
        assert "cannot be looked after" in words
        assert str(lane / names[0].removesuffix("/HEAD")) in words
    assert "T1 cannot be looked after" in say("digest")
    assert lane.is_dir()
    mend(held)
    say("retry", "T1")
    said = say("run")
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done", "T2": "done", "T3": "done"}), said
    assert git(tmp_path / "app", "branch", "--list", "aiframe/shop/*").split()


def test_a_step_can_be_stopped_though_its_lane_says_no_more_what_it_is_for(tmp_path: Path, say: Say) -> None:
    go = tmp_path / "go"
    bench = lay(tmp_path, proven("T1"), attended=False, turns=[does("T1", run=[f"test -e {go} || sleep 60"])])
    say("tick", "--no-wait")
    lane = bench.root / "lanes" / "shop.T1"
    wait_for(lambda: any(lane.glob("logs/runs/*/prompt.md")), "a step")
    held = spoil(lane, BROKEN["its record"])
    said = say("stop")
    assert lock_free(Bench(lane)), said
    go.touch()
    mend(held)
    say("resume")
    said = say("run")
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"}), said


def test_a_runner_that_always_gives_up_is_not_begun_for_ever(tmp_path: Path, say: Say) -> None:
    """It has nobody who reads what it says; and each of its tries would have been the first one."""
    bench, lane = begun(tmp_path, say)
    held = spoil(lane, (".git/aiframe/carrying",))
    say("resume")
    said = say("run")
    assert bench.statuses() == {"T1": "failed", "T2": "done", "T3": "done"}, said
    assert said.count("T1 cannot be looked after") == 1, said
    log = (lane / ".git/aiframe/runner.log").read_text()
    assert log.count("error: ") == LIMIT, log
    assert "carrying: cannot" in say("why")
    mend(held)
    say("retry", "T1")
    said = say("run")
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done", "T2": "done", "T3": "done"}), said


def test_a_trouble_that_is_over_is_forgotten(tmp_path: Path, say: Say) -> None:
    bench, lane = begun(tmp_path, say)
    held = spoil(lane, (".git/aiframe/carrying",))
    limits = {"transient_base_sec": 1, "transient_max_sec": 1}
    bench.write("PROJECT.yaml", json.dumps(json.loads(bench.text("PROJECT.yaml")) | {"limits": limits}))
    say("resume")
    said = say("tick", "--no-wait")
    wait_for(lambda: "cannot be looked after" in say("tick", "--no-wait"), "a word about it")
    mend(held)
    said += say("run")
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done", "T2": "done", "T3": "done"}), said
    assert "cannot be looked after" not in say("why")
