"""No sandbox: commands run as the person who started aiframe could run them by hand."""

from __future__ import annotations

from collections.abc import Mapping

from aiframe.core.ports import Command, Exit, Policy


class Unconfined:
    """Keeps nothing away from a command; a person has asked for that with ``sandbox: none``."""

    name = "none"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def environment(self) -> Mapping[str, str]:
        """The caller's, without git's own variables, which would point a command's git at another repository."""
        return {name: value for name, value in self._environ.items() if not name.startswith("GIT_")}

    def wrap(self, command: Command, policy: Policy) -> Command:
        """The command as it is."""
        return command

    def binds(self, policy: Policy) -> tuple[str, ...]:
        """There is nothing to tell apart."""
        return ("everything that you can read and write, and no limit",)

    def start_failure(self, ended: Exit) -> str:
        """Nothing has to be started."""
        return ""

    def clean(self, policy: Policy) -> None:
        """Nothing is left."""
