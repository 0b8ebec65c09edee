"""The labels of the status panel in English and Chinese; the words behind them: `aiframe.cli.chinese`."""

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
        "empty": "还没有运行过任何步骤",
    },
}
