"""The opencode CLI: ``opencode run`` with JSON events. Measured with opencode 1.18.33."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from aiframe.agents.opencode_reader import OpencodeReader
from aiframe.agents.options import read_options
from aiframe.core.ports import AgentRequest, Command

QUIET: Mapping[str, str] = {
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_SHARE": "1",
}
"""No downloads and no uploads in a run that nobody watches."""

NO_PROJECT_CONFIG: Mapping[str, str] = {"OPENCODE_DISABLE_PROJECT_CONFIG": "1"}
"""An opencode.json that an agent left in the workspace would rule the next run."""

_WRITING = (
    "bash", "edit", "write", "patch", "apply_patch", "multiedit", "task", "skill", "webfetch", "websearch",
    "codesearch", "todowrite", "question", "external_directory",
)  # fmt: skip
_READING = ("read", "glob", "grep", "list")
# Each by its name: what a person allows by name in opencode's own configuration goes before a denial of "*".
READ_ONLY: Mapping[str, str] = {"*": "deny", **dict.fromkeys(_WRITING, "deny"), **dict.fromkeys(_READING, "allow")}


class OpencodeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*program* is the executable, *project_config* whether an opencode.json in the workspace counts, *args* further
    arguments of ``opencode run``."""

    program: str = "opencode"
    project_config: bool = False
    args: list[str] = []


class Opencode:
    """The opencode CLI, not interactive. It has no sandbox: its tools may do what the person may."""

    name = "opencode"
    tells_cost = True
    variables = ("OPENCODE_*", "ANTHROPIC_*", "OPENAI_*", "OPENROUTER_*", "GEMINI_*", "GOOGLE_*", "AWS_*", "AZURE_*")

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(options or {})
        read_options(self.name, self._options, OpencodeOptions)

    def command(self, request: AgentRequest) -> Command:
        """``opencode run``, prompt on standard input. Raises UsageError for options that do not fit."""
        options = read_options(self.name, {**self._options, **request.options}, OpencodeOptions)
        return Command(
            argv=_argv(request, options), cwd=request.workspace, env=_env(request, options), stdin=request.prompt
        )

    def reader(self, request: AgentRequest) -> OpencodeReader:
        """A reader of the JSON events."""
        options = read_options(self.name, {**self._options, **request.options}, OpencodeOptions)
        return OpencodeReader(request, options.program)


def _argv(request: AgentRequest, options: OpencodeOptions) -> tuple[str, ...]:
    title = f"aiframe {request.role} {request.task_id}".rstrip()  # without one the model is asked for it
    argv = [options.program, "run", "--format", "json", "--pure", "--title", title, "--dir", str(request.workspace)]
    argv += [] if request.sandbox == "read-only" else ["--auto"]
    argv += ["-m", request.model] if request.model else []
    argv += ["--variant", request.effort] if request.effort else []
    argv += ["-s", request.resume] if request.resume else []
    return (*argv, *options.args)


def _env(request: AgentRequest, options: OpencodeOptions) -> dict[str, str]:
    reads = request.sandbox == "read-only"
    own = {} if options.project_config and not reads else NO_PROJECT_CONFIG
    permission = {"OPENCODE_PERMISSION": json.dumps(READ_ONLY)} if reads else {}
    return {**QUIET, **own, **permission}
