"""The fixed words and sentences of the status panel in Chinese. What people and agents have written stays as it is.

A sentence is known by its English template. A field in braces is filled in again: the words of `step`, `state`,
`states`, `number` and `more` are translated, all others are copied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

WORDS: Mapping[str, str] = {
    "INTAKE": "访谈", "PO": "规划", "DEV": "开发", "DIAGNOSE": "诊断", "AUDIT": "审核",
    "INTAKE_READY": "准备访谈", "INTAKE_WAITING": "等待回答", "SPEC_READY": "准备规划", "DEV_READY": "准备开发",
    "DIAGNOSE_READY": "准备诊断", "RUNNING": "运行中", "REVIEW_READY": "准备评审", "REVIEW_WAITING": "等待评审",
    "QUESTION_WAITING": "等待答复", "WORK_WAITING": "等待人工完成",
    "PAUSE_INTERACT": "已打断", "PAUSED": "已暂停", "DONE": "已完成", "ERROR": "出错",
    "todo": "待办", "in_progress": "进行中", "review": "待评审", "done": "已完成", "failed": "失败",
    "blocked": "受阻", "cancelled": "已取消",
}  # fmt: skip
"""States, roles and the statuses of tasks. Where they are shown, the name that the files use stands beside them."""

SENTENCES: Mapping[str, str] = {
    # What is waited for
    "you": "你",
    "TASKS.yaml": "恢复 TASKS.yaml",
    "your answer": "你的回答",
    "your answers": "你的回答",
    "your review": "你的评审",
    "your work": "你的工作",
    "the step": "该步骤",
    "a time": "时间",
    "that host": "该主机",
    "a state that it knows": "一个它认识的状态",
    "the next tick, which recovers it": "下一次 tick：恢复它",
    "the next tick, which stops it": "下一次 tick：停止它",
    "the next tick, which takes it": "下一次 tick：处理它",
    "the next tick, which starts {step}": "下一次 tick：启动{step}",
    "the next tick, which goes on to {state}": "下一次 tick：进入 {state}",
    "the next tick, which goes back to {state}": "下一次 tick：回到 {state}",
    # A step
    "{step} runs": "{step}正在运行",
    "{step} runs; then the project pauses": "{step}正在运行；之后项目暂停",
    "{step} has lost its runner": "{step}的运行进程已不存在",
    "{step} hangs: it is past its time and does not end": "{step}卡住了：已超时却没有结束",
    "{step} runs on the host {host}; whether it is alive cannot be seen from here":
        "{step}在主机 {host} 上运行；在这里看不出它是否还在",
    "{step} ran on the host {host} and is past its time; whether it is alive cannot be seen from here":
        "{step}曾在主机 {host} 上运行，已超时；在这里看不出它是否还在",
    "The next step waits": "下一步在等待",
    "The next step waits: {why}": "下一步在等待：{why}",
    # Ready
    "The interview can begin": "访谈可以开始",
    "The jobs can begin": "作业可以开始",
    "The work can begin, without an interview": "工作可以开始，不进行访谈",
    "Your answers are there": "你的回答已收到",
    "The interview goes on without answers": "访谈在没有回答的情况下继续",
    "The specification is there; the plan is not": "规格已有，计划还没有",
    "A step went wrong ({why}) and is to be diagnosed": "一个步骤出了问题（{why}），将进行诊断",
    "Work is ready for a review": "有工作可以评审",
    "The plan is there to be worked off": "计划已有，可以执行",
    # Side by side
    "Side by side: {items} at work": "并行：{items} 正在进行",
    "Side by side: {items} waiting": "并行：{items} 在等待",
    "Side by side: {items} at work; {items2} waiting": "并行：{items} 正在进行；{items2} 在等待",
    "Side by side: {items} to go on": "并行：{items} 等待继续",
    "Side by side: {items} to go on; {items2} waiting": "并行：{items} 等待继续；{items2} 在等待",
    "the steps": "这些步骤",
    "the next run, which goes on with them": "下一次 run：继续这些任务",
    "what those tasks wait for": "这些任务所等待的",
    "It rests with its project": "随项目一起休息",
    "a slot": "空位",
    "a slot of {name}": "{name} 的空位",
    # For a person
    "The interview waits for you in INTAKE_ANSWERS.md": "访谈在 INTAKE_ANSWERS.md 中等你",
    "{number} question waits for you in INTAKE_ANSWERS.md": "INTAKE_ANSWERS.md 中有 {number} 个问题等你回答",
    "{number} questions wait for you in INTAKE_ANSWERS.md": "INTAKE_ANSWERS.md 中有 {number} 个问题等你回答",
    "Your approval is there": "你的批准已收到",
    "Your rejection is there": "你的驳回已收到",
    "A review waits for you": "有评审等你",
    "A review waits for you; it is the last one, every task is done": "有评审等你；这是最后一次，所有任务都已完成",
    "A review of {items} waits for you": "{items} 的评审等你",
    "A review of {items} waits for you; it is the last one, every task is done":
        "{items} 的评审等你；这是最后一次，所有任务都已完成",
    "No open question is in the way": "没有未答的问题",
    "A question waits for you: {asked}": "有问题等你回答：{asked}",
    "No work is in your hands": "没有交给你的工作",
    "{name} is in your hands": "{name} 由你完成",
    "{name} is in your hands: {why}": "{name} 由你完成：{why}",
    "The work of {state} is in your hands": "{state} 的工作由你完成",
    "The work of {state} is in your hands: {why}": "{state} 的工作由你完成：{why}",
    "do what {name} asks for, in {place}": "按 {name} 的要求去做，在 {place}",
    "{command} (once PROJECT.yaml names another agent)": "{command} (先在 PROJECT.yaml 中换一个代理)",
    "You have interrupted the work; what you write into notes/interaction_notes.md reaches the next step":
        "你打断了工作；写进 notes/interaction_notes.md 的内容会传给下一步",
    "The interrupt is over": "打断已结束",
    "Paused: {why}": "已暂停：{why}",
    "Paused on request, on the way to {state}": "按要求暂停，接下来是 {state}",
    "where it was": "原来的位置",
    # The end, and trouble
    "Done: no task is open": "完成：没有未完成的任务",
    "Done once, but {number} task is open: {items}": "曾经完成，但有 {number} 个任务未完成：{items}",
    "Done once, but {number} tasks are open: {items}": "曾经完成，但有 {number} 个任务未完成：{items}",
    "Stopped by an error: {why}": "因错误停止：{why}",
    "Stopped by an error: {why}. The diagnosis: {diagnosis}": "因错误停止：{why}。诊断：{diagnosis}",
    "Stopped by an error: no reason is recorded": "因错误停止：没有记录原因",
    'STATE.json names the state "{name}", which aiframe does not know':
        "STATE.json 中的状态“{name}”不是 aiframe 认识的状态",
    "Nothing can go on: {why}": "无法继续：{why}",
    "TASKS.yaml holds no task, and there was a plan: nothing goes on, and nothing is concluded from that":
        "TASKS.yaml 中没有任务，而此前有计划：一切暂停，也不由此得出任何结论",
    # What to do
    "bring TASKS.yaml back (`git log -- TASKS.yaml` in the project shows what it was)":
        "恢复 TASKS.yaml（在项目中用 `git log -- TASKS.yaml` 可查看其内容）",
    "{command} (if a new one is to be made)": "{command} (如需制定新计划)",
    'set "state" in STATE.json to one of {names}': "把 STATE.json 中的 state 设为其中之一：{names}",
    "write into INTAKE_ANSWERS.md": "在 INTAKE_ANSWERS.md 中填写",
    "delete notes/interrupt.flag": "删除 notes/interrupt.flag",
    "look at {what}": "查看 {what}",
    "for more, add a task with status todo to TASKS.yaml, then `aiframe resume`":
        "如需继续，在 TASKS.yaml 中添加状态为 todo 的任务，然后 `aiframe resume`",
    "{merge} (takes in what has landed)": "{merge} (并入已落地的内容)",
    "{command} (meanwhile for you: {what})": "{command} (其间等你处理：{what})",
    "{command} (on {host})": "{command} (在 {host} 上)",
    "{command} (here, if that host is gone: the step is looked after then)":
        "{command} (如果那台主机已不存在，就在这里：之后会处理该步骤)",
    "{command} (here once its time is over, if that host is gone)":
        "{command} (如果那台主机已不存在，等它超时后在这里)",
    "{command} ({number} question of an agent waits for you)": "{command} (有 {number} 个代理的问题等你回答)",
    "{command} ({number} questions of agents wait for you)": "{command} (有 {number} 个代理的问题等你回答)",
    "raise {key} in PROJECT.yaml": "提高 PROJECT.yaml 中的 {key}",
    "raise {key} in PROJECT.yaml; else it goes on tomorrow": "提高 PROJECT.yaml 中的 {key}；否则明天继续",
    "{command} (SPEC.md has changed since the plan was made)": "{command} (制定计划之后 SPEC.md 已改动)",
    "A new plan waits for your word": "有新计划等你决定",
    "{command} (shows it)": "{command} (查看)",
    "{command} (keeps the old one)": "{command} (保留旧计划)",
    "{command} (brings back what was there before `aiframe plan`)": "{command} (恢复 `aiframe plan` 之前的内容)",
    "{command} (shows the changes to TASKS.yaml that a step proposed)": "{command} (查看一个步骤对 TASKS.yaml 的改动)",
    "{command} (it was changed while a step ran, which does not count; kept in {place})":
        "{command} (在步骤运行时改动，不算数；保存在 {place})",
    "{command} (it was changed by several tasks at once, and their changes do not go together; kept in {place})":
        "{command} (被多个任务同时改动，且改动互相冲突；保存在 {place})",
    "{command} (shows {number} more that were changed while a step ran)":
        "{command} (查看另外 {number} 个在步骤运行时改动的文件)",
}  # fmt: skip

_FIELDS = {
    "step": r"[Tt]he [A-Z]+ step(?: on \S+)? \(attempt [0-9]+\)",
    "state": r"[A-Z_]+|where it was",
    "number": r"[0-9]+",
    "command": r"aiframe [^()]+",
    "host": r"[^ ;]+",
    "items": r"[^;]+",
    "items2": r"[^;]+",
    "merge": r"git .+ merge .+",
    "key": r"budget\.[a-z_.]+",
}
_STEP = re.compile(r"[Tt]he (?P<role>[A-Z]+) step(?: on (?P<task>\S+))? \(attempt (?P<number>[0-9]+)\)")


def in_chinese(text: str) -> str:
    """*text*, an English word or sentence of the panel; as it is where it is none that is known."""
    for pattern, template in _patterns():
        found = pattern.fullmatch(text)
        if found is not None:
            return template.format(**{name: _filled(name, value) for name, value in found.groupdict().items()})
    return text


def with_word(name: str) -> str:
    """The *name* of a state, role or status as the files have it, with its meaning."""
    return f"{name} {WORDS[name]}" if name in WORDS else name


def _filled(name: str, value: str) -> str:
    if name == "state":
        return with_word(value) if value in WORDS else in_chinese(value)
    found = _STEP.fullmatch(value) if name == "step" else None
    if found is None:
        return value
    about = f" {found['task']} 的" if found["task"] else ""
    return f"{about}{found['role']} {WORDS.get(found['role'], '')}步骤（第 {found['number']} 次尝试）".lstrip()


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Each template as a pattern, those with the most fixed text first."""
    fixed = sorted(SENTENCES, key=lambda english: -len(re.sub(r"\{\w+\}", "", english)))
    return tuple((re.compile(_as_pattern(english), re.DOTALL), SENTENCES[english]) for english in fixed)


def _as_pattern(english: str) -> str:
    parts = re.split(r"\{(\w+)\}", english)
    fields = (f"(?P<{name}>{_FIELDS.get(name, '.+')})" for name in parts[1::2])
    return re.escape(parts[0]) + "".join(f"{f}{re.escape(rest)}" for f, rest in zip(fields, parts[2::2], strict=True))
