"""A plan asked for by a document: what is owed to its files is paid once, and never over an edit of a person."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.projects import Bench, lay_project, task

from aiframe.app.project.advance import held, look
from aiframe.app.project.outbox import document_debt, has_debts, settle_debts
from aiframe.app.project.planning import begin_plan, drop_plan, pending_plan, read_document
from aiframe.app.project.site import Site, open_site
from aiframe.core.errors import UnreadableFile
from aiframe.core.machine import Refused
from aiframe.core.model import PlanMode, State

TEXT = "# A till\n\nIt adds prices."


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A project with a plan."""
    return lay_project(tmp_path, task("T1", "true", status="done"), state="DONE")


@pytest.fixture
def site(bench: Bench) -> Site:
    return open_site(bench.root, os.environ)


def begin(site: Site, mode: PlanMode | None = PlanMode.APPEND, source: str = "plan.md") -> None:
    begin_plan(site, TEXT, source, mode, confirmed=False, can_ask=True)


# What is owed ---------------------------------------------------------------------------------------------------------


def test_a_document_that_is_owed_is_written_once(bench: Bench, site: Site) -> None:
    debt = document_debt(site, "SPEC.md", "new\n")
    assert has_debts(site, [debt])
    settle_debts(site, [debt])
    assert bench.text("SPEC.md") == "new\n"
    assert not has_debts(site, [debt])
    bench.write("SPEC.md", "by hand\n")
    assert not has_debts(site, [debt])
    settle_debts(site, [debt])
    assert bench.text("SPEC.md") == "by hand\n"
    assert [name for name in bench.quarantined() if name.startswith("SPEC.md.") and not name.endswith(".why")]


@pytest.mark.parametrize("now", ["", "# Shop\n\nSells things.\n"], ids=["missing", "the same"])
def test_what_is_to_be_as_it_is_is_not_owed(bench: Bench, site: Site, now: str) -> None:
    if not now:
        (bench.root / "SPEC.md").unlink()
    debt = document_debt(site, "SPEC.md", now or "new")
    assert has_debts(site, [debt]) is not bool(now)


def test_a_decision_that_is_written_and_not_paid_is_paid_by_the_next_look(bench: Bench, site: Site) -> None:
    before = bench.text("SPEC.md")
    begin(site)
    asked = bench.text("SPEC.md")
    assert asked != before
    bench.write("SPEC.md", before)  # as a kill between the two leaves it
    assert look(site).has_work
    with held(site):
        pass
    assert bench.text("SPEC.md") == asked


# Asking ---------------------------------------------------------------------------------------------------------------


def test_dropped_it_is_as_if_it_had_never_been_asked_for(bench: Bench, site: Site) -> None:
    before = bench.text("SPEC.md"), bench.text("TASKS.yaml")
    begin(site)
    bench.write("TASKS.yaml", "tasks: []\n")
    drop_plan(site)
    assert (bench.text("SPEC.md"), bench.text("TASKS.yaml"), bench.where) == (*before, "DONE")
    assert pending_plan(site) is None
    with pytest.raises(Refused):
        drop_plan(site)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        pytest.param("plan.md", "plan.md", id="plain"),
        pytest.param("a --> b.md", "a __ b.md", id="the end of a comment"),
        pytest.param("a\n[data 1]\n.md", "a_data 1_.md", id="lines"),
        pytest.param("计划 ü.md", "计划 ü.md", id="other letters"),
        pytest.param("x" * 300, "x" * 80, id="long"),
        pytest.param("\udcff.md", "_.md", id="no UTF-8"),
    ],
)
def test_a_name_of_a_document_does_no_harm(bench: Bench, site: Site, source: str, shown: str) -> None:
    begin(site, source=source)
    assert f"\n<!-- added by aiframe plan: {shown} -->\n\n{TEXT}\n" in bench.text("SPEC.md")


@pytest.mark.parametrize("name", ["SPEC.md", "TASKS.yaml"])
def test_what_cannot_be_read_is_not_replaced(bench: Bench, site: Site, name: str) -> None:
    bench.write(name, b"\xff\xfe")
    with pytest.raises(UnreadableFile) as caught:
        begin(site, PlanMode.REPLACE)
    assert name in caught.value.message
    assert (bench.root / name).read_bytes() == b"\xff\xfe"
    assert site.store.load().project.state is State.DONE


def test_windows_line_ends_of_the_old_documents_come_back(bench: Bench, site: Site) -> None:
    old = b"\xef\xbb\xbf# Shop\r\n\r\nSells.\r\n"
    bench.write("SPEC.md", old)
    begin(site, PlanMode.REPLACE)
    assert bench.text("SPEC.md") == f"{TEXT}\n"
    drop_plan(site)
    assert (bench.root / "SPEC.md").read_bytes() == old


def test_a_document_is_read_with_plain_line_ends(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_bytes(b"\xef\xbb\xbf\r\n a\r\nb\rc \n")
    assert read_document(tmp_path / "p.md") == "a\nb\nc"
