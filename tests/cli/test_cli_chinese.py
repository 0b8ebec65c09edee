"""The panel in Chinese: every fixed sentence is there, and what people and agents have written stays as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from core import test_explain as english
from core.builders import RULES, at, running, seen, task
from support.projects import lay_project
from support.projects import task as written_task

from aiframe.cli.chinese import SENTENCES, WORDS, in_chinese, with_word
from aiframe.core.explain import explain
from aiframe.core.explanations.words import Explanation
from aiframe.core.model import Project, Role, State, TaskStatus, Unknown

CHINESE = re.compile(r"[\u4e00-\u9fff]")
(TABLE,) = (mark.args[1] for mark in english.test_explain.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
PROJECTS = [value for row in TABLE for value in row.values if isinstance(value, Project)]
HINTS = {project.failure.hint for project in PROJECTS if project.failure}
"""Cures that come with a failure: whoever found it wrote them."""
EXPLAINED = [value for row in TABLE for value in row.values if isinstance(value, Explanation)]


def said() -> set[str]:
    """All that is said in the table of the English tests, and in every state."""
    everywhere = [running() if state is State.RUNNING else at(state) for state in (*State, Unknown("DAYDREAM"))]
    looks = seen(), seen(task()), seen(interrupt_flag=True), seen(lock_held=True), seen(approval=True)
    told = [*EXPLAINED, *(explain(project, look, RULES) for project in everywhere for look in looks)]
    return {text for one in told for text in (one.headline, one.waiting_for, *one.cures)} - HINTS - {""}


@pytest.mark.parametrize("text", sorted(text for text in said() if not re.fullmatch(r"aiframe [^()]+", text)))
def test_every_sentence_has_its_chinese(text: str) -> None:
    assert CHINESE.search(in_chinese(text)), text


def test_the_table_is_not_empty() -> None:
    assert len(EXPLAINED) > 20


@pytest.mark.parametrize("name", [*State, *Role, *TaskStatus], ids=str)
def test_every_state_role_and_status_has_a_word(name: str) -> None:
    assert with_word(name) == f"{name} {WORDS[name]}"


@pytest.mark.parametrize("english_text", SENTENCES)
def test_a_translation_fills_in_what_the_original_does(english_text: str) -> None:
    fields = re.findall(r"\{\w+\}", english_text)
    assert sorted(re.findall(r"\{\w+\}", SENTENCES[english_text])) == sorted(fields)


@pytest.mark.parametrize(
    ("text", "chinese"),
    [
        pytest.param("The DEV step on T1 (attempt 2) runs", "T1 的DEV 开发步骤（第 2 次尝试）正在运行", id="a step"),
        pytest.param("the next tick, which goes on to DEV_READY", "下一次 tick：进入 DEV_READY 准备开发", id="a state"),
        pytest.param("Paused: you {x} said so", "已暂停：you {x} said so", id="a person's words"),
        pytest.param("Stopped by an error: a. The diagnosis: b", "因错误停止：a。诊断：b", id="an agent's words"),
        pytest.param("something else runs", "something else runs", id="unknown"),
        pytest.param("aiframe resume", "aiframe resume", id="a command"),
    ],
)
def test_what_is_said(text: str, chinese: str) -> None:
    assert in_chinese(text) == chinese


def test_the_panel(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, written_task("T1", "true"), written_task("T2", status="failed"), state="PAUSED")
    told = bench.do("status", "--lang", "zh").out
    for part in (
        "PAUSED 已暂停",
        "1 todo 待办",
        "1 failed 失败",
        "等待:",
        "按要求暂停",
        f"aiframe resume --project {bench.root}",
    ):
        assert part in told
