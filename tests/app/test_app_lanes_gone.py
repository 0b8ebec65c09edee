"""Tasks side by side where somebody takes things away: the branch they land on, their lanes, their folders' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.lanes import TARGET, landed, lay_lanes
from support.projects import Bench, git, task, tasks_yaml

WRITE = "echo {0} >{0}.txt"


def lay(folder: Path, *tasks: dict[str, Any], **work: str) -> Bench:
    """A project whose agents write a file named after their task, where *work* says nothing else."""
    given = {each["id"]: WRITE.format(each["id"]) for each in tasks} | work
    return lay_lanes(folder, *tasks, work=given)


def test_a_target_that_is_deleted_is_made_anew_from_what_landed_last_in_any_lane(tmp_path: Path) -> None:
    plan = [task("A", "test -f A.txt"), task("B", "test -f B.txt")]
    bench, repo = lay(tmp_path, *plan, C=WRITE.format("C")), tmp_path / "app"
    assert bench.do("run").code == 0
    before = landed(repo)
    git(repo, "branch", "-D", TARGET)
    done = [{**each, "status": "done"} for each in plan]
    bench.write("TASKS.yaml", tasks_yaml(*done, task("C", "test -f A.txt && test -f B.txt && test -f C.txt")))
    bench.do("resume")
    ended = bench.do("run")
    assert bench.where == "DONE", ended.said
    assert sorted(before) == ["A", "B"]
    assert landed(repo) == [*before, "C"]
    kept = git(repo, "for-each-ref", "--format=%(refname)", "refs/aiframe/landed").splitlines()
    assert kept == ["refs/aiframe/landed/shop"], "one for all lanes, and none that stays behind"


def test_no_task_is_kept_out_by_the_name_of_what_was_put_aside(tmp_path: Path) -> None:
    """X is cancelled, so its lane becomes X.closed-1; a task has that id."""
    bench = lay(tmp_path, task("X", "true", agent="human"), task("X.closed-1", "test -f X.closed-1.txt"))
    bench.do("tick", "--no-wait")
    tasks = (task("X", "true", status="cancelled"), task("X.closed-1", "test -f X.closed-1.txt"))
    bench.write("TASKS.yaml", tasks_yaml(*tasks))
    (bench.root / "lanes" / "shop.Y").mkdir()
    (bench.root / "lanes" / "shop.Y" / "of a person").touch()
    bench.write("TASKS.yaml", tasks_yaml(*tasks, task("Y", "test -f Y.txt")))
    (tmp_path / "do" / "Y.sh").write_text(WRITE.format("Y"))
    ended = bench.do("run")
    assert bench.where == "DONE", ended.said
    assert sorted(landed(tmp_path / "app")) == ["X.closed-1", "Y"]
    left = sorted(path.name for path in (bench.root / "lanes").iterdir())
    assert left == ["shop.X.closed-1", "shop.Y.closed-1"]
    assert (bench.root / "lanes" / "shop.Y.closed-1" / "of a person").exists()
