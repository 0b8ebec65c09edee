"""The claude CLI: ``claude -p`` with JSON events. Measured with claude-code 2.1.329."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from aiframe.agents.claude_reader import ClaudeReader
from aiframe.agents.options import read_options
from aiframe.core.ports import AgentRequest, Command

QUIET: Mapping[str, str] = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
}
"""No updates and no reports in a run that nobody watches."""

AS_ROOT: Mapping[str, str] = {"IS_SANDBOX": "1"}
"""Without this claude refuses to work unasked for root."""

READ_TOOLS = "Read,Grep,Glob"
OTHER_TOOLS = "Bash,Edit,Write,NotebookEdit,Task,Agent,Workflow,Skill,EnterWorktree,CronCreate,WebFetch,WebSearch"
"""A denial goes before every permission, also one that the person's own arguments give."""


class ClaudeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*program* is the executable, *permission_mode* what the tools may do without asking, *setting_sources* which of
    claude's settings files count (user, project, local), *args* further arguments."""

    program: str = "claude"
    permission_mode: str = "bypassPermissions"
    setting_sources: list[str] = []
    args: list[str] = []


class Claude:
    """Anthropic's claude CLI, not interactive. It has no sandbox: its tools may do what the person may."""

    name = "claude"
    tells_cost = True
    variables = ("ANTHROPIC_*", "CLAUDE_*")

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(options or {})
        read_options(self.name, self._options, ClaudeOptions)

    def command(self, request: AgentRequest) -> Command:
        """``claude -p`` in the workspace, prompt on standard input. Raises UsageError for options that do not fit."""
        options = read_options(self.name, {**self._options, **request.options}, ClaudeOptions)
        root = AS_ROOT if os.geteuid() == 0 else {}
        return Command(argv=_argv(request, options), cwd=request.workspace, env={**QUIET, **root}, stdin=request.prompt)

    def reader(self, request: AgentRequest) -> ClaudeReader:
        """A reader of the JSON events."""
        options = read_options(self.name, {**self._options, **request.options}, ClaudeOptions)
        return ClaudeReader(request, options.program)


def _argv(request: AgentRequest, options: ClaudeOptions) -> tuple[str, ...]:
    argv = [options.program, "-p", "--output-format", "stream-json", "--verbose"]
    argv += [f"--setting-sources={','.join(options.setting_sources)}", "--strict-mcp-config"]
    argv += ["--model", request.model] if request.model else []
    argv += ["--effort", request.effort] if request.effort else []
    argv += ["--json-schema", json.dumps(request.schema)] if request.schema is not None else []
    argv += ["--resume", request.resume] if request.resume else []
    argv += options.args
    return (*argv, *_permissions(request, options))


def _permissions(request: AgentRequest, options: ClaudeOptions) -> tuple[str, ...]:
    """What the tools may do. A mode that denies writes still has the tools for them; what is gone writes nothing."""
    if request.sandbox == "read-only":
        return "--permission-mode", "dontAsk", "--tools", READ_TOOLS, "--disallowedTools", OTHER_TOOLS
    return "--permission-mode", options.permission_mode
