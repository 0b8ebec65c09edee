"""What `status`, `why` and `doctor` show: on a terminal, in a pipe, as JSON, in Chinese, and over broken files."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from pathlib import Path

import pexpect
import pytest
from support.projects import Bench, lay_project, task

LABELS = (
    "project", "state", "role", "runtime", "timeout", "heartbeat", "tasks", "spent", "diagnosis", "last error",
    "waits for", "to do", "log",
)  # fmt: skip
LABELS_ZH = (
    "项目",
    "状态",
    "角色",
    "运行时间",
    "超时",
    "心跳",
    "任务",
    "已用",
    "诊断",
    "最近错误",
    "等待",
    "下一步",
    "日志",
)


@pytest.fixture
def shop(tmp_path: Path) -> Bench:
    """A project with a story: one of three tasks done, one failed, a log of 60 lines, a diagnosis."""
    tasks = task("T1", "true", status="done"), task("T2", "true", status="failed"), task("T3", "true")
    state = {"state": "ERROR", "last_error": "it broke", "diagnosis": "the disk was full", "timeout_sec": 3725}
    bench = lay_project(tmp_path, *tasks, state=state)
    bench.write("logs/tick-r1.log", "".join(f"line {number}\n" for number in range(1, 61)))
    return bench


def labels_of(text: str) -> list[str]:
    return [line.partition(":")[0] for line in text.splitlines() if not line.startswith(" ")]


def width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


# The panel ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "labels"), [("en", LABELS), ("zh", LABELS_ZH)])
def test_the_panel_has_its_lines_in_order(shop: Bench, lang: str, labels: tuple[str, ...]) -> None:
    ended = shop.do("status", "--lang", lang)
    assert (ended.code, ended.err) == (0, "")
    assert list(dict.fromkeys(labels_of(ended.out))) == list(labels)
    starts = {
        width(line) - width(line.partition(":")[2].lstrip()) for line in ended.out.splitlines() if ":  " in line[:16]
    }
    assert len(starts) == 1, "values begin in one column"


@pytest.mark.parametrize(
    "part",
    ["ERROR", "1:02:05", "1/3 done (1 todo, 1 failed)", "the disk was full", "it broke", "aiframe retry T2", "r1.log"],
)
def test_the_panel_says_what_is_known(shop: Bench, part: str) -> None:
    assert part in shop.do("status").out


def test_chinese_names_the_state_in_both(shop: Bench) -> None:
    assert "ERROR 出错" in shop.do("status", "--lang", "zh").out


@pytest.mark.parametrize(
    ("words", "env", "first", "count"),
    [
        pytest.param([], {}, "line 11", 50, id="default"),
        pytest.param(["--tail", "3"], {}, "line 58", 3, id="option"),
        pytest.param([], {"STATUS_TAIL": "5"}, "line 56", 5, id="variable"),
        pytest.param(["--tail", "1"], {"STATUS_TAIL": "5"}, "line 60", 1, id="option before variable"),
        pytest.param(["--tail", "0"], {}, "", 0, id="none"),
    ],
)
def test_the_tail_of_the_log(shop: Bench, words: list[str], env: dict[str, str], first: str, count: int) -> None:
    bench = Bench(shop.root, env={**os.environ, **env})
    told = [line.strip() for line in bench.do("status", *words).out.splitlines() if line.startswith("  line ")]
    assert len(told) == count
    assert told[:1] == ([first] if first else [])


@pytest.mark.parametrize(
    ("words", "value", "label"),
    [
        pytest.param([], "zh", "状态", id="variable"),
        pytest.param([], "zh_CN.UTF-8", "状态", id="locale name"),
        pytest.param([], "en", "state", id="English"),
        pytest.param([], "", "state", id="empty"),
        pytest.param(["--lang", "en"], "zh", "state", id="option before variable"),
    ],
)
def test_the_language(shop: Bench, words: list[str], value: str, label: str) -> None:
    bench = Bench(shop.root, env={**os.environ, "STATUS_LANG": value})
    assert f"\n{label}:" in bench.do("status", *words).out


def test_chinese_where_the_terminal_cannot_show_it_is_no_fault(shop: Bench) -> None:
    bench = Bench(shop.root, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    ended = bench.do("status", "--lang", "zh")
    assert (ended.code, ended.err) == (0, "")
    assert "\\u" in ended.out


def test_json_is_one_object_on_one_line(shop: Bench) -> None:
    ended = shop.do("status", "--json", "--tail", "2")
    told = json.loads(ended.out)
    assert len(ended.out.splitlines()) == 1
    assert told["state"] == "ERROR"
    assert told["tasks_by_status"] == {"todo": 1, "done": 1, "failed": 1}
    assert told["log_tail"] == ["line 59", "line 60"]
    assert told["waits"]["cures"]


def test_what_an_agent_wrote_plays_no_tricks(tmp_path: Path) -> None:
    state = {"state": "ERROR", "diagnosis": "\x1b[2Jgone\x07", "last_error": "two\nlines"}
    bench = lay_project(tmp_path, state=state)
    bench.write("logs/tick-r1.log", "\x1b]0;title\x07hello\n")
    for words in (["status"], ["why"]):
        out = bench.do(*words).out
        assert not set(out) & {"\x1b", "\x07"}


def test_the_same_twice(shop: Bench) -> None:
    assert shop.do("status").out == shop.do("status").out


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("TASKS.yaml", "tasks: [", "TASKS.yaml:1", id="tasks"),
        pytest.param("STATE.json", "{", "STATE.json", id="state"),
        pytest.param("PROJECT.yaml", "agnt: codex\n", "PROJECT.yaml:1", id="settings"),
    ],
)
def test_a_file_that_cannot_be_read_is_shown_with_the_rest(shop: Bench, name: str, content: str, says: str) -> None:
    shop.do("set", "timeout_sec=3725")
    shop.write(name, content)
    ended = shop.do("status")
    assert (ended.code, shop.do("status", "--json").code) == (2, 2)
    assert says in ended.out
    assert "problem:" in ended.out
    assert "line 60" in ended.out
    assert "Traceback" not in ended.said


# Terminals ------------------------------------------------------------------------------------------------------------


def on_terminal(bench: Bench, *words: str, **env: str) -> str:
    """What the command shows on a terminal of 24 lines."""
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"} | env
    argv = ["-m", "aiframe", *words, "--project", str(bench.root)]
    return str(pexpect.run(f"{sys.executable} {' '.join(argv)}", cwd=str(bench.root), env=environ, encoding="utf-8"))


COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("command", ["status", "why", "doctor"])
def test_colours_only_on_a_terminal_and_never_with_no_color(shop: Bench, command: str) -> None:
    assert COLOUR.search(on_terminal(shop, command))
    assert not COLOUR.search(on_terminal(shop, command, NO_COLOR="1"))
    assert not COLOUR.search(on_terminal(shop, command, TERM="dumb"))
    piped = Bench(shop.root, env={name: value for name, value in os.environ.items() if name != "NO_COLOR"})
    assert "\x1b" not in piped.do(command).out


def test_watching_redraws_one_screen(shop: Bench) -> None:
    environ = {**os.environ, "TERM": "xterm"}
    argv = ["-m", "aiframe", "status", "--watch", "0.2", "--project", str(shop.root)]
    with pexpect.spawn(sys.executable, argv, env=environ, encoding="utf-8", dimensions=(24, 100), timeout=30) as screen:
        screen.expect_exact("\x1b[H")
        screen.expect("state: +ERROR")
        screen.expect_exact("line 60")
        assert screen.before is not None
        assert "line 11\r" not in screen.before, "the log is cut to what fits"
        screen.expect_exact("\x1b[H")
        shop.edit_state(state="PAUSED")
        screen.expect("state: +PAUSED")
        screen.sendintr()
        screen.expect(pexpect.EOF)
    assert screen.wait() == 130


# Why ------------------------------------------------------------------------------------------------------------------


def test_why_says_what_to_do_and_until_when(tmp_path: Path) -> None:
    import time

    until = int(time.time()) + 3600
    state = {"state": "DEV_READY", "not_before": until, "last_error": "usage limit reached"}
    bench = lay_project(tmp_path, task("T1", "true"), state=state)
    out = bench.do("why").out
    assert "usage limit reached" in out
    assert time.strftime("until:     %Y-%m-%d %H:%M", time.localtime(until)) in out
    assert f"aiframe resume --now --project {bench.root}" in out


@pytest.mark.parametrize("chosen", ["option", "environment"])
def test_why_speaks_chinese(tmp_path: Path, chosen: str) -> None:
    import time

    until = int(time.time()) + 3600
    bench = lay_project(tmp_path, task("T1", "true"), state={"state": "DEV_READY", "not_before": until})
    said = bench.do("why", "--lang", "zh") if chosen == "option" else bench.do("why", STATUS_LANG="zh_CN.UTF-8")
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(until))
    lines = said.out.splitlines()
    assert lines[0].startswith("下一步在等待")
    assert "  等待:      时间" in lines
    assert any(line.startswith(f"  截止:      {when}") for line in lines)
    assert any(line.startswith(f"  下一步:    aiframe resume --now --project {bench.root}") for line in lines)
    assert bench.do("why", "--lang", "fr").code == 2


def test_doctor_ends_with_a_count_and_1_where_something_is_broken(tmp_path: Path) -> None:
    bench = lay_project(tmp_path)
    fine = bench.do("doctor")
    assert (fine.code, fine.out.splitlines()[-1]) == (0, "nothing to mend")
    bench.write("TASKS.yaml", "tasks: [")
    ill = bench.do("doctor")
    assert ill.code == 1
    assert ill.out.splitlines()[-1] == "1 to mend"
    assert "BAD  project" in ill.out
    assert "cure: " in ill.out


@pytest.mark.parametrize("kind", ["tasks", "project", "state"])
def test_schema_prints_a_json_schema(tmp_path: Path, kind: str) -> None:
    assert json.loads(Bench(tmp_path).run("schema", kind).out)["$schema"].startswith("https://json-schema.org/")
