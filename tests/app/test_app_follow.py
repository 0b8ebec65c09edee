"""Following runs: nothing of what they print is missed, whatever moment they end at, and nothing old is shown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.projects import dev, lay_project, task, wait_for

from aiframe.app.reports.follow import (
    NewEvents,
    follow_events,
    follow_log,
    follow_run,
    last_lines,
    log_names,
    newest_log,
    print_log,
)
from aiframe.app.tick import tick
from aiframe.core.errors import UsageError
from aiframe.core.model import Project, Role, Run, Runner, State
from aiframe.process import now
from aiframe.store.journal import append_event
from aiframe.store.layout import Layout
from aiframe.store.locks import RunLock
from aiframe.store.project_store import ProjectStore

CHAIN = """
import os, sys, time
logs, count, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
for number in range(count):
    with open(f"{logs}/tick-run-{number:02d}.log", "ab", buffering=0) as log:
        log.write(b"== run %d\\n" % number)
        time.sleep(pause)
        log.write(b"== done %d" % number)
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty project that has had one run, long ago."""
    found = Layout(tmp_path)
    found.logs.mkdir()
    (found.logs / "tick-old.log").write_text("old\n")
    return found


@contextmanager
def runner(layout: Layout, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the run lock, as a runner does, and ends by itself."""
    lock = RunLock.try_take(layout)
    assert lock is not None
    process = subprocess.Popen([sys.executable, "-c", *argv], pass_fds=[lock.fd])
    lock.close_here()
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("runs", "pause"), [(1, 0.3), (12, 0.0), (12, 0.004), (3, 0.05)])
def test_every_run_of_a_chain_is_shown_whole(layout: Layout, runs: int, pause: float) -> None:
    shown: list[str] = []
    before = log_names(layout)
    with runner(layout, CHAIN, str(layout.logs), str(runs), str(pause)):
        last = follow_run(layout, shown.append, before=before)
    assert shown == [line for number in range(runs) for line in (f"== run {number}", f"== done {number}")]
    assert last == f"run-{runs - 1:02d}"


def test_a_chain_that_is_over_before_anybody_looks_is_shown_too(layout: Layout) -> None:
    shown: list[str] = []
    before = log_names(layout)
    with runner(layout, CHAIN, str(layout.logs), "3", "0") as process:
        process.wait()
        follow_run(layout, shown.append, before=before)
    assert [line for line in shown if "done" in line] == ["== done 0", "== done 1", "== done 2"]


def test_a_run_that_begins_and_ends_while_another_is_shown(layout: Layout) -> None:
    shown: list[str] = []
    before = log_names(layout)
    go = layout.root / "go"
    script = (
        "import os, sys, time; from pathlib import Path; logs, go = map(Path, sys.argv[1:])\n"
        "(logs / 'tick-a.log').write_text('a\\n')\n"
        "while not go.exists(): time.sleep(0.01)\n"
        "(logs / 'tick-b.log').write_text('b\\n')\n"
    )
    with runner(layout, script, str(layout.logs), str(go)) as process:

        def show(line: str) -> None:
            shown.append(line)
            go.touch()
            process.wait()

        follow_run(layout, show, before=before)
    assert shown == ["a", "b"]


def test_a_runner_that_is_killed_ends_the_following_with_all_it_printed(layout: Layout) -> None:
    shown: list[str] = []
    before = log_names(layout)
    with runner(layout, CHAIN, str(layout.logs), "1", "60") as process:

        def kill(_: float) -> None:
            if shown:
                process.send_signal(signal.SIGKILL)
                process.wait()

        assert follow_run(layout, shown.append, before=before, pause=kill) == "run-00"
    assert shown == ["== run 0"]


def test_who_comes_later_sees_the_current_run_from_its_beginning_and_no_older_one(layout: Layout) -> None:
    run = Run("run-00", Role.PO, now(), 60, Runner(1, 1.0))
    ProjectStore(layout).save(Project(state=State.RUNNING, run=run), now(), expect_generation=0)
    shown: list[str] = []
    with runner(layout, CHAIN, str(layout.logs), "2", "0.3"):
        wait_for((layout.logs / "tick-run-00.log").exists, "the log")
        follow_run(layout, shown.append)
    assert shown == ["== run 0", "== done 0", "== run 1", "== done 1"]


def test_without_a_run_there_is_nothing_to_follow(layout: Layout) -> None:
    shown: list[str] = []
    assert follow_run(layout, shown.append) == ""
    assert shown == []


def test_ctrl_c_passes_through(layout: Layout) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with runner(layout, CHAIN, str(layout.logs), "1", "60"), pytest.raises(KeyboardInterrupt):
        follow_run(layout, lambda line: None, pause=interrupt)


def test_a_tick_shows_exactly_its_own_step(tmp_path: Path) -> None:
    turn = dev(say="one\ntwo", run=["echo three"])
    bench = lay_project(tmp_path, task("T1", "true"), task("T2", "true"), turns=[turn])
    shown: list[str] = []
    report = tick(bench.root, os.environ, wait=True, out=shown.append)
    assert bench.where == "DONE"
    assert shown == bench.log().splitlines()
    assert [line for line in shown if line in ("one", "two", "three")] == ["one", "two", "three"] * 2
    assert report.run_id == bench.runs()[-1].name


# Logs as they are -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"a\n\nb\n", ["a", "", "b"], id="blank lines stay"),
        pytest.param(b"a\nb", ["a", "b"], id="no end"),
        pytest.param(b"\xff\xe4\n", ["\ufffd\ufffd"], id="no UTF-8"),
        pytest.param(b"\x1b[31mred\x1b[0m\x07\n", ["red"], id="escapes"),
        pytest.param("名\n".encode(), ["名"], id="Chinese"),
    ],
)
def test_a_log_is_printed_line_by_line(layout: Layout, content: bytes, lines: list[str]) -> None:
    (layout.logs / "tick-new.log").write_bytes(content)
    shown: list[str] = []
    print_log(layout, "new", shown.append)
    assert shown == lines
    assert last_lines(layout.logs / "tick-new.log", 50) == tuple(lines)


def test_a_line_without_end_is_shown_in_pieces(layout: Layout) -> None:
    (layout.logs / "tick-new.log").write_bytes(b"x" * 1_000_000)
    shown: list[str] = []
    print_log(layout, None, shown.append)
    assert "".join(shown) == "x" * 1_000_000
    assert max(map(len, shown)) <= 2 * 64 * 1024


def test_the_last_lines_of_a_large_log(layout: Layout) -> None:
    path = layout.logs / "tick-new.log"
    path.write_text("".join(f"line {number}\n" for number in range(200_000)))
    assert last_lines(path, 2) == ("line 199998", "line 199999")
    assert last_lines(path, 10**6)[-1] == "line 199999"
    assert 10_000 < len(last_lines(path, 10**6)) < 200_000
    assert last_lines(path, 0) == last_lines(layout.logs / "none.log", 5) == ()


def test_other_files_and_links_are_no_logs(layout: Layout, tmp_path: Path) -> None:
    for name in ("tick-.log", "tick-a b.log", "other.log", "tick-x.txt"):
        (layout.logs / name).write_text("no\n")
    (layout.logs / "tick-link.log").symlink_to(tmp_path / "secret")
    os.mkfifo(layout.logs / "tick-pipe.log")
    assert log_names(layout) == {"tick-old.log"}
    assert newest_log(layout) == layout.logs / "tick-old.log"


@pytest.mark.parametrize("run_id", ["none", "../../etc/passwd", ""])
def test_a_log_that_is_not_there_is_an_error_with_a_cure(layout: Layout, run_id: str) -> None:
    with pytest.raises(UsageError) as caught:
        print_log(layout, run_id, lambda line: None)
    assert "aiframe events" in caught.value.hint


def test_before_the_first_step_there_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no step has run yet"):
        print_log(Layout(tmp_path), None, lambda line: None)
    assert newest_log(Layout(tmp_path)) is None


# On and on ------------------------------------------------------------------------------------------------------------


@contextmanager
def in_background(follow: Callable[[Callable[[], bool]], None]) -> Iterator[None]:
    """Run *follow* in a thread until the block ends."""
    ended = threading.Event()
    thread = threading.Thread(target=follow, args=[ended.is_set])
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)
    assert not thread.is_alive()


def test_following_all_logs_goes_on_from_run_to_run(layout: Layout) -> None:
    shown: list[str] = []
    with in_background(lambda stop: follow_log(layout, None, shown.append, stop)):
        wait_for(lambda: shown == ["old"], "the newest log")
        (layout.logs / "tick-a.log").write_text("a\n")
        wait_for(lambda: shown[1:] == ["a"], "the next")
        with (layout.logs / "tick-a.log").open("a") as log:
            log.write("more\n")
        wait_for(lambda: shown[2:] == ["more"], "what it got")
        (layout.logs / "tick-b.log").write_text("b")
    assert shown == ["old", "a", "more", "b"]


def test_following_one_run_ends_with_it(layout: Layout) -> None:
    (layout.logs / "tick-later.log").write_text("later\n")
    shown: list[str] = []
    follow_log(layout, "old", shown.append, lambda: False)
    assert shown == ["old"]


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"kind": "step_ended", "run_id": f"run-{number}", "key": f"run-{number}:end", "number": number, **more}


def test_following_events_tells_each_once(layout: Layout) -> None:
    told: list[int] = []
    append_event(layout, event(1))
    with in_background(lambda stop: follow_events(layout, lambda each: told.append(each["number"]), stop)):
        wait_for(lambda: told == [1], "the first")
        append_event(layout, event(1))  # a settle that is replayed
        append_event(layout, event(2))
        wait_for(lambda: 2 in told, "the second")
        append_event(layout, event(2))
        append_event(layout, event(3))
        wait_for(lambda: 3 in told, "the third")
    assert told == [1, 2, 3]


def test_new_events_begin_at_the_end_and_survive_an_emptied_journal(layout: Layout) -> None:
    append_event(layout, event(1))
    news = NewEvents(layout)
    assert list(news.take()) == []
    append_event(layout, event(2))
    with layout.events.open("ab") as file:
        file.write(b'{"torn')
    assert [each["number"] for each in news.take()] == [2]
    assert list(news.take()) == []
    layout.events.write_bytes(b"")
    assert list(news.take()) == []
    append_event(layout, event(3))
    assert [each["number"] for each in news.take()] == [3]


def test_a_coarse_clock_hides_no_run(layout: Layout) -> None:
    """Two logs that begin within one tick of the file system's clock leave the folder with the same time."""
    shown: list[str] = []
    names = iter(["a", "b"])
    moment = time.time_ns()

    def begin_another(_: float) -> None:
        for name in names:
            (layout.logs / f"tick-{name}.log").write_text(f"{name}\n")
            os.utime(layout.logs, ns=(moment, moment))
            break
        else:
            time.sleep(0.01)

    with runner(layout, "import time; time.sleep(1)"):
        follow_run(layout, shown.append, before=log_names(layout), pause=begin_another)
    assert shown == ["a", "b"]


def test_a_control_record_that_cannot_be_read_hides_no_run(layout: Layout) -> None:
    layout.control_dir.mkdir(parents=True)
    layout.control_json.write_text("{")
    shown: list[str] = []
    with runner(layout, CHAIN, str(layout.logs), "1", "0.1"):
        follow_run(layout, shown.append)
    assert shown == ["== run 0", "== done 0"]
