"""The labels of the status panel in English and Chinese; the words behind them: `aiframe.cli.chinese`."""

from __future__ import annotations

from collections.abc import Mapping

LANGUAGES = ("en", "zh")

PANEL = (
    "project", "state", "role", "runtime", "timeout", "heartbeat", "tasks", "spent", "quota", "diagnosis", "error",
    "waits", "to_do", "problem", "log",
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
        "spent": "spent",
        "quota": "quota",
        "diagnosis": "diagnosis",
        "error": "last error",
        "waits": "waits for",
        "to_do": "to do",
        "problem": "problem",
        "log": "log",
        "ago": "{age} ago",
        "done": "{done}/{total} done",
        "attempt": "attempt {number}",
        "instead_of": "{agent} in place of {first}",
        "used_up": "{agent} has used up its own until {time}",
        "spent_of": "{whole}; today {today}",
        "amounts": "tokens {tokens}, cost {cost}, time {wall}, attempts {attempts}",
        "at_least": "at least {amount}",
        "unknown": "unknown",
        "since": "since {time}",
        "until": "until {time}",
        "since_when": "since",
        "until_when": "until",
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
        "spent": "已用",
        "quota": "配额",
        "diagnosis": "诊断",
        "error": "最近错误",
        "waits": "等待",
        "to_do": "下一步",
        "problem": "问题",
        "log": "日志",
        "ago": "{age} 前",
        "done": "已完成 {done}/{total}",
        "attempt": "第 {number} 次尝试",
        "instead_of": "{agent} 代替 {first}",
        "used_up": "{agent} 的配额已用完，直到 {time}",
        "spent_of": "{whole}；今天 {today}",
        "amounts": "令牌 {tokens}，费用 {cost}，时间 {wall}，尝试 {attempts}",
        "at_least": "至少 {amount}",
        "unknown": "未知",
        "since": "自 {time}",
        "until": "至 {time}",
        "since_when": "起始",
        "until_when": "截止",
        "gone": "运行进程已不存在",
        "empty": "还没有运行过任何步骤",
    },
}
