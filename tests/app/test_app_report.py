"""The report: one page that needs nothing else, in which all that people and agents wrote is text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.projects import Bench, dev, lay_project, task
from support.records import BEGAN, write_run

from aiframe.app.reports.charts import Span, bars, staircase, timeline

NASTY = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}\x1b[2J'
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """The tags of a page, its text, and whether every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(bench: Bench) -> Page:
    made = bench.do("report")
    assert made.code == 0, made.said
    page = Page(bench.text("logs/report.html"))
    assert page.open == []
    return page


def test_the_page_needs_no_network_and_holds_no_script(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1")])
    bench.tick()
    page = page_of(bench)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "object", "embed", "base", "form"})
    urls = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "xlink:href")]
    assert urls == ["data:,"]
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert str(policy).startswith("default-src 'none'")
    assert "url(" not in bench.text("logs/report.html")
    assert "@import" not in bench.text("logs/report.html")


@pytest.mark.parametrize("field", ["title", "task", "agent", "model", "message", "unverified", "name"])
def test_what_people_and_agents_wrote_is_text(tmp_path: Path, field: str) -> None:
    title = NASTY.replace("\x1b", "") if field == "title" else "Sums"
    bench = lay_project(tmp_path, task("T1", "true", title=title))
    cases: dict[str, dict[str, object]] = {
        "task": {"task_id": NASTY}, "agent": {"agent": NASTY}, "model": {"model": NASTY},
        "message": {"success": False, "broken": {"failures": [{"kind": NASTY, "message": NASTY}]}},
        "unverified": {"unverified": [NASTY]},
    }  # fmt: skip
    write_run(bench, "r1", journal=False, **cases.get(field, {}))  # type: ignore[arg-type]
    if field == "name":
        bench = Bench(bench.root.rename(tmp_path / '"><script>alert(1)<'))
        bench.write("logs/runs/r1/result.json", bench.text("logs/runs/r1/result.json"))
    page = page_of(bench)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img"})
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "script>alert(1)" in page.text
    assert "\x1b" not in bench.text("logs/report.html")
    assert " 49" not in page.text


def test_it_tells_runs_tasks_spending_failures_and_what_waits(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true", status="done"), task("T2", "manual: look", status="review"),
        state={"state": "REVIEW_WAITING", "interactive_mode": True},
    )  # fmt: skip
    write_run(bench, "r1", failure="verify_failed")
    write_run(bench, "r2", at=BEGAN + 100, attempt=2, total_cost_usd=0.25)
    write_run(bench, "r3", at=BEGAN + 200, task_id="T2", usage={}, unverified=["manual: look"])
    (bench.root / "logs/runs/r4").mkdir()
    (bench.root / "logs/runs/r4/result.json").write_text("{")
    text = page_of(bench).text
    for words in (
        "REVIEW_WAITING", "Waits for you", "aiframe approve", "verify_failed", "it was verify_failed", "$0.2500",
        "unknown", "1 of 2", "unverified: manual: look", "Left out", "r4/result.json", "2 100",
    ):  # fmt: skip
        assert words in text.replace("\N{NO-BREAK SPACE}", " "), words
    kinds = [attrs.get("class") for tag, attrs in page_of(bench).tags if tag == "rect"]
    assert {"done", "failed", "spent"} <= set(kinds)


@pytest.mark.parametrize("state", ["no run", "a broken plan"])
def test_there_is_a_page_whatever_the_project_is_like(tmp_path: Path, state: str) -> None:
    bench = lay_project(tmp_path, task("T1", "true"))
    if state == "a broken plan":
        bench.write("TASKS.yaml", "tasks: [")
    assert "No step has run yet." in page_of(bench).text


def test_it_is_written_where_one_says_but_over_nothing_else(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"))
    out = tmp_path / "a folder" / "report.html"
    assert bench.do("report", "--out", str(out)).code == 0
    first = out.read_text()
    assert bench.do("report", "--out", str(out)).code == 0
    assert out.read_text().startswith("<!doctype html>")
    assert len(out.read_text()) == len(first)
    for name in ("SPEC.md", "STATE.json", "."):
        refused = bench.do("report", "--out", str(bench.root / name))
        assert refused.code == 2
        assert "--out" in refused.err
    (tmp_path / "link.html").symlink_to(out)
    assert bench.do("report", "--out", str(tmp_path / "link.html")).code == 2


# Shapes ---------------------------------------------------------------------------------------------------------------


def test_a_timeline_has_a_row_a_name_and_keeps_inside() -> None:
    spans = [Span(name, at, at + 50, "done", "") for name, at in (("T1", 0), ("T2", 60), ("T1", 900))]
    picture = timeline(spans)
    assert [row.label for row in picture.rows] == ["T1", "T2"]
    assert picture.bars[0].y == picture.bars[2].y != picture.bars[1].y
    assert all(bar.x >= 0 and bar.x + bar.width <= picture.width and bar.y < picture.height for bar in picture.bars)
    assert 2 <= len(picture.columns) <= 7


@pytest.mark.parametrize("times", [[], [5.0], [5.0, 5.0, 9.0], [-1.0, 99.0]], ids=["none", "one", "equal", "outside"])
def test_a_staircase_rises_once_for_each_task(times: list[float]) -> None:
    picture = staircase(times, 4, 0.0, 10.0)
    heights = [y for _, y in picture.line]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == len(times) + 1
    assert [x for x, _ in picture.line] == sorted(x for x, _ in picture.line)


def test_a_bar_without_a_value_is_empty() -> None:
    picture = bars([("a", 10.0, "10", "spent"), ("b", None, "unknown", "spent"), ("c", 0.0, "0", "spent")])
    assert [bar.width > 0 for bar in picture.bars] == [True, False, False]
