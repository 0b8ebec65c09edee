"""What was changed while a step ran and does not count: said with its place and a command, until it is decided."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.projects import Bench, dev, lay_project, play, task, tasks_yaml

MINE = "# Rules\n\nBe brief.\n"
CHANGES = "printf '# Rules\\n\\nBe brief.\\n' > AGENTS.md; mkdir -p notes; echo 'looks fine' > notes/review_approval.md"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A project in review whose rules and approval were written while its step ran."""
    bench = lay_project(tmp_path, task("T1", "true", review=True), state={"state": "DEV_READY"})
    bench.write("AGENTS.md", "# Rules\n")
    play(bench, [dev("T1", run=[CHANGES])])
    assert bench.tick().code == 0
    assert (bench.where, bench.text("AGENTS.md")) == ("REVIEW_WAITING", "# Rules\n")
    assert not (bench.root / "notes/review_approval.md").exists()
    return bench


def lines_about(bench: Bench, verb: str) -> list[str]:
    return [line for line in bench.do(verb).out.splitlines() if "aiframe accept" in line]


@pytest.mark.parametrize("verb", ["why", "status", "tick"])
@pytest.mark.parametrize("name", ["AGENTS.md", "notes/review_approval.md"])
def test_what_did_not_count_is_said_with_its_place_and_the_command(bench: Bench, verb: str, name: str) -> None:
    (line,) = [line for line in lines_about(bench, verb) if f"accept {name} " in line]
    assert "changed while a step ran, which does not count" in line
    kept = bench.root / line.partition("kept in ")[2].rstrip(")")
    assert kept.is_relative_to(bench.control_dir / "quarantine")
    assert kept.read_text() in (MINE, "looks fine\n")


def test_a_changed_file_is_shown_and_taken(bench: Bench) -> None:
    assert "+Be brief." in bench.do("accept", "--diff", "AGENTS.md").out
    assert bench.text("AGENTS.md") == "# Rules\n"
    assert bench.do("accept", "AGENTS.md").code == 0
    assert bench.text("AGENTS.md") == MINE
    assert [line for line in lines_about(bench, "why") if "AGENTS.md" in line] == []
    bench.write("AGENTS.md", "# Other rules\n")
    assert [line for line in lines_about(bench, "why") if "AGENTS.md" in line] == []
    assert any(name.startswith("AGENTS.md") for name in bench.quarantined())


def test_an_approval_is_taken_and_counts_then(bench: Bench) -> None:
    assert bench.do("accept", "notes/review_approval.md").code == 0
    assert bench.text("notes/review_approval.md") == "looks fine\n"
    assert lines_about(bench, "why")[0].count("AGENTS.md") == 2
    bench.tick()
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"})


def test_an_approval_is_not_taken_when_no_review_waits_and_is_over_with_the_review(bench: Bench) -> None:
    bench.do("approve")
    bench.tick()
    assert bench.where == "DONE"
    assert [line for line in lines_about(bench, "status") if "review_approval" in line] == []


def test_all_that_waits_can_be_dropped(bench: Bench) -> None:
    bench.tick()  # leaves what it says for ticks to come
    said = bench.do("accept", "--discard")
    assert said.code == 0
    assert str(bench.control_dir / "quarantine") in said.out
    assert [lines_about(bench, verb) for verb in ("why", "status", "tick")] == [[], [], []]
    assert bench.do("accept", "--discard").code == 2
    assert len([name for name in bench.quarantined() if name == "AGENTS.md"]) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param([], "aiframe accept AGENTS.md notes/review_approval.md", id="TASKS.yaml has none"),
        pytest.param(["SPEC.md"], "aiframe accept AGENTS.md notes/review_approval.md", id="another file"),
        pytest.param(["../x"], "aiframe accept AGENTS.md notes/review_approval.md", id="a path out of the project"),
    ],
)
def test_what_does_not_wait_cannot_be_taken(bench: Bench, words: list[str], says: str) -> None:
    before = bench.text("AGENTS.md")
    ended = bench.do("accept", *words)
    assert (ended.code, bench.text("AGENTS.md")) == (2, before)
    assert says in ended.err


def test_a_word_about_no_review_is_refused(bench: Bench) -> None:
    bench.do("pause")
    ended = bench.do("accept", "notes/review_approval.md")
    assert ended.code == 2
    assert "no review waits" in ended.err


def test_of_several_versions_the_last_waits(bench: Bench) -> None:
    (kept,) = bench.control_dir.glob("quarantine/*/project/AGENTS.md")
    kept.with_name("AGENTS.md.2").write_text("second\n")
    kept.with_name("AGENTS.md.10").write_text("tenth\n")
    (bench.control_dir / "quarantine/19990101-000000-abcdef/project").mkdir(parents=True)
    (bench.control_dir / "quarantine/19990101-000000-abcdef/project/AGENTS.md").write_text("old\n")
    bench.do("accept", "AGENTS.md")
    assert bench.text("AGENTS.md") == "tenth\n"


def test_no_cure_names_a_task_that_is_gone_with_the_plan_that_was_taken(tmp_path: Path) -> None:
    plan = tasks_yaml(task("T2", "true"))
    bench = lay_project(
        tmp_path, task("T1", "false"), turns=[dev("T1", files={"TASKS.yaml": plan})], limits={"max_attempts": 1}
    )
    bench.tick()
    assert "aiframe retry T1" in bench.do("why").out
    assert bench.do("accept").code == 0
    for verb in ("why", "status", "tick", "digest"):
        assert "retry T1" not in bench.do(verb).out, verb
    assert "aiframe resume" in bench.do("why").out
    bench.do("resume")
    play(bench, [dev("T2", files={"two": "2"})])
    bench.tick()
    assert (bench.where, bench.statuses()) == ("DONE", {"T2": "done"})
