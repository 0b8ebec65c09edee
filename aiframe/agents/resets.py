"""When a service says to come back, read from the sentence that it says it in."""

from __future__ import annotations

import re
import time

MINUTE = 60.0
LONGEST = 366 * 86400.0
"""Seconds; a wait longer than this was not read right."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": MINUTE, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_AMOUNT = r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d|w|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?)\b"
_RELATIVE = re.compile(rf"try again in\s+((?:{_AMOUNT}(?:\s*,)?(?:\s+and)?\s*)+)", re.IGNORECASE | re.ASCII)
_EACH = re.compile(_AMOUNT, re.IGNORECASE | re.ASCII)
_SOON = re.compile(r"try again in\s+(?:less than )?an? minute", re.IGNORECASE)
_ABSOLUTE = re.compile(
    r"try again at\s+(?:(?P<month>[a-z]{3})[a-z]*\.?\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?,?\s+(?P<year>\d{4}),?\s+)?"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::\d{2})?\s*(?P<half>[ap]\.?m\b)?",
    re.IGNORECASE | re.ASCII,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def reset_time(message: str, now: float) -> float | None:
    """The epoch second that *message* names ("try again in 3 hours", "try again at 3:05 PM"), None where it names none.

    A clock time is meant in this machine's own zone, as the CLI writes it; since it leaves the seconds out, the end
    of that minute counts.
    """
    relative = _RELATIVE.search(message)
    if relative:
        return _bounded(now + sum(float(n) * _unit(unit) for n, unit in _EACH.findall(relative[1])), now)
    if _SOON.search(message):
        return now + MINUTE
    absolute = _ABSOLUTE.search(message)
    try:
        return _bounded(_clock_time(absolute, now) + MINUTE, now) if absolute else None
    except (ValueError, OverflowError, OSError):
        return None


def _unit(name: str) -> float:
    return _UNITS.get(name.lower()) or _UNITS[name[0].lower()]


def _clock_time(found: re.Match[str], now: float) -> float:
    hour, minute = int(found["hour"]), int(found["minute"])
    if found["half"]:
        hour = hour % 12 + (12 if found["half"][0] in "pP" else 0)
    if found["month"]:
        month = _MONTHS.index(found["month"].lower()) + 1
        return _local(int(found["year"]), month, int(found["day"]), hour, minute)
    today = time.localtime(now)
    days = (_local(today.tm_year, today.tm_mon, today.tm_mday + n, hour, minute) for n in (-1, 0, 1))
    # The message may be a moment older than now: a minute that has just begun or passed is not tomorrow's.
    return min(day for day in days if day >= now - 2 * MINUTE)


def _local(year: int, month: int, day: int, hour: int, minute: int) -> float:
    """Epoch seconds of a local time; a day before the first or after the last runs on into the next month."""
    if hour > 23 or minute > 59 or not -1 < day < 33:
        raise ValueError(f"{day} {hour}:{minute} is no time")
    return time.mktime((year, month, day, hour, minute, 0, 0, 0, -1))


def _bounded(reset: float, now: float) -> float | None:
    return reset if reset - now <= LONGEST else None
