"""What a lane brings its project is taken once, whatever is killed in between, and what all share is had once."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, git, play, task
from support.scripted_lanes import PLAN, does, lay, proven

from aiframe.app.attempts.agent_run import Stop
from aiframe.app.attempts.attempt import Attempt
from aiframe.app.attempts.gates_doctor import prove_doctor
from aiframe.app.attempts.linked import standing_on
from aiframe.app.attempts.origin import find_origin
from aiframe.app.attempts.placing import place_of
from aiframe.app.attempts.turns import OthersFirst
from aiframe.app.lanes.closing import close
from aiframe.app.lanes.collecting import collect
from aiframe.app.lanes.opening import follow, open_
from aiframe.app.project.lanes import lane_root, open_lane, read_lanes, read_record, write_record
from aiframe.app.project.site import Site, open_site
from aiframe.app.project.steplog import StepLog
from aiframe.app.protection.secrets import redactor_for
from aiframe.core.effects import OpenLane
from aiframe.core.model import Project, Role, Run, Task
from aiframe.process import now, this_process
from aiframe.store.layout import IGNORED, Layout
from aiframe.workspaces.create import ensure_repository


def opened(folder: Path, *names: str, **settings: Any) -> tuple[Bench, Site]:
    """A project with a lane for each of *names*, in which nothing has run yet."""
    bench = lay(folder, *(proven(name) for name in ("T1", "T2")), turns=[], attended=False, **settings)
    bench.write("TASKS.yaml", PLAN)
    site = open_site(bench.root, bench.env)
    ensure_repository(bench.root, IGNORED)
    for name in names:
        open_(site, OpenLane(name))
    return bench, site


def propose(site: Site, name: str, *new: str) -> Path:
    """An agent of the lane writes the tasks *new* into the plan that it sees."""
    root = lane_root(site.root, name)
    entries = "".join(f"- {json.dumps(task(each, 'true', blocked_by=[name]))}\n" for each in new)
    path = root / "TASKS.yaml"
    path.write_text(path.read_text() + entries)
    return root


def test_killed_before_a_lane_knows_what_was_taken_it_is_not_taken_twice(tmp_path: Path) -> None:
    bench, site = opened(tmp_path, "T1")
    root = propose(site, "T1", "N1", "T2")
    before = read_record(root)
    assert before is not None
    assert collect(site, root) == ("T1 proposes N1, T2-2: in TASKS.yaml now",)
    text = bench.text("TASKS.yaml")
    write_record(root, before)  # as if the plan had been written, and then nothing more
    assert collect(site, root) == ()
    assert bench.text("TASKS.yaml") == text
    assert collect(site, root) == ()
    propose(site, "T1", "N3")
    assert collect(site, root) == ("T1 proposes N3: in TASKS.yaml now",)


def test_a_document_that_two_have_changed_keeps_the_first_and_the_other_is_kept_aside(tmp_path: Path) -> None:
    bench, site = opened(tmp_path, "T1", "T2")
    roots = [lane_root(site.root, name) for name in ("T1", "T2")]
    for number, root in enumerate(roots, start=1):
        (root / "SPEC.md").write_text(f"# Shop {number}\n")
    assert collect(site, roots[0]) == ("SPEC.md is as T1 left it",)
    (said,) = collect(site, roots[1])
    assert "SPEC.md was changed by T2, and by others meanwhile" in said
    assert bench.text("SPEC.md") == "# Shop 1\n"
    assert [name for name in bench.quarantined() if "SPEC.md" in name]
    assert collect(site, roots[1]) == ()
    follow(site, roots[1])
    assert (roots[1] / "SPEC.md").read_text() == "# Shop 1\n"


def edit_lane(root: Path, _: Bench) -> None:
    (root / "TASKS.yaml").write_text(
        (root / "TASKS.yaml").read_text().replace("grep -q T1 T1.txt", "grep -q one T1.txt")
    )


def edit_plan(_: Path, bench: Bench) -> None:
    bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace("grep -q T1 T1.txt", "grep -q plan T1.txt"))


@pytest.mark.parametrize(
    ("edits", "said", "verify"),
    [
        pytest.param([edit_lane], "T1 has other words now: verify", "grep -q one T1.txt", id="in the lane"),
        pytest.param([edit_plan], "", "grep -q plan T1.txt", id="in the plan"),
        pytest.param([edit_lane, edit_plan], "", "grep -q plan T1.txt", id="in both: the plan's count"),
    ],
)
def test_plan_and_lane_have_the_same_words_for_a_task(
    tmp_path: Path, edits: list[Callable[[Path, Bench], None]], said: str, verify: str
) -> None:
    bench, site = opened(tmp_path, "T1")
    root = lane_root(site.root, "T1")
    for edit in edits:
        edit(root, bench)
    assert collect(site, root) == ((said,) if said else ())
    follow(site, root)
    assert verify in bench.text("TASKS.yaml")
    assert verify in (root / "TASKS.yaml").read_text()
    assert "# the first" in bench.text("TASKS.yaml")
    assert (collect(site, root), follow(site, root)) == ((), ())


def test_killed_before_a_lane_knows_that_the_plan_has_its_words_nothing_is_done_again(tmp_path: Path) -> None:
    bench, site = opened(tmp_path, "T1")
    root = lane_root(site.root, "T1")
    before = read_record(root)
    assert before is not None
    edit_lane(root, bench)
    collect(site, root)
    known = read_record(root)
    write_record(root, before)  # as if the plan had been written, and then nothing more
    assert collect(site, root) == ()
    assert read_record(root) == known, "else the work would count as done by other words"


def test_killed_while_a_lane_was_put_aside_its_task_can_be_taken_up_again(tmp_path: Path) -> None:
    _, site = opened(tmp_path, "T1")
    root = lane_root(site.root, "T1")
    (root / "of the lane").touch()
    Layout(root).lane_record.unlink()  # and not yet moved
    open_(site, OpenLane("T1"))
    assert read_record(root) is not None
    assert (root.with_name(f"{root.name}.closed-1") / "of the lane").exists()


def test_what_agents_leave_for_the_next_is_handed_on(tmp_path: Path) -> None:
    bench, site = opened(tmp_path, "T1", "T2")
    for name in ("T1", "T2"):
        (lane_root(site.root, name) / "notes" / "context_snapshot.md").write_text(f"{name} is built\n")
    lanes = {lane.task_id: lane.seen for lane in read_lanes(site.root, now())}
    close(site, lanes["T1"])
    assert bench.text("notes/context_snapshot.md") == "T1 is built\n"
    close(site, lanes["T2"])
    assert bench.text("notes/context_snapshot.md") == "T1 is built\n\n## After T2\n\nT2 is built\n"


def test_a_claim_that_was_not_recorded_is_found_again(tmp_path: Path) -> None:
    bench, site = opened(tmp_path)
    _, first = find_origin(site)
    site.layout.workspace_record.unlink()
    _, second = find_origin(site)
    assert (second.key, second.target) == (first.key, first.target) == ("shop", "aiframe/shop/landed")
    os.rename(bench.root, tmp_path / "other")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "STATE.json").write_text('{"state": "DEV_READY"}')
    (tmp_path / "shop" / "PROJECT.yaml").write_bytes((tmp_path / "other" / "PROJECT.yaml").read_bytes())
    _, stranger = find_origin(open_site(tmp_path / "shop", bench.env))
    assert stranger.key != first.key, "another project in the same place has its own"


def test_lanes_share_what_their_project_knows_of_the_command_for_the_whole(tmp_path: Path) -> None:
    bench, site = opened(tmp_path, "T1")
    assert Layout(lane_root(site.root, "T1")).doctor_proof == site.layout.doctor_proof
    count = tmp_path / "count"
    settings = json.loads(bench.text("PROJECT.yaml"))
    gates = {"doctor": f"echo x >>{count}; sh -n run.sh"}
    (tmp_path / "app" / "run.sh").write_text("echo hello\n")
    git(tmp_path / "app", "add", "-A")
    git(tmp_path / "app", "commit", "-q", "-m", "a script")
    bench.write("PROJECT.yaml", json.dumps(settings | {"gates": gates}))
    play(bench, [does("T1"), does("T2")])
    ended = bench.do("run")
    assert bench.where == "DONE", ended.said
    proofs = [gate["name"] for result in bench.results() for gate in result["gates"] if "doctor-base" in gate["name"]]
    assert proofs == ["doctor-base"]


def test_who_waits_for_the_command_for_the_whole_keeps_time_for_its_agent(tmp_path: Path) -> None:
    _, project = opened(tmp_path, "T1", gates={"doctor": "true"})
    site = open_lane(lane_root(project.root, "T1"), project.environ)
    place, run = place_of(site, "T1"), Run("r1", Role.DEV, now(), 2.0, this_process(), task_id="T1")
    with (
        site.layout.doctor_proof.with_suffix(".lock").open("w") as other,
        StepLog(site.layout, run, redactor_for(site.environ)) as log,
    ):
        fcntl.flock(other, fcntl.LOCK_EX)
        plan = Task("T1", "One")
        attempt = Attempt(site, Project(), run, (plan,), plan, place, standing_on(place), log, Stop())
        with pytest.raises(OthersFirst):
            prove_doctor(attempt)
