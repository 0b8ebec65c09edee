"""`tick`, `stop` and the logs, with real steps of the scripted agent: waiting, leaving, stopping, all projects."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.lanes import lay_lanes
from support.projects import Bench, dev, lay_project, lock_free, task, wait_for

SLOW = dev("T1", delay=80)
QUICK = dev("T1", say="working on it", files={"out.txt": "x\n"})


def one_task(folder: Path, *turns: object, name: str = "shop") -> Bench:
    return lay_project(folder, task("T1", "test -f out.txt"), turns=turns, name=name)  # type: ignore[arg-type]


def running(bench: Bench) -> bool:
    return bench.where == "RUNNING" and not lock_free(bench)


@contextmanager
def started(bench: Bench, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that is under way; killed at the end where it still is."""
    process = subprocess.Popen(
        bench.argv(*words, "--project", str(bench.root)), cwd=bench.root, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    with process:
        yield process
        process.kill()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Bench]:
    """A project whose step would take longer than any test; stopped at the end."""
    bench = one_task(tmp_path, SLOW)
    assert bench.tick("--no-wait").code == 0
    wait_for(lambda: running(bench), "a running step")
    yield bench
    bench.do("stop")
    wait_for(lambda: lock_free(bench), "the end of the step")


# Tick -----------------------------------------------------------------------------------------------------------------


def test_a_tick_shows_the_step_and_says_what_is_next(tmp_path: Path) -> None:
    bench = one_task(tmp_path, QUICK)
    ended = bench.tick()
    assert (ended.code, ended.err) == (0, "")
    assert "working on it" in ended.out
    assert bench.where == "DONE"
    assert "Done" in ended.out.splitlines()[-2] + ended.out.splitlines()[-1]


def test_a_step_that_fails_is_exit_code_1_and_an_error_stays_1(tmp_path: Path) -> None:
    bench = one_task(tmp_path, dev("T1", fail={"kind": "auth", "message": "401"}))
    ended = bench.tick()
    assert ended.code == 1
    assert "401" in ended.out
    assert bench.where == "ERROR"
    assert bench.tick().code == 1


def test_json_is_one_object_and_progress_goes_elsewhere(tmp_path: Path) -> None:
    bench = one_task(tmp_path, QUICK)
    ended = bench.tick("--json")
    report = json.loads(ended.out)
    assert report["exit_code"] == ended.code == 0
    assert report["project"] == str(bench.root)
    assert report["run_id"] in {event["run_id"] for event in bench.events}
    assert "working on it" in ended.err


def test_no_wait_returns_while_the_step_runs(slow: Bench) -> None:
    assert running(slow)
    again = slow.tick("--no-wait")
    assert again.code == 0
    assert "aiframe logs --follow" in again.out
    assert len(slow.runs()) == 1


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line
        if text in line:
            return told
    raise AssertionError(f"{text!r} did not come; this did: {told}")


def test_ctrl_c_leaves_the_step_and_says_how_to_come_back(slow: Bench) -> None:
    with started(slow, "tick") as tick:
        _read_until(tick, "== DEV task T1")
        tick.send_signal(signal.SIGINT)
        out, err = tick.communicate(timeout=30)
    assert tick.returncode == 130
    assert "detached: the step goes on" in out
    assert "aiframe logs --follow" in out
    assert "aiframe stop" in out
    assert err == ""
    assert running(slow)


def test_a_second_ctrl_c_stops_the_step(slow: Bench) -> None:
    with started(slow, "tick") as tick:
        _read_until(tick, "== DEV task T1")
        tick.send_signal(signal.SIGINT)
        _read_until(tick, "Ctrl-C once more")
        tick.send_signal(signal.SIGINT)
        out, err = tick.communicate(timeout=60)
    assert tick.returncode == 130
    assert "Stopped the step" in out
    assert err == ""
    assert slow.where == "PAUSED"
    assert lock_free(slow)


def test_ctrl_c_where_nothing_runs_is_quiet(tmp_path: Path) -> None:
    bench = one_task(tmp_path, QUICK)
    with started(bench, "status", "--watch", "60") as status:
        _read_until(status, "state:")
        status.send_signal(signal.SIGINT)
        _, err = status.communicate(timeout=30)
    assert (status.returncode, err) == (130, "")


# Stop -----------------------------------------------------------------------------------------------------------------


def test_stop_ends_the_step_and_pauses_and_resume_goes_on(slow: Bench) -> None:
    ended = slow.do("stop")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"Stopped the step. Next: aiframe resume --project {slow.root}\n"
    assert slow.where == "PAUSED"
    assert lock_free(slow)
    assert slow.do("resume").code == 0
    assert slow.where == "DEV_READY"


def test_stop_works_though_the_step_broke_the_files(slow: Bench) -> None:
    slow.write("STATE.json", "{ broken")
    slow.write("PROJECT.yaml", "agent: [")
    slow.write("TASKS.yaml", "tasks: [")
    ended = slow.do("stop")
    assert ended.code == 0
    assert "Stopped the step" in ended.out
    assert lock_free(slow)


def test_stop_works_though_the_step_removed_the_lock(slow: Bench) -> None:
    (lock,) = (slow.root / ".git").rglob("*run.lock")
    content = lock.read_bytes()
    lock.unlink()
    ended = slow.do("stop")
    lock.write_bytes(content)
    assert "Stopped the step" in ended.out
    assert slow.tick().code in (0, 1)
    assert slow.where == "PAUSED"


def test_pause_lets_the_step_end(slow: Bench) -> None:
    ended = slow.do("pause")
    assert "may end" in ended.out
    assert running(slow)
    assert "runs on" in slow.do("resume").out
    assert slow.control["pause_requested"] is False


@pytest.mark.parametrize("words", [["retry"], ["replan"], ["accept"]], ids=" ".join)
def test_what_must_not_happen_during_a_step_is_refused(slow: Bench, words: list[str]) -> None:
    slow.write(".git/aiframe/offered/TASKS.yaml", "tasks: []\n")
    ended = slow.do(*words)
    assert ended.code == 2
    assert "a step is running" in ended.err
    assert "aiframe stop" in ended.err


def test_interrupt_now_stops_the_step_for_a_talk(tmp_path: Path) -> None:
    state = {"state": "DEV_READY", "interactive_mode": True}
    bench = lay_project(tmp_path, task("T1", "true"), turns=[SLOW], state=state)
    bench.tick("--no-wait")
    wait_for(lambda: running(bench), "a running step")
    ended = bench.do("interrupt", "--now")
    assert ended.code == 0
    assert "Stopped the step" in ended.out
    assert bench.where == "PAUSE_INTERACT"
    assert bench.do("continue").code == 0
    assert bench.where == "DEV_READY"


def stop_between_writes(bench: Bench) -> None:
    """Make the runner stand still at a moment when it holds no lock on the project's state."""
    runner = psutil.Process(bench.control["run"]["runner"]["pid"])
    with (bench.control_dir / "state.lock").open() as mutex:
        while True:
            runner.suspend()
            wait_for(lambda: runner.status() == psutil.STATUS_STOPPED, "a runner that stands still")
            try:
                fcntl.flock(mutex, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                runner.resume()
                time.sleep(0.05)
            else:
                return


def test_a_runner_that_cannot_end_is_killed(slow: Bench) -> None:
    stop_between_writes(slow)
    ended = slow.do("stop")
    assert ended.code == 0
    assert "was killed" in ended.out
    assert lock_free(slow)
    assert slow.tick().code in (0, 1)
    assert slow.where == "PAUSED"


def test_a_step_on_another_host_is_left_alone(tmp_path: Path) -> None:
    bench = one_task(tmp_path, SLOW)
    bench.tick("--no-wait")
    wait_for(lambda: running(bench), "a running step")
    control = bench.control_dir / "control.json"
    text = control.read_text()
    foreign = json.loads(text)
    foreign["project"]["run"]["runner"]["host"] = "elsewhere"
    control.write_text(json.dumps(foreign))
    ended = bench.do("stop")
    assert ended.code == 2
    assert "elsewhere" in ended.err
    assert running(bench)
    control.write_text(text)
    assert bench.do("stop").code == 0


# Logs and events ------------------------------------------------------------------------------------------------------


def test_logs_and_events_tell_what_has_happened(tmp_path: Path) -> None:
    bench = one_task(tmp_path, QUICK)
    bench.tick()
    (run_id,) = {event["run_id"] for event in bench.events if event["run_id"]}
    for words in (["logs"], ["logs", "--run", run_id], ["logs", "--follow"], ["logs", "--follow", "--run", run_id]):
        ended = bench.do(*words)
        assert ended.code == 0
        assert "working on it" in ended.out
    events = bench.do("events")
    assert "step_started  DEV  T1  attempt 1  DEV_READY -> RUNNING" in events.out
    assert run_id in events.out


def test_logs_follow_attaches_to_the_step_that_runs(slow: Bench) -> None:
    with started(slow, "logs", "--follow") as follower:
        _read_until(follower, "== DEV task T1")
        slow.do("stop")
        follower.communicate(timeout=30)
    assert follower.returncode == 0


def test_logs_follow_goes_on_while_a_step_is_due(tmp_path: Path) -> None:
    busy = dev("T1", fail={"kind": "transient", "message": "busy"}, closing=None)
    bench = one_task(tmp_path, busy, {**QUICK, "repeat": 1})
    bench.tick()
    with started(bench, "logs", "--follow") as follower:
        _read_until(follower, "busy")
        bench.do("resume", "--now")
        bench.tick()
        _read_until(follower, "== done")
        follower.communicate(timeout=30)
    assert (follower.returncode, bench.where) == (0, "DONE")


def test_events_follow_shows_what_comes(slow: Bench) -> None:
    with started(slow, "events", "--follow") as follower:
        _read_until(follower, "step_started")
        slow.do("stop")
        _read_until(follower, "step_ended")


@pytest.mark.parametrize(
    ("redirection", "code", "says"),
    [
        pytest.param(">/dev/full", 1, "No space left on device", id="full"),
        pytest.param(">&-", 0, "", id="closed"),
        pytest.param("<&-", 0, "", id="no input"),
    ],
)
def test_output_that_cannot_be_written(tmp_path: Path, redirection: str, code: int, says: str) -> None:
    bench = one_task(tmp_path, QUICK)
    script = f"unset PYTHONUNBUFFERED; '{sys.executable}' -m aiframe status {redirection}"
    ended = subprocess.run(["sh", "-c", script], cwd=bench.root, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("kind", ["one by one", "side by side", "jobs"])
def test_work_is_done_though_standard_streams_are_closed(tmp_path: Path, kind: str, closed: str) -> None:
    """As a supervisor may start it: what is opened first must not be taken for what is printed to."""
    plan = [task("T1", "test -f T1"), task("T2", "test -f T2", blocked_by=["T1"]), task("T3", "test -f T3")]
    match kind:
        case "side by side":
            bench = lay_lanes(tmp_path, *plan, work={each["id"]: f"touch {each['id']}" for each in plan})
        case "jobs":
            bench = lay_project(tmp_path, *({**each, "steps": [f"touch {each['id']}"]} for each in plan))
        case _:
            turns = [dev(each["id"], files={each["id"]: ""}) for each in plan]
            bench = lay_project(tmp_path, *plan, turns=turns)
    script = f"'{sys.executable}' -m aiframe run {closed}"
    ended = subprocess.run(["sh", "-c", script], cwd=bench.root, env=bench.env, timeout=90, check=False)
    assert (ended.returncode, bench.where) == (0, "DONE"), bench.do("why").said


@pytest.mark.parametrize("words", [["events"], ["status"], ["logs"], ["tick"], ["--help"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, words: list[str]) -> None:
    bench = one_task(tmp_path, QUICK)
    bench.tick()
    bench.tick()
    command = " ".join(f"'{word}'" for word in (sys.executable, "-m", "aiframe", *words))
    # The reader is gone before anything is written, and Python buffers as it does for a person.
    script = f"unset PYTHONUNBUFFERED; ( sleep 0.3; {command} 2>err; echo $? >code ) | true"
    subprocess.run(["sh", "-c", script], cwd=bench.root, check=True)
    code = wait_for(lambda: bench.text("code").strip(), "the exit code")
    assert code == "141"
    assert bench.text("err") == ""


# All projects ---------------------------------------------------------------------------------------------------------


def test_all_projects_get_one_line_each_and_the_worst_code_counts(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    for name, folder in (("fine", "a"), ("bad", "b"), ("unreadable", "c")):
        turn = QUICK if name == "fine" else dev("T1", fail={"kind": "auth", "message": "401"})
        made = one_task(tmp_path / folder, turn, name=name)
        (tmp_path / "projects").mkdir(exist_ok=True)
        made.root.rename(tmp_path / "projects" / name)
    projects = tmp_path / "projects"
    (projects / "unreadable" / "TASKS.yaml").write_text("tasks: [")
    ended = Bench(tmp_path).run("tick", "--all")
    assert [line.partition(":")[0] for line in ended.out.splitlines()] == ["bad", "fine", "unreadable"]
    assert ended.code == 2
    assert "TASKS.yaml:1" in ended.out
    assert Bench(projects / "fine").where == "DONE"
    (projects / "unreadable" / "TASKS.yaml").write_text("tasks: []\n")
    (projects / "unreadable" / "STATE.json").write_text('{"state": "PAUSED"}')
    assert Bench(tmp_path).run("tick", "--all").code == 1
    told = json.loads(Bench(tmp_path).run("tick", "--all", "--json").out)
    assert {Path(one["project"]).name: one["exit_code"] for one in told["projects"]} == {
        "bad": 1, "fine": 0, "unreadable": 0,
    }  # fmt: skip


def test_a_frame_without_projects_says_how_to_make_one(tmp_path: Path) -> None:
    Bench(tmp_path).run("frame", "f")
    ended = Bench(tmp_path / "f").run("tick", "--all")
    assert ended.code == 0
    assert "aiframe init NAME" in ended.out


def test_a_tick_of_all_says_the_same_once_it_is_cheap(tmp_path: Path) -> None:
    import time

    (tmp_path / "prompts").mkdir()
    (tmp_path / "TEMPLATE_ROOT").touch()
    for name in ("one", "two"):
        lay_project(tmp_path / "projects", name=name, state="PAUSED")
    first = Bench(tmp_path).run("tick", "--all")
    time.sleep(0.2)  # the file system's clock is coarse, and a file that is too fresh is not trusted
    told = [Bench(tmp_path).run("tick", "--all") for _ in range(3)]
    assert {ended.out for ended in told} == {first.out}
    assert {ended.code for ended in told} == {0}
