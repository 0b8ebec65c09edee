"""Sends the notice in AIFRAME_NOTICE, as a process of its own: ``python -m aiframe.app.reports.notifier``.

It ends by itself within DEADLINE_S seconds, whatever the network does. What it prints goes into notify.log, and never
holds an address, for the whole of one may be a secret.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from msgspec import Struct

DEADLINE_S = 20.0
"""When a sender gives up, whatever it waits for."""

_CONNECT_S, _READ_S = 5.0, 5.0
_AT_ONCE = 8
_LOG_BYTES = 256 * 1024
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
INSTALL = "install it beside aiframe: pip install 'aiframe[notify]'"


class Sent(Struct, frozen=True):
    """How it went with one address, which is told as *place*: its number in the list and how it begins."""

    place: str
    failure: str = ""


def library() -> Any:
    """The library apprise, or None where it is not installed. Its own log is silenced: it would print addresses."""
    logging.disable(logging.CRITICAL)
    try:
        return importlib.import_module("apprise")
    except ImportError:
        return None


def fill_in(address: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """*address* with ``${NAME}`` replaced by the variable, and what is wrong with it; either may be empty."""
    missing = [name for name in _REFERENCE.findall(address) if not environ.get(name)]
    if missing:
        return "", f"the variable {missing[0]} is not set"
    return _REFERENCE.sub(lambda found: environ[found[1]], address), ""


def place_of(number: int, address: str) -> str:
    """What may be shown of the address at *number* in the list, counted from 1."""
    return f"entry {number} ({address.partition('://')[0][:20]}://...)"


def check(addresses: Sequence[str], environ: Mapping[str, str]) -> list[Sent]:
    """Whether each address can be understood; nothing is sent. The library must be there."""
    return [_understood(library(), number, address, environ)[1] for number, address in enumerate(addresses, start=1)]


def send(addresses: Sequence[str], notice: Mapping[str, str], environ: Mapping[str, str]) -> list[Sent]:
    """Send one notice to every address, several at once; how each went. The library must be there."""
    deliver = partial(_deliver, library(), notice, environ)
    with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(addresses)))) as several:
        return list(several.map(deliver, range(1, len(addresses) + 1), addresses))


def _understood(apprise: Any, number: int, address: str, environ: Mapping[str, str]) -> tuple[Any, Sent]:
    place = place_of(number, address)
    whole, fault = fill_in(address, environ)
    if fault:
        return None, Sent(place, fault)
    service = apprise.Apprise.instantiate(whole)
    return service, Sent(place, "" if service else "apprise does not know such an address")


def _deliver(apprise: Any, notice: Mapping[str, str], environ: Mapping[str, str], number: int, address: str) -> Sent:
    try:
        service, sent = _understood(apprise, number, address, environ)
        if not service:
            return sent
        service.socket_connect_timeout, service.socket_read_timeout = _CONNECT_S, _READ_S
        kind = {"error": "failure", "done": "success"}.get(notice["kind"], "info")
        taken = service.notify(title=notice["title"], body=notice["text"], notify_type=apprise.NotifyType(kind))
    except Exception as error:  # a plugin's fault; its words could hold the address
        return Sent(place_of(number, address), f"it could not be sent ({type(error).__name__})")
    return sent if taken else Sent(sent.place, "it was not taken: nobody answers there, or the address is refused")


def main(environ: Mapping[str, str]) -> int:
    """Send what the variable says; 0 when all was taken."""
    carried = json.loads(environ["AIFRAME_NOTICE"])
    failed = False
    for notice in carried["notices"]:
        about = f"{notice['title']}: {notice['kind']}"
        if library() is None:
            _say(f"{about}: not sent, the library apprise is not installed; {INSTALL}")
            return 1
        for sent in send(carried["addresses"], notice, environ):
            _say(f"{about}: {f'not sent to {sent.place}: {sent.failure}' if sent.failure else f'sent to {sent.place}'}")
            failed = failed or bool(sent.failure)
    return 1 if failed else 0


def _say(line: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", flush=True)


def _give_up() -> None:
    _say(f"given up after {DEADLINE_S:g} s: what is not told as sent above was not taken in time")
    os._exit(1)


def _shorten_log() -> None:
    """Begin the log anew where it has grown large; it is our standard output, opened for appending."""
    if os.fstat(1).st_size > _LOG_BYTES:
        os.ftruncate(1, 0)


if __name__ == "__main__":
    limit = threading.Timer(DEADLINE_S, _give_up)
    limit.daemon = True
    limit.start()
    _shorten_log()
    code = main(os.environ)
    sys.stdout.flush()
    os._exit(code)  # a plugin's threads may still wait for an answer
