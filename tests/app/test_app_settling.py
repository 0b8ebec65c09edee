"""The small parts of a step that a crash or a strange agent would find: fences, lines, results, debts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiframe.app.attempts.heard import LINE_LIMIT, Lines
from aiframe.app.attempts.results import Kept, Result, read_result, write_result
from aiframe.app.project.outbox import debt_for, has_debts, settle_debts
from aiframe.app.project.site import Site, open_site
from aiframe.app.project.steplog import plain
from aiframe.app.project.telling import tell_note
from aiframe.core.events import Broken, Finished, Proposal
from aiframe.core.fences import fenced
from aiframe.core.model import Failure, FailureKind, Moment, Project, Role, Run, Runner, State
from aiframe.store.journal import read_events
from aiframe.store.layout import Layout

RUN = Run("run-1", Role.DEV, Moment(1_000.0), 1800, Runner(1, 1.0), task_id="T1")


FENCES = st.sampled_from(["[data 1", "[data 2: SPEC.md]", "[end of data 1: SPEC.md]", "[end of data 3", "\n", " ", "x"])


@given(st.lists(FENCES, max_size=12).map("".join) | st.text())
def test_no_text_closes_its_own_fence(text: str) -> None:
    first, *body, last = fenced("SPEC.md", text).split("\n")
    number = first.removeprefix("[data ").removesuffix(": SPEC.md]")
    assert number.isdecimal()
    assert last == f"[end of data {number}: SPEC.md]"
    inside = "\n".join(body)
    assert inside == (text.rstrip("\n") or "(empty)")
    assert f"[data {number}" not in inside
    assert f"[end of data {number}" not in inside


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_lines_do_not_depend_on_how_they_come(data: bytes, cuts: list[int]) -> None:
    whole: list[str] = []
    pieces: list[str] = []
    lines, cut_lines = Lines(whole.append), Lines(pieces.append)
    lines.feed(data)
    places = [0, *sorted(cuts), len(data)]
    for start, stop in pairwise(places):
        cut_lines.feed(data[start:stop])
    lines.end()
    cut_lines.end()
    assert pieces == whole == [line.decode("utf-8", "replace") for line in data.split(b"\n") if line]


def test_f20_a_line_without_end_is_held_only_up_to_its_limit() -> None:
    taken: list[str] = []
    lines = Lines(taken.append)
    for _ in range(40):
        lines.feed(b"x" * 65_536)
    lines.feed(b"\nnext\n")
    assert [len(line) for line in taken] == [LINE_LIMIT, 4]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        pytest.param("\x1b[31mred\x1b[0m", "red", id="colour"),
        pytest.param("\x1b]0;title\x07x", "x", id="window title"),
        pytest.param("a\x00b\x08c\x9bd", "abcd", id="control bytes"),
        pytest.param("50%\r100%\r\nend", "50%\n100%\nend", id="progress bar"),
        pytest.param("täst 完\ttab\n", "täst 完\ttab\n", id="text stays"),
    ],
)
def test_f20_a_log_plays_no_tricks(printed: str, shown: str) -> None:
    assert plain(printed) == shown


KEPT = Kept("base", "refs/heads/main", "tree", "parent", "T1: x", {"Aiframe-Run": "run-1"}, 12.5)
FAILED = Broken((Failure(FailureKind.QUOTA, "limit", "wait", reset_at=99.0),), "findings", "tree")


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"finished": Finished(Proposal(State.DONE, "why"), ""), "kept": KEPT}, id="kept"),
        pytest.param({"broken": FAILED}, id="broken"),
    ],
)
def test_f28_a_result_is_read_as_it_was_written(tmp_path: Path, parts: dict[str, object]) -> None:
    layout = Layout(tmp_path)
    result = Result("run-1", "DEV", "T1", 2, 1.0, 2.5, notes=("put back",), **parts)  # type: ignore[arg-type]
    write_result(layout, result)
    assert read_result(layout, "run-1") == result


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-20]), id="torn"),
        pytest.param(lambda path: path.write_text(path.read_text().replace("run-1", "run-2")), id="of another run"),
        pytest.param(lambda path: path.write_text("[]"), id="no object"),
    ],
)
def test_a_result_that_is_not_whole_or_not_its_own_counts_as_none(tmp_path: Path, spoil: object) -> None:
    layout = Layout(tmp_path)
    write_result(layout, Result("run-1", "DEV", "T1", 1, 1.0, 2.0, broken=FAILED))
    spoil(layout.unsettled_result)  # type: ignore[operator]
    assert read_result(layout, "run-1") is None


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A bare project folder."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "STATE.json").write_text("{}\n")
    return open_site(tmp_path, {})


def test_f28_a_note_is_archived_once_and_a_newer_one_stays(site: Site) -> None:
    site.layout.approval.write_text("fine")
    debts = [debt_for(site, "approval", Project(), "", 1.0)]
    assert has_debts(site, debts)
    settle_debts(site, debts)
    assert not has_debts(site, debts)
    site.layout.approval.write_text("the next review is fine too")
    settle_debts(site, debts)
    assert site.layout.approval.read_text() == "the next review is fine too"
    assert [path.read_text() for path in (site.layout.notes / "reviews").iterdir()] == ["fine"]


def test_f28_answers_are_archived_once_and_a_filled_form_is_never_overwritten(site: Site) -> None:
    site.layout.questions.write_text("## Q1 Which?\n")
    debts = [debt_for(site, "answers", Project(state=State.INTAKE_WAITING), "run-1", 1.0)]
    settle_debts(site, debts)
    assert "## Q1 Which?" in site.layout.answers.read_text()
    site.layout.answers.write_text("filled in by hand")
    settle_debts(site, debts)
    assert site.layout.answers.read_text() == "filled in by hand"
    gone = [debt_for(site, "answers", Project(state=State.SPEC_READY), "run-2", 2.0)]
    settle_debts(site, gone)
    settle_debts(site, gone)
    assert not site.layout.answers.exists()
    assert site.layout.history.read_text().count("filled in by hand") == 1


def test_f28_an_event_is_told_once(site: Site) -> None:
    debts = [tell_note(RUN, number, text, 1.0) for number, text in enumerate(("one", "two"), start=1)]
    settle_debts(site, debts[:1])
    assert has_debts(site, debts)
    settle_debts(site, debts)
    settle_debts(site, debts)
    assert [event["message"] for event in read_events(site.layout)] == ["one", "two"]
    assert len(site.layout.events.read_text().splitlines()) == 2
