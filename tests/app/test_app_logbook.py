"""What was logged, as one stream: in the order of time, whatever file it stands in, filtered, followed and bounded."""

from __future__ import annotations

import json
import os
import subprocess
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.projects import Bench, dev, git, lay_project, task

from aiframe.app.project.lanes import LaneRecord, lane_root, write_record
from aiframe.app.project.steplines import STAGES
from aiframe.app.reports.logbook import KINDS, Told, Wanted, check_events, check_found, last, read
from aiframe.app.reports.logbook_follow import News, follow
from aiframe.core.errors import UsageError
from aiframe.store.layout import Layout


def line(ts: float, kind: str = "message", run: str = "r1", task_id: str = "T1", **more: Any) -> dict[str, Any]:
    """A line as a step writes it."""
    return {"ts": ts, "kind": kind, "run_id": run, "role": "DEV", "task": task_id, **more}


def event(ts: float, kind: str = "step_started", run: str = "r1", task_id: str = "T1", **more: Any) -> dict[str, Any]:
    """A line of the journal."""
    return {"ts": ts, "kind": kind, "key": f"{run}:{kind}", "run_id": run, "role": "DEV", "task": task_id, **more}


def put(path: Path, *lines: Mapping[str, Any] | bytes) -> None:
    """Add *lines* to a log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        for each in lines:
            file.write(each if isinstance(each, bytes) else json.dumps(each, separators=(",", ":")).encode() + b"\n")


def lane(layout: Layout, task_id: str) -> Layout:
    """A lane of the project, with nothing in it."""
    made = Layout(lane_root(layout.root, task_id))
    made.control_dir.mkdir(parents=True)
    write_record(made.root, LaneRecord(task_id))
    return made


def times(told: Sequence[Told] | Any) -> list[float]:
    return [each.at for each in told]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty project."""
    root = tmp_path / "shop"
    root.mkdir()
    return Layout(root)


# The order ------------------------------------------------------------------------------------------------------------


def test_all_files_are_one_stream_in_the_order_of_time(layout: Layout) -> None:
    put(layout.events, event(1), event(9, "step_ended"), event(2, run="r0", task_id="T0"), event(8, "noted", run="r0"))
    put(layout.step_lines("r1"), line(3), line(6))
    put(layout.step_lines("r0"), line(4, run="r0", task_id="T0"))
    its = lane(layout, "T2")
    put(its.events, {"ts": 5, "kind": "state_changed", "key": "g1", "run_id": ""})
    put(its.step_lines("r2"), line(7, run="r2", task_id="T2"))
    assert times(read(layout, Wanted())) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert times(last(layout, Wanted(), 4)) == [6, 7, 8, 9]
    (told,) = read(layout, Wanted(task="T2", events=("state_*",)))
    assert told.line["task"] == "T2", "what befalls a lane befalls its task"
    assert json.loads(told.raw) == told.line


@given(data=st.data())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_logs_are_read_as_if_they_were_sorted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    layout = Layout(tmp_path_factory.mktemp("shop"))
    moments = st.integers(1, 40).map(lambda at: at * 10.0)
    everything = []
    for run in ("r1", "r2", "r3"):
        lines = [line(at, run=run, task_id=f"T{run}") for at in sorted(data.draw(st.lists(moments, max_size=8)))]
        put(layout.step_lines(run), *lines)
        everything += lines
    journal = [event(at, run=f"j{n}") for n, at in enumerate(data.draw(st.lists(moments, max_size=12)))]
    put(layout.events, *journal)
    everything += journal
    since, until = data.draw(st.none() | moments), data.draw(st.none() | moments)
    name = data.draw(st.sampled_from(["", "Tr1", "T1"]))
    wanted = Wanted(task=name, since=since, until=until)
    expected = sorted(each["ts"] for each in everything if wanted.takes(each))
    assert times(read(layout, wanted)) == expected
    count = data.draw(st.integers(1, 30))
    assert times(last(layout, wanted, count)) == expected[-count:]


FOREIGN = [
    pytest.param(b'{"ts":2,"kind":"mess', id="torn"),
    pytest.param(b"hello\n[1]\n\n\xff\xfe\n", id="no objects"),
    pytest.param(b'{"ts":"x","text":1}\n', id="no kind"),
    pytest.param(b'{"ts":2,"kind":"' + b"x" * 1_100_000 + b'"}\n', id="no end"),
    pytest.param(b'{"a":' * 100_000 + b"\n", id="too deep"),
]


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("at_end", [True, False], ids=["at the end", "between"])
def test_what_is_no_line_is_passed_over(layout: Layout, foreign: bytes, at_end: bool) -> None:
    put(layout.step_lines("r1"), line(1), foreign)
    if not at_end:
        put(layout.step_lines("r1"), b"\n", line(3))
    expected = [1] if at_end else [1, 3]
    assert times(read(layout, Wanted())) == expected
    assert times(last(layout, Wanted(), 9)) == expected


def test_a_line_that_was_told_twice_is_told_once(layout: Layout) -> None:
    put(layout.events, event(1), event(2, "step_ended"), event(1), event(2, "step_ended"))
    put(lane(layout, "T1").events, event(1), {"ts": 3, "kind": "state_changed", "key": "g1", "run_id": ""})
    put(lane(layout, "T2").events, {"ts": 4, "kind": "state_changed", "key": "g1", "run_id": ""})
    assert times(read(layout, Wanted())) == [1, 2, 3, 4]
    assert times(last(layout, Wanted(), 9)) == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["logs", "logs/runs"])
def test_a_folder_of_logs_that_is_a_link_is_not_followed(layout: Layout, tmp_path: Path, name: str) -> None:
    put(tmp_path / "elsewhere" / "runs" / "r1" / "log.jsonl", line(1))
    put(tmp_path / "elsewhere" / "r1" / "log.jsonl", line(1))
    (layout.root / name).parent.mkdir(exist_ok=True)
    (layout.root / name).symlink_to(tmp_path / "elsewhere")
    assert times(read(layout, Wanted())) == []


def test_links_are_not_followed(layout: Layout, tmp_path: Path) -> None:
    put(tmp_path / "secret.jsonl", line(1))
    for name in ("file", "folder"):
        (layout.logs / "runs").mkdir(parents=True, exist_ok=True)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        if name == "folder":
            put(elsewhere / "log.jsonl", line(1))
            (layout.logs / "runs" / name).symlink_to(elsewhere)
        else:
            (layout.logs / "runs" / name).mkdir()
            (layout.logs / "runs" / name / "log.jsonl").symlink_to(tmp_path / "secret.jsonl")
    layout.events.symlink_to(tmp_path / "secret.jsonl")
    assert times(read(layout, Wanted())) == []
    assert News(layout, Wanted()).take() == []


@pytest.mark.parametrize("way", ["all", "the last"])
def test_a_huge_log_takes_little_memory(layout: Layout, way: str) -> None:
    text = "x" * 2000
    put(layout.step_lines("r1"), *(line(float(number), text=text) for number in range(1, 8001)))
    tracemalloc.start()
    found = len(last(layout, Wanted(), 5)) if way == "the last" else sum(1 for _ in read(layout, Wanted()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == (5 if way == "the last" else 8000)
    assert peak < 2_000_000, "16 MB of lines"


# Filters --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param(Wanted(), [1, 2, 3, 4, 5, 6], id="all"),
        pytest.param(Wanted(task="T1"), [1, 2, 3], id="task"),
        pytest.param(Wanted(task="T"), [], id="no part of a name"),
        pytest.param(Wanted(run="r2"), [4, 5], id="run"),
        pytest.param(Wanted(events=("gate_*",)), [2, 3], id="pattern"),
        pytest.param(Wanted(events=("gate_ended", "message")), [3, 4, 5], id="either"),
        pytest.param(Wanted(since=2, until=4), [2, 3, 4], id="time"),
        pytest.param(Wanted(task="T1", events=("gate_*",), since=3), [3], id="combined"),
        pytest.param(Wanted(task="T1", run="r2"), [], id="nothing fits both"),
    ],
)
def test_filters_combine(layout: Layout, wanted: Wanted, found: list[float]) -> None:
    put(layout.events, event(1), event(6, run="r3", task_id="T3", message="as r2 said of T1"))
    put(layout.step_lines("r1"), line(2, "gate_started"), line(3, "gate_ended"))
    put(layout.step_lines("r2"), line(4, run="r2", task_id="T2"), line(5, run="r2", task_id="T2", text="T1 and r1"))
    assert times(read(layout, wanted)) == found
    assert times(last(layout, wanted, 9)) == found


def test_what_there_is_not_is_told_with_what_there_is(tmp_path: Path) -> None:
    layout = lay_project(tmp_path, task("T1", "true"), task("T2", "true")).root
    put(Layout(layout).step_lines("r1"), line(1))
    with pytest.raises(UsageError, match="no event 'gates'") as told:
        check_events(["gate_*", "gates"])
    assert "gate_started" in told.value.hint
    with pytest.raises(UsageError, match="no task 'T3'") as told:
        check_found(Layout(layout), Wanted(task="T3"))
    assert told.value.hint == "tasks: T1, T2"
    with pytest.raises(UsageError, match="no log of a run 'r9'") as told:
        check_found(Layout(layout), Wanted(run="r9"))
    assert "r1" in told.value.hint
    check_found(Layout(layout), Wanted(task="T2", run="r1"))


# Following ------------------------------------------------------------------------------------------------------------


def test_what_comes_is_told_once_wherever_it_moves(layout: Layout) -> None:
    put(layout.step_lines("r0"), line(1), b'{"ts":2')
    news = News(layout, Wanted())
    assert news.take() == []
    put(layout.step_lines("r0"), b',"kind":"message"}\n')
    assert times(news.take()) == [2]
    its = lane(layout, "T2")
    put(its.step_lines("r2"), line(4, run="r2"), line(6, run="r2"))
    put(its.events, event(3, run="r2"))
    put(layout.events, event(5, run="r5"))
    assert times(news.take()) == [3, 4, 5, 6]
    put(its.step_lines("r2"), line(7, run="r2"))
    os.rename(its.logs / "runs" / "r2", layout.logs / "runs" / "r2")  # the lane is over: its runs are the project's
    put(layout.events, event(3, run="r2"), event(8, "step_ended", run="r2"))
    its.events.unlink()
    assert times(news.take()) == [7, 8]
    assert news.take() == []


@pytest.mark.parametrize("way", ["emptied", "another file"])
def test_a_log_that_begins_anew_is_told_from_its_beginning(layout: Layout, way: str) -> None:
    put(layout.events, event(1), event(2, "noted"))
    news = News(layout, Wanted())
    if way == "emptied":
        layout.events.write_bytes(b"")
        assert news.take() == []
    else:
        layout.events.rename(layout.logs / "events.1")
    put(layout.events, event(3, run="r2"))
    assert times(news.take()) == [3]


def test_a_name_that_is_no_text_fits_no_line(layout: Layout) -> None:
    put(layout.step_lines("r1"), line(1.0))
    assert list(read(layout, Wanted(task="\udcff"))) == []
    assert list(read(layout, Wanted(run="\udcff"))) == []


def test_a_follower_ends_when_the_project_rests_with_all_that_was_told(layout: Layout) -> None:
    news, shown = News(layout, Wanted()), list[Told]()
    rests = iter([line(1.0), line(2.0)])

    def pause(seconds: float) -> None:
        for each in rests:
            put(layout.step_lines("r1"), each)
            return
        import time

        time.sleep(seconds)

    follow(layout, news, shown.append, pause=pause)
    assert times(shown) == [1, 2]


# All together ---------------------------------------------------------------------------------------------------------


def test_tasks_side_by_side_are_logged_and_followed_as_one(tmp_path: Path) -> None:
    repo = tmp_path / "app"
    repo.mkdir()
    git(repo, "init", "-q", "-b", "main")
    git(repo, "commit", "-q", "--allow-empty", "-m", "first")
    turns = [
        dev("T1", say="hello from T1", run=["sleep 0.3"], usage={"input_tokens": 5, "output_tokens": 2}),
        dev("T2", say="hello from T2", run=["sleep 0.6"]),
    ]
    more = {"workspace": {"kind": "worktree", "repo": str(repo)}, "parallel": 2}
    bench = lay_project(tmp_path, task("T1", "true"), task("T2", "true"), turns=turns, settings=more)
    bench = Bench(bench.root, {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")})
    assert bench.do("tick", "--no-wait").code == 0
    with subprocess.Popen(
        bench.argv("logs", "--follow", "--json", "--tail", "1000", "--project", str(bench.root)),
        stdout=subprocess.PIPE, cwd=tmp_path, env=bench.env, text=True,
    ) as following:  # fmt: skip
        while bench.where != "DONE":
            assert bench.tick().code == 0
        followed = [json.loads(each) for each in following.communicate(timeout=60)[0].splitlines()]
    told = [json.loads(each) for each in bench.do("logs", "--json").out.splitlines()]
    assert [each["ts"] for each in told] == sorted(each["ts"] for each in told)
    of_runs = [each for each in told if each["run_id"]]
    known = {json.dumps(each, sort_keys=True) for each in followed}
    assert [each for each in of_runs if json.dumps(each, sort_keys=True) not in known] == [], "all was followed"
    assert len(known) == len(followed), "and nothing twice"
    assert {"lane_opened", "lane_closed", "step_ended", "message", "usage"} <= {each["kind"] for each in told}
    said = bench.do("logs", "--task", "T1", "--event", "message").out
    assert "T1  message  hello from T1" in said
    assert "T2" not in said
    (usage,) = (each for each in told if each["kind"] == "usage")
    assert (usage["tokens"], usage["task"]) == (7, "T1")
    (run,) = {each["run_id"] for each in told if each["kind"] == "step_ended" and each["task"] == "T2"}
    assert "hello from T2" in bench.do("logs", "--run", run).out
    for words, cure in ((("--task", "T9"), "T1, T2"), (("--event", "x"), "gate_ended"), (("--since", "soon"), "30m")):
        refused = bench.do("logs", *words)
        assert refused.code == 2
        assert cure in refused.err.partition("cure")[2]


def test_the_page_about_logs_names_every_event_and_stage() -> None:
    page = (Path(__file__).parents[2] / "docs" / "logs.md").read_text()
    cells = [row.split("|")[1].strip() for row in page.splitlines() if row.startswith("| ")]
    named = [name for cell in cells for name in cell.split(", ")]
    assert {name for name in (*KINDS, *STAGES) if named.count(name) != 1} == set()
