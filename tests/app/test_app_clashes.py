"""Which running tasks will conflict is told by `status` before any of them lands, and the telling costs nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from support.lanes import TARGET, lay_lanes
from support.projects import Bench, git, task, wait_for


def begun(folder: Path, kind: str) -> Bench:
    """Three lanes whose agents have written something and wait: two of them the same line."""
    wait = f"touch '{folder}/began-$1'; until test -e '{folder}/go'; do sleep 0.1; done"
    work = {
        "T1": f"echo one >a.txt; {wait}", "T2": f"echo two >a.txt; {wait}", "T3": f"echo three >n.txt; {wait}",
    }  # fmt: skip
    work = {name: line.replace("$1", name) for name, line in work.items()}
    repo = folder / "app"
    workspace = {"kind": kind, "repo": str(repo), "target": TARGET}
    bench = lay_lanes(folder, *(task(name, "true") for name in work), work=work, workspace=workspace)
    bench.env["XDG_CACHE_HOME"] = str(folder / "cache")  # type: ignore[index]
    bench.do("tick", "--no-wait")
    wait_for(lambda: len(list(folder.glob("began-*"))) == 3, "three steps")
    return bench


def clashes(bench: Bench) -> list[Any]:
    return list(json.loads(bench.do("status", "--json").out)["clashes"])


def objects(repo: Path) -> set[str]:
    return {str(path) for path in (repo / ".git").rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["worktree", "clone"])
def test_two_that_change_the_same_line_are_told(tmp_path: Path, kind: str) -> None:
    bench, repo = begun(tmp_path, kind), tmp_path / "app"
    before = objects(repo), git(repo, "for-each-ref"), git(repo, "status", "--porcelain")
    try:
        assert clashes(bench) == [{"task_id": "T1", "other": "T2", "files": ["a.txt"]}]
        assert "conflict:    T1 and T2 will conflict in a.txt" in bench.do("status").out
        assert (objects(repo), git(repo, "for-each-ref"), git(repo, "status", "--porcelain")) == before
        cache = next((tmp_path / "cache" / "aiframe" / "clashes").iterdir())
        seen = cache.stat().st_mtime_ns
        clashes(bench)
        assert cache.stat().st_mtime_ns == seen, "a moment later nothing is merged again"
        os.rename(repo, tmp_path / "gone")
        looked = json.loads(cache.read_bytes())
        cache.write_text(json.dumps({**looked, "at": time.time() - 60}))
        status = bench.do("status")
        assert status.code == 0
        assert "will conflict" not in status.out
        os.rename(tmp_path / "gone", repo)
        cache.write_bytes(b"torn")
        assert len(clashes(bench)) == 1
    finally:
        bench.do("stop")
