"""What does not go together with what landed meanwhile: back to the agent once with the facts, then to a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.lanes import TARGET, asked, landed, lay_lanes, lay_serial, person_commits
from support.projects import Bench, dev, git, task, wait_for

DOCTOR = "! { test -e one.txt && test -e d.txt && ! grep -q d one.txt; }"
"""Red where one.txt and d.txt do not know of each other: each alone is fine."""


def once(mark: Path, line: str) -> str:
    """A shell line that does *line* the first time it runs."""
    return f"{{ test -e {mark} || {{ touch {mark} && {line}; }}; }} >/dev/null 2>&1"


def test_a_conflict_is_told_with_files_and_commits_and_costs_no_attempt(tmp_path: Path) -> None:
    repo = tmp_path / "app"
    turns = [
        dev("T1", files={"a.txt": "mine\n"}, run=[person_commits(repo, "a.txt", "theirs\\n")]),
        dev("T1", attempt=2, run=["grep -q '<<<<<<<' a.txt && printf 'theirs\\nmine\\n' >a.txt"]),
    ]
    bench, _ = lay_serial(tmp_path, task("T1", "grep -q mine a.txt"), turns=turns, limits={"max_attempts": 1})
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert landed(repo) == ["T1"]
    assert git(repo, "show", f"{TARGET}:a.txt") == "theirs\nmine"
    told = bench.prompts()[1]
    assert "both changed a.txt" in told
    assert f"{git(repo, 'rev-parse', '--short', f'{TARGET}^')} person: a.txt" in told
    assert [outcome for _, outcome, _ in bench.ended()] == ["merge_failed", "ok"]


def test_a_second_conflict_in_the_same_file_is_for_a_person_and_no_work_is_lost(tmp_path: Path) -> None:
    repo = tmp_path / "app"
    turns = [
        dev("T1", files={"a.txt": "mine\n"}, run=[person_commits(repo, "a.txt", "theirs\\n")]),
        dev("T1", attempt=2, files={"a.txt": "theirs\nmine\n"}, run=[person_commits(repo, "a.txt", "once more\\n")]),
        dev("T1", attempt=3, files={"a.txt": "once more\nmine\n"}),
    ]
    bench, _ = lay_serial(tmp_path, task("T1", "grep -q mine a.txt"), task("T2", "true"), turns=turns)
    bench.tick()
    assert bench.where == "PAUSED", bench.log()
    why = bench.do("why").said
    assert "T1 does not go together with what landed meanwhile" in why
    assert "both changed a.txt" in why
    assert "aiframe/shop/T1" in why
    assert "aiframe retry T1" in why
    kept = git(repo, "for-each-ref", "--format=%(refname)", "refs/aiframe/backup").splitlines()
    texts = [git(repo, "show", f"{ref}:a.txt") for ref in kept]
    assert {"mine", "theirs\nmine"} <= set(texts)
    assert "<<<<<<<" in git(repo, "show", "aiframe/shop/T1:a.txt")
    assert landed(repo) == []
    bench.tick()
    assert len(bench.prompts()) == 2, "without a word nobody is asked"
    bench.do("retry", "T1")
    bench.tick(DEV_CHAIN_LIMIT="1")
    assert landed(repo) == ["T1"], bench.log()
    assert git(repo, "show", f"{TARGET}:a.txt") == "once more\nmine"


def semantic(folder: Path, *turns: Any, **settings: Any) -> tuple[Bench, Path]:
    """T1 passes alone; while it is checked, somebody lands what it does not go together with."""
    check = once(folder / "moved", person_commits(folder / "app", "d.txt", "d\\n"))
    gates = {"doctor": DOCTOR, "prove_doctor": False}
    return lay_serial(folder, task("T1", f"{check}; test -e one.txt"), turns=list(turns), gates=gates, **settings)


def test_a_doctor_that_is_red_only_together_goes_back_with_its_log_and_what_landed(tmp_path: Path) -> None:
    turns = dev("T1", files={"one.txt": "one\n"}), dev("T1", attempt=2, files={"one.txt": "one and d\n"})
    bench, repo = semantic(tmp_path, *turns, limits={"max_attempts": 1})
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert landed(repo) == ["T1"]
    told = bench.prompts()[1]
    assert "passed this check alone" in told
    assert "person: d.txt" in told
    assert "doctor.log" in told
    assert [outcome for _, outcome, _ in bench.ended()] == ["merge_failed", "ok"]


def test_a_doctor_that_stays_red_together_is_for_a_person(tmp_path: Path) -> None:
    turns = [
        dev("T1", files={"one.txt": "one\n"}), dev("T1", attempt=2, files={"one.txt": "two\n"}),
        dev("T1", attempt=3, files={"one.txt": "one and d\n"}),
    ]  # fmt: skip
    bench, repo = semantic(tmp_path, *turns)
    bench.tick()
    assert bench.where == "PAUSED", bench.log()
    assert "doctor" in bench.do("why").said
    assert git(repo, "show", "aiframe/shop/T1:one.txt") == "two"
    assert landed(repo) == []
    bench.do("retry", "T1")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert landed(repo) == ["T1"]


def test_a_lane_in_conflict_waits_for_a_person_while_others_land(tmp_path: Path) -> None:
    repo = tmp_path / "app"
    times = f'n=$(grep -c T1 "{tmp_path}/asked"); '
    work = {
        "T1": f'{times} echo "mine $n" >a.txt; test $n -gt 2 || {{ {person_commits(repo, "a.txt", "theirs $n")}; }}',
        "T2": f"until test $(grep -c T1 '{tmp_path}/asked') = 2; do sleep 0.1; done; echo T2 >T2.txt",
    }
    work["T1"] = work["T1"].replace("printf 'theirs $n'", 'printf "theirs $n"')
    bench = lay_lanes(tmp_path, task("T1", "grep -q mine a.txt"), task("T2", "test -e T2.txt"), work=work)
    git(repo, "branch", TARGET)
    ended = bench.do("run")
    assert landed(repo) == ["T2"], ended.said
    assert bench.statuses() == {"T1": "in_progress", "T2": "done"}
    lane = str(bench.root / "lanes" / "shop.T1")
    assert "both changed a.txt" in bench.do("why", "--project", lane).said
    bench.do("retry", "T1")
    wait_for(lambda: bench.do("run").code == 0 and bench.where == "DONE", "the end")
    assert landed(repo) == ["T2", "T1"]
    assert asked(tmp_path).count("T1") == 3
