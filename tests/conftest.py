"""What every test gets: an environment of its own and a look for processes left; and a count of what was left out."""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Generator, Iterator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from support.copies import close_copier
from support.leftovers import carriers_left, end
from support.needs import left_out, needed

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# Variables of the person or machine that runs the tests, which would change what git, agents or aiframe do in them.
FOREIGN = ("AIFRAME_", "ANTHROPIC_", "CODEX_", "GIT_", "LC_", "MAKE", "MFLAGS", "OPENAI_", "STATUS_", "XDG_")
FOREIGN_NAMES = frozenset({"CLICOLOR_FORCE", "COLUMNS", "FORCE_COLOR", "LANG", "LANGUAGE", "LINES", "PYTHON"})

# No deadline: the machine may be busy. Failing examples are replayed the same way on every machine.
settings.register_profile("aiframe", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("aiframe"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "aiframe"))


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A clean environment for all children of this worker; at its end none of them may be alive."""
    session, home = uuid.uuid4().hex, tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if (name.startswith(FOREIGN) and not name.startswith("AIFRAME_TEST_")) or name in FOREIGN_NAMES:
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("LC_ALL", "C.UTF-8")
        patch.setenv("NO_COLOR", "1")
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("AIFRAME_TEST_SESSION", session)
        yield
        close_copier()
        left = carriers_left(f"AIFRAME_TEST_SESSION={session}", f"HOME={home}", grace_s=5)
        end(left)
    assert not left, "processes of runs outlived the tests of this worker: " + "; ".join(
        f"{pid} {command}" for pid, command in left.items()
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays to the end: nothing looks for garbage in it, neither while it grows nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_in_ci((yield))


def _failed_in_ci(report: Report) -> Report:
    """CI has every tool: there a test that was left out for want of one has failed."""
    if os.environ.get("CI") == "true" and needed(_skip_reason(report)):
        report.longrepr = f"left out, which CI does not allow: {_skip_reason(report)}"
        report.outcome = "failed"
    return report


def _skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.getreports("skipped")
    tools = [tool for report in skipped if (tool := needed(_skip_reason(report)))]
    if tools:
        terminalreporter.write_line(left_out(tools))
