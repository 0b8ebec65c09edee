"""F22: a disk that is full in the moments that count: after room is made, the project goes on and nothing is lost.

How far the step comes differs: to the check's own log, the result, the commit, the control record, the journal. What
must hold afterwards does not.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.chaos import check_whole, dev_turn, ground, one_task_plan, reached, rest, start_runner
from support.needs import mounting, needs
from support.projects import Bench, dev, lay_project, task

from aiframe.core.model import TaskStatus

DISK = """\
project=$1 disk=$2 python=$3 seen=$4
mount -t tmpfs -o size=8m tmpfs "$disk"
cp -a "$project/." "$disk"
cd "$disk"
say() { "$python" -m aiframe "$@" --project "$disk" >> "$seen/said" 2>&1; echo "$1: exit $?" >> "$seen/said"; }
say tick
say status
cp -a "$disk/." "$seen/full"
touch ../mended
rm -f notes/fill
for round in 1 2 3; do
    say tick
    say resume --now
done
cp -a "$disk/." "$seen/end"
"""

FILL = (
    "[ -e ../mended ] || {{ mkdir -p notes; cat /dev/zero > notes/fill 2>/dev/null; truncate -s -{room}K notes/fill; }}"
    "; echo proven; cat one"
)


@needs("unshare")
@pytest.mark.parametrize(
    ("room", "stopped"),
    [
        pytest.param(0, "gates/verify-1.log", id="the check's log"),
        pytest.param(8, "git prepare", id="the files are measured again"),
        pytest.param(20, "git (add|prepare)", id="git hashes"),  # how much a copy of the index takes differs a little
        pytest.param(64, "", id="room enough"),
    ],
)
def test_a_check_that_fills_the_disk(tmp_path: Path, room: int, stopped: str) -> None:
    work = dev("T1", run=["echo x >> ../starts", "echo done > one"])
    bench = lay_project(tmp_path, task("T1", FILL.format(room=room)), turns=[work])
    seen, disk = tmp_path / "seen", tmp_path / "disk"
    seen.mkdir()
    disk.mkdir()
    words = [*mounting(), "sh", "-c", DISK, "sh", str(bench.root), str(disk), sys.executable, str(seen)]
    subprocess.run(words, check=True, capture_output=True, timeout=100)
    said = (seen / "said").read_text()
    full, end = Bench(seen / "full"), Bench(seen / "end")
    assert "Traceback" not in said
    assert full.text("one") == "done\n"
    if stopped:
        assert full.where == "ERROR"
        assert re.search(stopped, full.state["failure"]["message"])
        assert re.search("free some space|make room", full.state["failure"]["hint"])
    assert (end.where, end.statuses(), end.commits()) == ("DONE", {"T1": "done"}, ["T1: Task T1"])
    assert end.git("show", "HEAD:one") == "done"
    end.git("fsck", "--strict")


FROM_OUTSIDE = """\
project=$1 disk=$2 python=$3 seen=$4
say() { "$python" -m aiframe "$@" --project "$disk" > "$seen/$1-$when" 2>&1; echo "exit $?" >> "$seen/$1-$when"; }
mount -t tmpfs -o size=8m tmpfs "$disk"
cp -a "$project/." "$disk"
cd "$disk"
when=filled say run &
while ! test -e "$seen/begun"; do sleep 0.05; done
cat /dev/zero > fill 2>/dev/null
touch "$seen/full"
wait
when=full; say run; say why; say status
rm fill
when=freed; say why; say run
cp -a "$disk/." "$seen/end"
"""

AT_WORK = "echo x >>{0}/starts; touch {0}/begun; while ! test -e {0}/full; do sleep 0.05; done; sleep 0.2"


@needs("unshare")
@pytest.mark.parametrize("kind", ["jobs", "agent"])
def test_a_disk_that_others_fill_while_work_is_done_is_named(tmp_path: Path, kind: str) -> None:
    """Nothing more can be written then, not even why the runner gives up."""
    seen, disk = tmp_path / "seen", tmp_path / "disk"
    line = AT_WORK.format(seen)
    work = {"id": "T1", "title": "Job", "status": "todo", "steps": [line, "echo printed"]}
    if kind == "jobs":
        bench = lay_project(tmp_path, work)
    else:
        bench = lay_project(tmp_path, task("T1", "test -e new"), turns=[dev("T1", run=[line, "touch new"])])
    seen.mkdir()
    disk.mkdir()
    words = [*mounting(), "sh", "-c", FROM_OUTSIDE, "sh", str(bench.root), str(disk), sys.executable, str(seen)]
    subprocess.run(words, check=True, capture_output=True, timeout=100)
    for name in ("run-filled", "run-full", "why-full", "status-full", "why-freed"):
        said = (seen / name).read_text()
        assert "No space left on device" in said, f"{name}: {said}"
        assert "free some space" in said or "make room" in said, f"{name}: {said}"
        assert str(disk) in said
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(errors) <= 1, f"{name}: {said}"
        assert ("exit 1" in said) is name.startswith("run"), f"{name}: {said}"
    if kind == "jobs":
        assert "exit 0" in (seen / "run-freed").read_text(), "nothing but room was missing"
        assert Bench(seen / "end").statuses() == {"T1": "done"}


RENAMES = {"rename": "?rename,?renameat,?renameat2", "fsync": "?fsync,?fdatasync"}


@needs("strace")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds its processes in /proc")
@pytest.mark.parametrize(
    ("call", "first", "stride"),
    [*[("rename", first, 6) for first in range(4, 10, 3)], *[("fsync", first, 16) for first in range(7, 23, 8)]],
)
def test_a_disk_that_is_full_from_any_moment_of_a_step_on(call: str, first: int, stride: int, tmp_path: Path) -> None:
    """The runner's own writes fail from some call on: its result, STATE.json, the journal. Then there is room again."""
    number = first
    while True:
        turn = dev_turn("T1", seconds=0) | {"delay": 0}
        state = {"state": "DEV_READY"}
        with ground(tmp_path / f"{number}", state=state, turns=[turn], plan=one_task_plan()) as site:
            inject = f"inject={RENAMES[call]}:error=ENOSPC:when={number}+"
            log = tmp_path / f"{number}.strace"
            runner = start_runner(site, ["strace", "-q", "-o", str(log), "-e", f"trace={RENAMES[call]}", "-e", inject])
            runner.wait(60)
            hit = "(INJECTED)" in log.read_text()
            errors = rest(site)
            assert all("space" in error for error in errors)
            # Where the very last writes failed, the mark of a living step is left, and the next runner keeps the books.
            site.layout.agent_lock.unlink(missing_ok=True)
            if site.git("status", "--porcelain").split() == ["M", "TASKS.yaml"]:
                site.git("-c", "user.name=P", "-c", "user.email=p@q", "commit", "-qam", "books")
            check_whole(site)
            assert reached(site).statuses == {"T1": TaskStatus.DONE}
            assert site.git("show", "HEAD:T1.txt") == "T1\n"
        if not hit:
            break
        number += stride
    assert number > first, "the disk was never full"
