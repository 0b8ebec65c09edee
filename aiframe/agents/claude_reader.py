"""Reads what ``claude -p --output-format stream-json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from aiframe.agents.claude_log import kind_of, parts_of, readable
from aiframe.agents.claude_messages import Limit, classify, session_unknown, silent_failure
from aiframe.agents.closing import check_closing, parse_closing
from aiframe.agents.endings import cut_short
from aiframe.agents.lines import amount_of, count_of, json_object, object_of, plain, text_of
from aiframe.core.model import Failure, FailureKind
from aiframe.core.ports import AgentRequest, Answer, Exit, Usage

_KEPT = (
    "subtype", "is_error", "api_error", "api_error_status", "terminal_reason", "stop_reason", "result", "errors",
    "structured_output", "num_turns", "duration_api_ms",
)  # fmt: skip


class ClaudeReader(Struct):
    """Follows the events of one ``claude -p``; keeps the last message and the result, not the output of tools."""

    request: AgentRequest
    program: str = "claude"
    kind: str = "output"
    _session: str = ""
    _message: str = ""
    _error: str = ""
    _limit: Limit = field(default_factory=Limit)
    _result: Mapping[str, Any] | None = None
    _told: Usage = field(default_factory=Usage)
    _asked: Usage = field(default_factory=Usage)
    _asked_id: str = ""
    _cost: float | None = None
    _unpriced: bool = False

    @property
    def complete(self) -> bool:
        """Whether the result has been seen, and nothing was said after it."""
        return self._result is not None

    @property
    def usage(self) -> Usage:
        """Of this run. Before a result the answers count with what they had cost when they began."""
        return _added(self._told, self._asked)

    @property
    def cost_usd(self) -> float | None:
        """Of this run, at claude's own list of prices; None before its result, and for a model it has no price of."""
        return None if self._unpriced else self._cost

    def feed(self, line: str) -> str:
        """One event; returns what it means for a reader of the log."""
        event = json_object(line)
        self.kind = "output" if event is None else kind_of(event)
        if event is None:
            return plain(line, 2000).strip()
        self._take(event)
        return readable(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        self._session = text_of(event.get("session_id"))[:200] or self._session
        match event.get("type"):
            case "assistant":
                self._result = None
                self._take_message(event)
            case "rate_limit_event":
                info = object_of(event.get("rate_limit_info"))
                self._limit = Limit(info.get("status") == "rejected", amount_of(info.get("resetsAt")))
            case "result":
                self._take_result(event)

    def _take_message(self, event: Mapping[str, Any]) -> None:
        message = object_of(event.get("message"))
        name = text_of(message.get("id"))[:200]
        if name != self._asked_id:  # one message may come in several events
            self._asked_id = name
            self._asked = _added(self._asked, _usage(object_of(message.get("usage"))))
        if event.get("parent_tool_use_id"):
            return  # an agent of its own that claude had work for it
        self._error = text_of(event.get("error"))[:200]
        said = "\n".join(filter(None, (text_of(part.get("text")) for part in parts_of(event))))
        self._message = said or self._message

    def _take_result(self, event: Mapping[str, Any]) -> None:
        """Keep the result. What was spent since the last one is this run's, also where the session is an older one."""
        self._result = {name: event[name] for name in _KEPT if name in event}
        spent = event.get("model_usage_since_last_result")
        models = [object_of(value) for value in object_of(spent).values()]
        if not isinstance(spent, dict):  # an older claude
            self._told, self._cost = _usage(object_of(event.get("usage"))), amount_of(event.get("total_cost_usd"))
        else:
            self._told = _added(self._told, *(_model_usage(model) for model in models))
            # claude guesses where it has no price of a model, and says so.
            self._unpriced |= any(model.get("costBasis") == "unknown" for model in models)
            self._cost = (self._cost or 0.0) + sum(amount_of(model.get("costUSD")) or 0.0 for model in models)
        self._asked = Usage()

    def finish(self, ended: Exit) -> Answer:
        """The answer. A failure is read from claude's own events, its exit code and its standard error alone.

        The session id is empty when there is no session to resume, also when claude no longer knows the one asked for.
        """
        result = self._result or {}
        text = text_of(result.get("result")) or self._message
        closing, failure = None, self._failure(ended)
        if failure is None and self.request.schema is not None:
            closing, complaint = self._closing(result, text)
            failure = Failure(FailureKind.INVALID_OUTPUT, complaint) if complaint else None
        session = "" if session_unknown(result) else self._session
        service = result.get("duration_api_ms")
        return Answer(
            text, closing, session, self.usage, self.cost_usd, count_of(result.get("num_turns")), failure,
            duration_api_ms=count_of(service) if isinstance(service, int) else None,
        )  # fmt: skip

    def _closing(self, result: Mapping[str, Any], text: str) -> tuple[Mapping[str, Any] | None, str]:
        """The answer that claude has checked against the schema, checked again; without one, what the text holds."""
        given, role = result.get("structured_output"), self.request.role
        return check_closing(given, role) if isinstance(given, dict) else parse_closing(text, role)

    def _failure(self, ended: Exit) -> Failure | None:
        if self._result is None:
            return cut_short(ended, self.program) or silent_failure(ended, self.program)
        if session_unknown(self._result):
            message = f"{self.program} no longer has the session {plain(self.request.resume, 200)}"
            return Failure(FailureKind.TRANSIENT, message, "the next try starts anew")
        if self._result.get("is_error") is True:
            return classify(self._result, self._error, self._limit)
        return None


def _usage(said: Mapping[str, Any]) -> Usage:
    """Tokens as the service counts them: what it took from its cache is not in ``input_tokens``."""
    cached, made = count_of(said.get("cache_read_input_tokens")), count_of(said.get("cache_creation_input_tokens"))
    thought = count_of(object_of(said.get("output_tokens_details")).get("thinking_tokens"))
    return Usage(
        count_of(said.get("input_tokens")) + cached + made, cached, count_of(said.get("output_tokens")), thought
    )


def _model_usage(said: Mapping[str, Any]) -> Usage:
    cached, made = count_of(said.get("cacheReadInputTokens")), count_of(said.get("cacheCreationInputTokens"))
    given = count_of(said.get("inputTokens")) + cached + made
    return Usage(given, cached, count_of(said.get("outputTokens")), count_of(said.get("thinkingTokens")))


def _added(*parts: Usage) -> Usage:
    return Usage(
        sum(part.input_tokens for part in parts),
        sum(part.cached_input_tokens for part in parts),
        sum(part.output_tokens for part in parts),
        sum(part.reasoning_output_tokens for part in parts),
    )
