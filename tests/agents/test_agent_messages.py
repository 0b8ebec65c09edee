"""What the CLIs' error messages mean, and when a service says to come back."""

from __future__ import annotations

import json
import time
from pathlib import PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiframe.agents import find_agent
from aiframe.agents.codex_messages import classify
from aiframe.agents.resets import reset_time
from aiframe.core.model import Failure, FailureKind, Role
from aiframe.core.ports import AgentRequest, Exit

NOON = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, -1))
HOUR, DAY = 3600.0, 86400.0


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("unexpected status 401 Unauthorized: bad key, url: http://127.0.0.1:1/v1/responses", FailureKind.AUTH),
        ("unexpected status 403 Forbidden: no, url: http://127.0.0.1:1/v1/responses", FailureKind.AUTH),
        ("exceeded retry limit, last status: 401 Unauthorized", FailureKind.AUTH),
        ("Your access token could not be refreshed. Please log out and sign in again.", FailureKind.AUTH),
        ("Your authentication session could not be refreshed automatically.", FailureKind.AUTH),
        ("Quota exceeded. Check your plan and billing details.", FailureKind.QUOTA),
        ("You’ve hit your usage limit. Try again later.", FailureKind.QUOTA),
        ("You've hit your usage limit for gpt-5.5.", FailureKind.QUOTA),
        ("You've reached your workspace credit limit", FailureKind.QUOTA),
        ("Your workspace is out of credits. Add credits to continue.", FailureKind.QUOTA),
        ("You hit your spend cap set in your workspace. Increase your spend cap to continue.", FailureKind.QUOTA),
        ("exceeded retry limit, last status: 429 Too Many Requests", FailureKind.TRANSIENT),
        ("unexpected status 500 Internal Server Error: please sign in again", FailureKind.TRANSIENT),
        ("unexpected status 502 Bad Gateway: You've hit your usage limit", FailureKind.TRANSIENT),
        ("We’re currently experiencing high demand, which may cause temporary errors.", FailureKind.TRANSIENT),
        ("Selected model is at capacity. Please try a different model.", FailureKind.TRANSIENT),
        ("rate limit exceeded: be slow", FailureKind.TRANSIENT),
        ("stream disconnected before completion: quota exceeded", FailureKind.TRANSIENT),
        ("Connection failed: error sending request", FailureKind.TRANSIENT),
        ("Reconnecting... 2/5 (unexpected status 401 Unauthorized: no)", FailureKind.AUTH),
        ("Reconnecting... 2/5 (Connection failed: error sending request)", FailureKind.TRANSIENT),
        ("Missing environment variable: `STUB_API_KEY`.", FailureKind.SETUP),
        ("The model gpt-9 does not exist", FailureKind.SETUP),
        ('{"error": {"type": "invalid_request_error", "message": "model gpt-9"}}', FailureKind.SETUP),
        ("Codex ran out of room in the model's context window. Start a new thread", FailureKind.NO_PROGRESS),
        ("The docs say: you've hit your usage limit means to wait", FailureKind.TRANSIENT),
        ("something nobody has seen: 401", FailureKind.TRANSIENT),
        ("", FailureKind.TRANSIENT),
    ],
    ids=lambda value: str(value)[:40] or "empty",
)
def test_a_message_stands_for_a_failure(message: str, kind: FailureKind) -> None:
    failure = classify(message, NOON)
    assert failure.kind is kind
    assert failure.message == (message or "codex failed without a message")
    assert failure.reset_at is None


def test_each_kind_that_waits_for_a_person_names_its_cure() -> None:
    assert "codex login" in classify("unexpected status 401 Unauthorized: x", NOON).hint
    assert "resume --now" in classify("Quota exceeded. Check your plan", NOON).hint
    assert "config.toml" in classify("Missing environment variable: `X`.", NOON).hint


@pytest.mark.parametrize(
    ("words", "wait"),
    [
        pytest.param("in 3 hours 5 minutes.", 3 * HOUR + 300, id="relative"),
        pytest.param("in 2 days, 1 hour and 1 minute", 2 * DAY + HOUR + 60, id="with commas"),
        pytest.param("in 11.054s.", 11.054, id="seconds"),
        pytest.param("in 250ms", 0.25, id="milliseconds"),
        pytest.param("in 1h30m", None, id="glued units are not guessed"),
        pytest.param("in less than a minute", 60, id="soon"),
        pytest.param("at 3:05 PM.", 3 * HOUR + 360, id="afternoon"),
        pytest.param("at 12:30 PM", 1860, id="half past noon"),
        pytest.param("at 15:05", 3 * HOUR + 360, id="24 hours"),
        pytest.param("at 11:59 AM", 0, id="the minute that has just passed"),
        pytest.param("at 12:00 PM", 60, id="this minute"),
        pytest.param("at 3:05 AM", 15 * HOUR + 360, id="tomorrow"),
        pytest.param("at 12:00 AM", 12 * HOUR + 60, id="midnight"),
        pytest.param("at Nov 22nd, 2026 3:05 PM.", DAY + 3 * HOUR + 360, id="a date"),
        pytest.param("at November 22, 2026 3:05 PM", DAY + 3 * HOUR + 360, id="a date written out"),
        pytest.param("at Nov 20th, 2026 12:00 PM", 60 - DAY, id="a date that is over"),
        pytest.param("later.", None, id="later"),
        pytest.param("at Foo 22nd, 2026 3:05 PM", None, id="no month"),
        pytest.param("at 99:99", None, id="no time"),
        pytest.param("at Nov 99th, 2026 1:00 PM", None, id="no day"),
        pytest.param("in 99999 days", None, id="too far away"),
    ],
)
def test_the_reset_time_is_read_from_the_sentence(words: str, wait: float | None) -> None:
    failure = classify(f"You’ve hit your usage limit. Upgrade to Pro or try again {words}", NOON)
    assert failure.kind is FailureKind.QUOTA
    assert failure.reset_at == (None if wait is None else pytest.approx(NOON + wait))


def test_a_minute_before_midnight_read_after_it_is_not_tomorrow() -> None:
    midnight = NOON + 12 * HOUR
    assert reset_time("try again at 11:59 PM", midnight + 1) == midnight


@given(st.one_of(st.text(), st.from_regex(r"try again (at|in) [0-9 :,.a-zA-Z]{0,40}")), st.floats(0, 4e9))
def test_no_message_is_too_odd(message: str, now: float) -> None:
    reset = reset_time(message, now)
    assert reset is None or reset <= now + 367 * DAY
    assert classify(message, now).message


# claude and opencode have fields for it


def told(agent: str, *events: Any, ended: Exit | None = None) -> Failure | None:
    """The failure that *events* of *agent* stand for."""
    reader = find_agent(agent, {}).reader(AgentRequest("p", Role.DEV, PurePath("/nowhere"), PurePath("/nowhere")))
    for event in events:
        reader.feed(json.dumps(event))
    return reader.finish(ended or Exit(1)).failure


def result(**fields: Any) -> dict[str, Any]:
    return {"type": "result", "is_error": True, "result": "its words", **fields}


def limit(**fields: Any) -> dict[str, Any]:
    return {"type": "rate_limit_event", "rate_limit_info": {"rateLimitType": "five_hour", **fields}}


def error(name: str, **data: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"name": name, "data": {"message": "its words", **data}}}


@pytest.mark.parametrize("name", ["claude", "opencode"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, FailureKind.AUTH), (403, FailureKind.AUTH), (402, FailureKind.QUOTA), (404, FailureKind.SETUP),
        (400, FailureKind.SETUP), (408, FailureKind.TRANSIENT), (429, FailureKind.TRANSIENT),
        (500, FailureKind.TRANSIENT), (529, FailureKind.TRANSIENT), (None, FailureKind.TRANSIENT),
        ("401", FailureKind.TRANSIENT), ([401], FailureKind.TRANSIENT), ({}, FailureKind.TRANSIENT),
    ],
    ids=str,
)  # fmt: skip
def test_a_status_stands_for_a_failure(name: str, status: Any, kind: FailureKind) -> None:
    said = result(api_error_status=status) if name == "claude" else error("APIError", statusCode=status)
    failure = told(name, said)
    assert failure is not None
    assert failure.kind is kind
    assert "its words" in failure.message
    assert bool(failure.hint) is (kind is not FailureKind.TRANSIENT)


REJECTED = limit(status="rejected", resetsAt=NOON)


@pytest.mark.parametrize(
    ("events", "kind", "reset_at"),
    [
        pytest.param([REJECTED, result(api_error_status=429)], FailureKind.QUOTA, NOON, id="used up"),
        pytest.param(
            [limit(status="rejected"), result(api_error_status=429)], FailureKind.TRANSIENT, None, id="no time"
        ),
        pytest.param(
            [limit(status="allowed_warning", resetsAt=NOON), result(api_error_status=429)],
            FailureKind.TRANSIENT, None, id="a warning",
        ),
        pytest.param(
            [REJECTED, limit(status="allowed"), result(api_error_status=429)],
            FailureKind.TRANSIENT, None, id="allowed again",
        ),
        pytest.param([REJECTED, result(api_error_status=500)], FailureKind.TRANSIENT, None, id="another fault"),
        pytest.param([result(subtype="error_max_turns")], FailureKind.BUDGET, None, id="turns"),
        pytest.param([result(subtype="error_max_budget_usd")], FailureKind.BUDGET, None, id="cost"),
        pytest.param(
            [result(subtype="error_max_structured_output_retries")], FailureKind.INVALID_OUTPUT, None, id="no JSON"
        ),
        pytest.param(
            [result(terminal_reason="prompt_too_long", api_error_status=400)],
            FailureKind.NO_PROGRESS, None, id="context full",
        ),
        pytest.param(
            [{"type": "assistant", "error": "billing_error", "message": {}}, result(api_error_status=400)],
            FailureKind.QUOTA, None, id="billing",
        ),
    ],
)  # fmt: skip
def test_what_claude_tells_stands_for_a_failure(events: list[Any], kind: FailureKind, reset_at: float | None) -> None:
    failure = told("claude", *events)
    assert failure is not None
    assert failure.kind is kind
    assert failure.reset_at == reset_at


def test_a_rejection_that_claude_got_over_is_no_failure() -> None:
    assert told("claude", REJECTED, result(is_error=False), ended=Exit(0)) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ProviderAuthError", FailureKind.AUTH),
        ("ConfigInvalidError", FailureKind.SETUP),
        ("ContextOverflowError", FailureKind.NO_PROGRESS),
        ("ContentFilterError", FailureKind.INVALID_OUTPUT),
        ("UnknownError", FailureKind.TRANSIENT),
    ],
)
def test_a_name_of_opencodes_stands_for_a_failure(name: str, kind: FailureKind) -> None:
    failure = told("opencode", error(name))
    assert failure is not None
    assert failure.kind is kind
    assert failure.hint or kind is FailureKind.INVALID_OUTPUT


def test_an_error_that_opencode_got_over_is_no_failure() -> None:
    stop = {"type": "step_finish", "part": {"reason": "stop"}}
    assert told("opencode", error("APIError"), {"type": "step_start"}, stop, ended=Exit(0)) is None


def test_steps_of_opencodes_that_come_to_nothing_end() -> None:
    """Cut streams: it would go on for ever, and each step is output, so no stall rule sees it."""
    step = [{"type": "step_start"}, {"type": "step_finish", "part": {"reason": "unknown", "tokens": {}}}]
    reader = find_agent("opencode", {}).reader(AgentRequest("p", Role.DEV, PurePath("/n"), PurePath("/n")))
    ended = []
    for event in [*step * 4, {"type": "text", "part": {"text": "a word"}}, *step * 4, step[0]]:
        reader.feed(json.dumps(event))
        ended.append(reader.complete)
    assert ended == [False] * 17 + [True]
    failure = reader.finish(Exit(-15, "lingered")).failure
    assert failure is not None
    assert failure.kind is FailureKind.TRANSIENT
    assert "5 tries" in failure.message
