"""What is worked at now: a row for each task, with its stage, its agent and its last line."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, git, lay_project, task, wait_for

from aiframe.app.project.site import open_site
from aiframe.app.project.steplines import KINDS, LIMIT_BYTES, STAGES
from aiframe.app.project.steplog import StepLog
from aiframe.app.reports.rows import Row, RowReader, rows
from aiframe.core.model import Moment, Role, Run, Runner
from aiframe.core.redaction import Redactor
from aiframe.store.layout import Layout

RUN = Run("r1", Role.PO, Moment(1.0), 60, Runner(1, 1.0))
UNTIL = "while [ ! -e {} ]; do sleep 0.05; done"


def rows_of(bench: Bench) -> dict[str, Row]:
    """The rows by their tasks."""
    return {row.task: row for row in rows(open_site(bench.root, bench.env))}


def in_lanes(folder: Path, *tasks: dict[str, Any], **settings: Any) -> Bench:
    """A project whose tasks are worked at side by side; each ends when a file ``go-TASK`` is there."""
    repo = folder / "app"
    repo.mkdir()
    git(repo, "init", "-q", "-b", "main")
    git(repo, "commit", "-q", "--allow-empty", "-m", "first")
    turns = [
        dev(each["id"], say=f"I begin {each['id']}", run=[UNTIL.format(folder / f"go-{each['id']}")],
            usage={"input_tokens": 1200, "output_tokens": 34}, cost_usd=0.25)
        for each in tasks
    ]  # fmt: skip
    more = {"workspace": {"kind": "worktree", "repo": str(repo)}, "parallel": 3, **settings}
    bench = lay_project(folder, *tasks, turns=turns, settings=more)
    return Bench(bench.root, {**os.environ, "XDG_STATE_HOME": str(folder / "state")})


def test_each_lane_has_a_row_that_says_what_it_does(tmp_path: Path) -> None:
    gate = UNTIL.format(tmp_path / "checked")
    bench = in_lanes(tmp_path, task("T1", "true", title="名前"), task("T2", gate))
    with subprocess.Popen(bench.argv("tick"), cwd=bench.root, env=bench.env, stdout=subprocess.DEVNULL) as ticking:
        reader = RowReader(open_site(bench.root, bench.env))
        wait_for(lambda: len([row for row in reader.read() if "while" in row.last_line]) == 2, "two agents at work")
        first, second = reader.read()
        assert (first.task, first.title, first.role, first.stage, first.attempt) == ("T1", "名前", "DEV", "build", 1)
        assert (first.agent, first.tokens, first.cost_usd) == ("scripted", 1234, 0.25)
        assert first.waits_for == ""
        assert first.since is not None
        assert Path(first.place) == bench.root / "lanes" / "shop.T1"
        (tmp_path / "go-T2").touch()
        wait_for(lambda: rows_of(bench)["T2"].stage == "verify", "the check")
        assert rows_of(bench)["T2"].last_line.startswith("verify 1/1")
        assert reader.read()[1].stage == "verify", "a reader that goes on sees it, too"
        (tmp_path / "go-T1").touch()
        (tmp_path / "checked").touch()
        ticking.wait()
    assert second.run_id
    assert rows_of(bench) == {}
    assert bench.where == "DONE"


def test_a_lane_that_waits_says_for_what(tmp_path: Path) -> None:
    bench = in_lanes(tmp_path, task("T1", "true", review=True), task("T2", "true"))
    (tmp_path / "go-T1").touch()
    (tmp_path / "go-T2").touch()
    bench.edit_state(interactive_mode=True)
    bench.tick()
    row = rows_of(bench)["T1"]
    assert (row.stage, row.run_id, row.last_line) == ("", "", "")
    assert "review" in row.waits_for
    assert row.tokens == 1234


def test_a_project_of_one_folder_has_one_row_while_its_step_runs(tmp_path: Path) -> None:
    turns = [dev("T1", say="one\ntwo", run=[UNTIL.format(tmp_path / "go")])]
    bench = lay_project(tmp_path, task("T1", "true"), turns=turns)
    assert rows_of(bench) == {}
    bench.tick("--no-wait")
    wait_for(lambda: rows_of(bench).get("T1", Row("", "")).stage == "build", "the agent")
    assert rows_of(bench)["T1"].place == str(bench.root)
    (tmp_path / "go").touch()
    wait_for(lambda: not rows_of(bench), "the end")


def lines_of(bench: Bench, run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines() if line]


def test_a_step_tells_its_stages_and_checks_as_data(tmp_path: Path) -> None:
    turns = [dev("T1", say="I work with hunter2hunter2", run=["echo out"], usage={"input_tokens": 7}, cost_usd=0.5)]
    bench = lay_project(tmp_path, task("T1", "echo hunter2hunter2"), turns=turns)
    assert bench.tick(MY_API_KEY="hunter2hunter2").code == 0
    (run,) = bench.runs()
    lines = lines_of(bench, run)
    assert {line["kind"] for line in lines} <= set(KINDS)
    assert [line["stage"] for line in lines if line["kind"] == "stage_started"] == [
        "prepare",
        "build",
        "verify",
        "land",
    ]
    assert all(stage in STAGES for stage in {line["stage"] for line in lines})
    ended = [line for line in lines if line["kind"] == "stage_ended"]
    assert [line["stage"] for line in ended] == ["prepare", "build", "verify", "land"]
    assert all(line["seconds"] >= 0 for line in ended)
    assert all(line["run_id"] == run.name and line["task"] == "T1" and line["ts"] > 0 for line in lines)
    assert "hunter2" not in (run / "log.jsonl").read_text()
    (gate,) = (line for line in lines if line["kind"] == "gate_ended")
    assert (gate["name"], gate["passed"], gate["exit_code"]) == ("verify-1", True, 0)


@pytest.mark.parametrize("torn", [b'{"ts":1,"kind":"mess', b""], ids=["torn", "empty"])
def test_a_torn_last_line_stays_alone(tmp_path: Path, torn: bytes) -> None:
    layout = Layout(tmp_path)
    path = layout.step_lines("r1")
    path.parent.mkdir(parents=True)
    path.write_bytes(torn)
    with StepLog(layout, RUN, Redactor()) as log:
        log.say("hello")
    told = path.read_bytes().split(b"\n")[1 if torn else 0 :]
    assert [json.loads(line)["kind"] for line in told if line] == ["stage_started", "note", "stage_ended"]


def test_an_agent_without_end_fills_its_log_and_the_rest_is_told(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with StepLog(layout, RUN, Redactor()) as log:
        for _ in range(2200):
            log.say("words" * 1640, "output")
        log.stage("verify")
        log.say("it passed", "gate_ended", passed=True)
    lines = [json.loads(line) for line in layout.step_lines("r1").read_text().splitlines()]
    assert LIMIT_BYTES < layout.step_lines("r1").stat().st_size < LIMIT_BYTES + 20_000
    assert all(line["cut"] and len(line["text"]) == 8192 for line in lines if line["kind"] == "output")
    kinds = [line["kind"] for line in lines]
    assert kinds.count("log_full") == 1
    after = ["log_full", "stage_ended", "stage_started", "gate_ended", "stage_ended"]
    assert kinds[-5:] == after, "stages and checks are told all the same"
