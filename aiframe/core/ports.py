"""What the layers above the rules exchange with agents and sandboxes: a request in, a described command out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct, field

from aiframe.core.model import Failure, Role

AgentSandbox: TypeAlias = Literal["read-only", "workspace-write", "danger-full-access"]
EndReason: TypeAlias = Literal["exit", "timeout", "stalled", "stopped", "lingered"]


class AgentRequest(Struct, frozen=True):
    """One invocation of an agent.

    *run_dir* is a folder of the run's own, outside the workspace's tracked files, where the command may leave files.
    *schema* is the JSON Schema of the closing block. *resume* is a session id of the agent's, or empty.
    *attempt* counts the tries of this role at this task from 1. *options* are the agent's own keys from PROJECT.yaml.
    *project* is the folder of the project's documents, from which paths in the options go; None: the workspace.
    """

    prompt: str
    role: Role
    workspace: PurePath
    run_dir: PurePath
    task_id: str = ""
    attempt: int = 1
    model: str = ""
    effort: str = ""
    schema: Mapping[str, Any] | None = None
    resume: str = ""
    sandbox: AgentSandbox = "workspace-write"
    options: Mapping[str, Any] = field(default_factory=dict)
    project: PurePath | None = None


class Command(Struct, frozen=True):
    """A process to start: *env* goes on top of the base environment, *stdin* is written and then closed.

    *files* (path relative to the run's folder -> text) are written before the start.
    """

    argv: tuple[str, ...]
    cwd: PurePath
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


class Exit(Struct, frozen=True):
    """How a process ended: *code* is negative for a signal; *reason* says who ended it; *stderr* is its last part.

    ``lingered`` means that it had given its result and was ended after a grace.
    """

    code: int
    reason: EndReason = "exit"
    stderr: str = ""
    duration_s: float = 0.0


class Usage(Struct, frozen=True):
    """Tokens, as the agent's own events report them: *input_tokens* with the cached ones, *output_tokens* with those of
    the reasoning."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0


class Answer(Struct, frozen=True):
    """What an agent said in a step. *closing* is its closing JSON object, None where there was none that parses.

    *cost_usd* and *duration_api_ms* (milliseconds that the service worked) are None when the agent does not report
    them. *failure* is None for a step that ended well. *cumulative* says that *usage* counts all runs of the session
    that was taken up again, not this one alone.
    """

    text: str = ""
    closing: Mapping[str, Any] | None = None
    session_id: str = ""
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None
    num_turns: int = 0
    failure: Failure | None = None
    duration_api_ms: int | None = None
    cumulative: bool = False


class Reader(Protocol):
    """Follows an agent's output, one line at a time, in bounded memory.

    It may have a ``kind`` that says what the line it was fed last is: ``message``, ``tool_call``, ``tool_result``,
    ``error`` or ``output``; without one every line is ``output``.
    """

    def feed(self, line: str) -> str:
        """Take one line of standard output; return readable text for the log, empty for nothing to show."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the final event has been seen, so that a process that stays may be ended after a grace."""
        ...

    @property
    def usage(self) -> Usage:
        """The tokens that the events have told so far; they may tell them late, and never tell too many."""
        ...

    @property
    def cost_usd(self) -> float | None:
        """The cost that the events have told so far; None while it is not known."""
        ...

    def finish(self, ended: Exit) -> Answer:
        """The answer, once the process has ended."""
        ...


class Agent(Protocol):
    """A coding-agent CLI, described but not run.

    *variables* are patterns (``CODEX_*``) of the environment variables by which it is configured and logs in.
    *tells_cost*: whether it reports what a run costs, so that a limit on cost can be held. It stands on the class: it
    is asked before the agent is made.
    """

    name: str
    tells_cost: bool
    variables: tuple[str, ...]

    def command(self, request: AgentRequest) -> Command:
        """How to start it for *request*."""
        ...

    def reader(self, request: AgentRequest) -> Reader:
        """A reader for the output of that command. *request.run_dir* holds what the command left there."""
        ...


class Policy(Struct, frozen=True):
    """What a sandboxed command may do. Paths are absolute; where *read* and *writable* name nothing, they are left out.

    The folder *workspace* is writable, but for what *read* names in it; *read* and *writable* elsewhere can be seen
    beside it. *memory_bytes* and *processes* are limits, 0 for none. *run_id* marks what the sandbox leaves behind.
    """

    workspace: PurePath
    network: bool = False
    memory_bytes: int = 0
    processes: int = 0
    read: tuple[PurePath, ...] = ()
    writable: tuple[PurePath, ...] = ()
    run_id: str = ""


class Sandbox(Protocol):
    """Where the commands of gates run, described but not run."""

    name: str

    def environment(self) -> Mapping[str, str]:
        """The base environment for a wrapped command: nothing in it that the command must not see."""
        ...

    def wrap(self, command: Command, policy: Policy) -> Command:
        """*command* inside the sandbox: same exit code, same output. Raises StepError for a policy it cannot keep."""
        ...

    def binds(self, policy: Policy) -> tuple[str, ...]:
        """What a command gets to see of this machine, and which limits of *policy* hold: for people."""
        ...

    def start_failure(self, ended: Exit) -> str:
        """Why the sandbox itself did not start; empty where it was the command that ended so."""
        ...

    def clean(self, policy: Policy) -> None:
        """Remove what may be left of the commands that were wrapped with *policy*; called after each of them."""
        ...
