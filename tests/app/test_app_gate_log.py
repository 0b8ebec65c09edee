"""The log of a command whose output has no end: its beginning and its end, and no part of a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiframe.app.attempts.gate_log import LOG_BYTES, GateLog
from aiframe.core.redaction import Redactor
from aiframe.core.secret_values import Secret

KEY = "s3cret-" + "k" * 40
FULL = 64 * 1024
"""How much of the end is looked at."""


def logged(path: Path, *chunks: bytes) -> GateLog:
    with GateLog(path, Redactor((Secret("KEY", KEY),))) as log:
        for chunk in chunks:
            log.take(chunk)
        log.finish()
    return log


@pytest.mark.parametrize("more", [0, 1, FULL], ids=["just full", "one byte more", "as much as is kept of an end"])
def test_what_fits_is_whole(tmp_path: Path, more: int) -> None:
    output = b"x" * (LOG_BYTES - 20) + KEY.encode() + b"y" * max(0, more - 27)
    log = logged(tmp_path / "log", output[: LOG_BYTES - 7], output[LOG_BYTES - 7 :])
    assert log.path.read_bytes() == output.replace(KEY.encode(), b"[redacted KEY]")


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(LOG_BYTES - 20, id="where the beginning ends"),
        pytest.param(3 * LOG_BYTES - FULL - 20, id="where the end begins"),
        pytest.param(3 * LOG_BYTES - 100, id="in the end"),
    ],
)
def test_no_part_of_a_secret_is_kept(tmp_path: Path, at: int) -> None:
    output = bytearray(b"x" * 3 * LOG_BYTES)
    output[at : at + len(KEY)] = KEY.encode()
    log = logged(tmp_path / "log", *(bytes(output[n : n + 65536]) for n in range(0, len(output), 65536)))
    told = log.path.read_bytes()
    assert len(told) < LOG_BYTES + FULL
    assert not any(part in told for part in (b"s3cret", b"kkkk"))
    assert b"bytes are left out here" in told
    assert log.tail().endswith("x")
