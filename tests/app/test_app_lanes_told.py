"""What is told of tasks side by side: where their work lands, what they log, and that a kill left nobody at work."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from support.projects import play, task, wait_for
from support.side_by_side import lay_yard, runner_of

from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked


def test_it_is_told_where_they_are_and_where_their_work_lands(tmp_path: Path) -> None:
    names = ("A", "B")
    yard = lay_yard(tmp_path, *(task(name, "true") for name in names))
    bench = yard.bench
    play(bench, [yard.turn(name) for name in names] * 2)
    with yard.at_work(*names) as run:
        shown = bench.do("status").out
        assert "Side by side: A, B at work" in shown
        assert "log:         lanes/shop." in shown, shown
        assert f"lands on:    {yard.target}  (git -C {yard.repo} merge {yard.target})" in shown
        told = json.loads(bench.do("status", "--json").out)
        assert (told["target"], told["merge"]) == (yard.target, f"git -C {yard.repo} merge {yard.target}")
        runners = [runner_of(yard, name) for name in names]
        for pid in (run.pid, *runners):
            os.kill(pid, signal.SIGKILL)
        lanes = [Layout(bench.root / "lanes" / f"shop.{name}") for name in names]
        wait_for(lambda: not any(map(is_run_locked, lanes)), "the runners to be gone")
        shown = bench.do("status").out
        assert "at work:     A  RUNNING  The DEV step on A (attempt 1) has lost its runner" in shown
        assert "the next run, which goes on with them" in shown
        assert "Side by side: A, B to go on" in bench.do("why").out
    done = bench.do("run")
    assert bench.where == "DONE", done.said
    assert f"\n  git -C {yard.repo} merge {yard.target} (takes in what has landed)\n" in done.out
    assert done.out.count(" merge ") == 1
    assert "then `aiframe resume`" in done.out


def test_nothing_is_to_be_taken_in_before_anything_has_landed(tmp_path: Path) -> None:
    yard = lay_yard(tmp_path, task("A", "test -f no"), limits={"max_attempts": 1})
    play(yard.bench, [yard.turn("A", meets=False)])
    ended = yard.bench.do("run")
    assert (ended.code, yard.bench.where) == (1, "ERROR")
    assert [" merge " in said for said in (ended.out, yard.bench.do("why").out)] == [False, False]
