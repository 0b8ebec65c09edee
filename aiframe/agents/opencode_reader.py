"""Reads what ``opencode run --format json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from aiframe.agents.closing import parse_closing
from aiframe.agents.endings import cut_short
from aiframe.agents.lines import amount_of, count_of, json_object, object_of, plain, text_of
from aiframe.agents.opencode_messages import classify, session_unknown, silent_failure
from aiframe.agents.shown import shortened
from aiframe.core.model import Failure, FailureKind
from aiframe.core.ports import AgentRequest, Answer, Exit, Usage

VAIN_STEPS = 5
"""Steps in a row that came to nothing. opencode goes on so for ever when its streams are cut, and the stall rule does
not see it, because each step is output."""

_KINDS = {"text": "message", "reasoning": "message", "tool_use": "tool_call", "error": "error"}
"""What sort of thing an event is, for the log; opencode tells of a tool when it has ended."""


class OpencodeReader(Struct):
    """Follows the events of one ``opencode run``; keeps the last message, not the output of tools."""

    request: AgentRequest
    program: str = "opencode"
    kind: str = "output"
    _session: str = ""
    _message: str = ""
    _error: Failure | None = None
    _stopped: bool = False
    _vain: int = 0
    _turns: int = 0
    _usage: Usage = field(default_factory=Usage)
    _cost: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether the last step has ended, an error was told, or the steps come to nothing."""
        return self._stopped or self._error is not None or self._vain >= VAIN_STEPS

    @property
    def usage(self) -> Usage:
        """Of the steps that have ended so far."""
        return self._usage

    @property
    def cost_usd(self) -> float | None:
        """Of the steps that have ended so far. opencode says 0 where it knows no price: that is unknown."""
        return self._cost or None

    def feed(self, line: str) -> str:
        """One event; returns what it means for a reader of the log."""
        event = json_object(line)
        self.kind = _KINDS.get(text_of(event.get("type")), "output") if event is not None else "output"
        if event is None:
            return plain(line, 2000).strip()
        self._session = text_of(event.get("sessionID"))[:200] or self._session
        part = object_of(event.get("part"))
        match event.get("type"):
            case "step_start":
                self._stopped, self._error, self._vain = False, None, self._vain + 1
            case "text":
                self._vain, self._message = 0, text_of(part.get("text"))
                return self._message
            case "reasoning":
                self._vain = 0
                return text_of(part.get("text"))
            case "tool_use":
                self._vain = 0
                return _tool(part)
            case "step_finish":
                return self._finish_step(part)
            case "error":
                self._error = classify(object_of(event.get("error")))
                return f"error: {self._error.message}"
        return ""

    def _finish_step(self, part: Mapping[str, Any]) -> str:
        tokens = object_of(part.get("tokens"))
        cache = object_of(tokens.get("cache"))
        cached = count_of(cache.get("read"))
        thought = count_of(tokens.get("reasoning"))
        given = count_of(tokens.get("input")) + cached + count_of(cache.get("write"))
        answered = count_of(tokens.get("output")) + thought
        before = self._usage
        self._usage = Usage(
            before.input_tokens + given, before.cached_input_tokens + cached,
            before.output_tokens + answered, before.reasoning_output_tokens + thought,
        )  # fmt: skip
        self._cost += amount_of(part.get("cost")) or 0.0
        self._turns += 1
        if given or answered:
            self._vain = 0
        self._stopped = part.get("reason") in ("stop", "length")
        return f"step finished; tokens: {given} in, {answered} out"

    def finish(self, ended: Exit) -> Answer:
        """The answer. A failure is read from opencode's own events, its exit code and its standard error alone.

        The session id is empty when there is no session to resume, also when opencode no longer knows the old one.
        """
        closing, failure = None, self._failure(ended)
        if failure is None and self.request.schema is not None:
            closing, complaint = parse_closing(self._message, self.request.role)
            failure = Failure(FailureKind.INVALID_OUTPUT, complaint) if complaint else None
        session = "" if session_unknown(ended) else self._session
        return Answer(self._message, closing, session, self._usage, self.cost_usd, self._turns, failure)

    def _failure(self, ended: Exit) -> Failure | None:
        if self._error is not None:
            return self._error
        if self._vain >= VAIN_STEPS:
            message = f"{self.program} got no answer in {self._vain} tries one after the other"
            return Failure(
                FailureKind.TRANSIENT, message, "the service cuts its streams, or is none: look at its address"
            )
        if self._stopped:
            return None
        return cut_short(ended, self.program) or silent_failure(ended, self.program)


def _tool(part: Mapping[str, Any]) -> str:
    state = object_of(part.get("state"))
    given = object_of(state.get("input"))
    if part.get("tool") != "bash":
        subject = text_of(given.get("filePath")) or text_of(given.get("pattern")) or text_of(state.get("title"))[:2000]
        failed = f"\n[failed: {text_of(state.get('error'))[:2000]}]" if state.get("status") == "error" else ""
        return f"{text_of(part.get('tool'))[:200]} {subject}".rstrip() + failed
    output = state.get("output")
    tail = shortened(output if isinstance(output, str) else "")
    code = object_of(state.get("metadata")).get("exit")
    status = f"exit code {code}" if isinstance(code, int) else text_of(state.get("error"))[:2000] or "ended"
    return "\n".join(filter(None, (f"$ {text_of(given.get('command'))}", tail, f"[{status}]")))
