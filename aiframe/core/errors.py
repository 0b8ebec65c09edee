"""Errors a person can meet: what happened, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiframe.core.problem import Problem


class AiframeError(Exception):
    """Something a person has to know; shown as one sentence and its cure, never as a traceback."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(AiframeError):
    """The command line asks for something that does not exist or does not fit."""


class GuardError(AiframeError):
    """A folder that must not be worked in: a template, or the frame itself."""


class LockHeld(AiframeError):
    """Another aiframe process is working on this project."""


class StepError(AiframeError):
    """A step cannot be carried out here: the cure is a person's."""

    exit_code = 1


class UnreadableFile(AiframeError):
    """A file of the project cannot be used as it is; it is left untouched. Carries every problem found in it."""

    def __init__(self, problems: Sequence[Problem], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        cure = hint or next((p.hint for p in self.problems if p.hint), "correct the file and run the command again")
        super().__init__("\n".join(str(problem) for problem in self.problems), hint=cure)
