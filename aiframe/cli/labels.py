"""The words of the status panel in English and Chinese. Names of states, roles and files are the same in both."""

from __future__ import annotations

from collections.abc import Mapping

LANGUAGES = ("en", "zh")

PANEL = (
    "project", "state", "role", "runtime", "timeout", "heartbeat", "tasks", "diagnosis", "error", "waits", "to_do",
    "problem", "log",
)  # fmt: skip
"""The lines of the panel; the other words stand in them."""

LABELS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "project": "project",
        "state": "state",
        "role": "role",
        "runtime": "runtime",
        "timeout": "timeout",
        "heartbeat": "heartbeat",
        "tasks": "tasks",
        "diagnosis": "diagnosis",
        "error": "last error",
        "waits": "waits for",
        "to_do": "to do",
        "problem": "problem",
        "log": "log",
        "ago": "{age} ago",
        "done": "{done}/{total} done",
        "attempt": "attempt {number}",
        "since": "since {time}",
        "until": "until {time}",
        "gone": "its runner is gone",
        "offered": "task changes wait for `aiframe accept`",
        "empty": "no step has run yet",
    },
    "zh": {
        "project": "项目",
        "state": "状态",
        "role": "角色",
        "runtime": "运行时间",
        "timeout": "超时",
        "heartbeat": "心跳",
        "tasks": "任务",
        "diagnosis": "诊断",
        "error": "最近错误",
        "waits": "等待",
        "to_do": "下一步",
        "problem": "问题",
        "log": "日志",
        "ago": "{age} 前",
        "done": "已完成 {done}/{total}",
        "attempt": "第 {number} 次尝试",
        "since": "自 {time}",
        "until": "至 {time}",
        "gone": "运行进程已不存在",
        "offered": "任务改动等待 `aiframe accept`",
        "empty": "还没有运行过任何步骤",
    },
}

STATES_ZH: Mapping[str, str] = {
    "INTAKE_READY": "准备访谈",
    "INTAKE_WAITING": "等待回答",
    "SPEC_READY": "准备规划",
    "DEV_READY": "准备开发",
    "DIAGNOSE_READY": "准备诊断",
    "RUNNING": "运行中",
    "REVIEW_READY": "准备评审",
    "REVIEW_WAITING": "等待评审",
    "QUESTION_WAITING": "等待答复",
    "PAUSE_INTERACT": "已打断",
    "PAUSED": "已暂停",
    "DONE": "已完成",
    "ERROR": "出错",
}
