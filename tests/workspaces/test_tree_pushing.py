"""What git says of a push that did not get through: which kind of trouble it is, and no secret."""

from __future__ import annotations

import pytest

from aiframe.process import Captured
from aiframe.workspaces.pushing import problem_of


@pytest.mark.parametrize(
    ("code", "out", "err", "kind"),
    [
        pytest.param(1, "!\ta:b\t[rejected] (fetch first)", "error: failed to push some refs", "rejected", id="behind"),
        pytest.param(1, "!\ta:b\t[rejected] (non-fast-forward)", "", "rejected", id="apart"),
        pytest.param(1, "!\ta:b\t[remote rejected] (hook declined)", "", "refused", id="a hook over there"),
        pytest.param(128, "", "fatal: Authentication failed for 'https://h/'", "login", id="no password"),
        pytest.param(128, "", "git@h: Permission denied (publickey).", "login", id="no key"),
        pytest.param(128, "", "fatal: unable to access 'https://h/': x", "unreachable", id="no network"),
        pytest.param(128, "", "ssh: Could not resolve hostname h", "unreachable", id="no such host"),
        pytest.param(-9, "", "", "other", id="killed"),
        pytest.param(128, "", "fatal: what else", "other", id="anything"),
    ],
)
def test_kinds(code: int, out: str, err: str, kind: str) -> None:
    found = problem_of(Captured(code, out.encode(), err.encode()))
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize("secret", ["me:hunter2", "me:hunt@r2"])
def test_an_address_is_told_without_its_secret(secret: str) -> None:
    said = f"fatal: unable to access 'https://{secret}@host/x.git/': it is down"
    found = problem_of(Captured(128, b"", said.encode()))
    assert found is not None
    assert found.message == "fatal: unable to access 'https://host/x.git/': it is down"


def test_what_got_through_has_no_problem() -> None:
    assert problem_of(Captured(0, b"", b"")) is None
