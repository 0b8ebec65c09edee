"""Where everything of a project lies. Names paths and writes nothing.

Kept free of heavy imports: a tick that has nothing to do asks here, and must stay cheap.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

CONTROL_PATHS = (
    "SPEC.md",
    "TASKS.yaml",
    "ROLES.md",
    "PROJECT.yaml",
    "AGENTS.md",
    "DIAGNOSE_AGENT.md",
    "INTAKE_QUESTIONS.md",
    "INTAKE_HISTORY.md",
    "START_HERE.md",
    "prompts/",
)
"""Tracked files that steer the work and so never enter a task's candidate commit; a trailing slash means a folder."""

IGNORED = ("STATE.json", ".agent_lock", "logs/", "notes/", "lanes/", "INTAKE_ANSWERS.md", ".aiframe-*.tmp")
"""What aiframe and people write beside the product: lines for ``.git/info/exclude``."""

MAX_NAME = 64
_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def is_safe_name(name: str) -> bool:
    """Whether *name* may become part of a path, a branch or a file name: A-Z a-z 0-9 . _ - , not first . or -."""
    return 0 < len(name) <= MAX_NAME and name[0] not in ".-" and _NAME_CHARACTERS.issuperset(name)


class Layout:
    """The paths of the project in the folder *root*. Immutable; equal when the roots are equal."""

    __slots__ = ("root",)
    root: Path

    def __init__(self, root: Path) -> None:
        object.__setattr__(self, "root", root)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Layout cannot be changed: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.root == other.root

    def __hash__(self) -> int:
        return hash((Layout, self.root))

    def __repr__(self) -> str:
        return f"Layout({str(self.root)!r})"

    @property
    def state_json(self) -> Path:
        return self.root / "STATE.json"

    @property
    def tasks_yaml(self) -> Path:
        return self.root / "TASKS.yaml"

    @property
    def spec(self) -> Path:
        return self.root / "SPEC.md"

    @property
    def roles(self) -> Path:
        return self.root / "ROLES.md"

    @property
    def project_yaml(self) -> Path:
        return self.root / "PROJECT.yaml"

    @property
    def questions(self) -> Path:
        return self.root / "INTAKE_QUESTIONS.md"

    @property
    def answers(self) -> Path:
        return self.root / "INTAKE_ANSWERS.md"

    @property
    def history(self) -> Path:
        return self.root / "INTAKE_HISTORY.md"

    @property
    def agents_md(self) -> Path:
        return self.root / "AGENTS.md"

    @property
    def diagnose_md(self) -> Path:
        return self.root / "DIAGNOSE_AGENT.md"

    @property
    def notes(self) -> Path:
        return self.root / "notes"

    @property
    def context_snapshot(self) -> Path:
        return self.notes / "context_snapshot.md"

    @property
    def interaction_notes(self) -> Path:
        return self.notes / "interaction_notes.md"

    @property
    def approval(self) -> Path:
        return self.notes / "review_approval.md"

    @property
    def rejection(self) -> Path:
        return self.notes / "review_rejection.md"

    @property
    def interrupt_flag(self) -> Path:
        return self.notes / "interrupt.flag"

    @property
    def lanes(self) -> Path:
        """The projects of the tasks that are worked at side by side."""
        return self.root / "lanes"

    @property
    def lane_record(self) -> Path:
        """What a lane is for; no other project has one."""
        return self.control_dir / "lane.json"

    @property
    def is_lane(self) -> bool:
        """Whether this is the project of one task of another project's."""
        return self.root.parent.name == "lanes" and self.lane_record.is_file()

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def events(self) -> Path:
        return self.logs / "events.ndjson"

    @property
    def agent_lock(self) -> Path:
        return self.root / ".agent_lock"

    @property
    def jobs(self) -> Path:
        """The folders in which jobs work, one for each."""
        return self.logs / "jobs"

    @property
    def git_dir(self) -> Path:
        """The repository's own folder, whether or not it exists yet; follows the ``.git`` file of a linked worktree."""
        return _git_dir(self.root)

    @property
    def control_dir(self) -> Path:
        """aiframe's own folder, where an agent has no business and ``git clean -fdx`` does not reach."""
        return self.git_dir / "aiframe"

    @property
    def control_json(self) -> Path:
        return self.control_dir / "control.json"

    @property
    def control_copy(self) -> Path:
        """The second copy of the control record, used when the first is broken or lost."""
        return self.control_dir / "control.json.good"

    @property
    def run_lock(self) -> Path:
        """The file of the run lock: beside aiframe's folder, so that it holds when an agent removes that folder."""
        return self.git_dir / "aiframe-run.lock"

    @property
    def mutex(self) -> Path:
        return self.control_dir / "state.lock"

    @property
    def runner_log(self) -> Path:
        """What runners print: nothing, but for the error that ends one."""
        return self.control_dir / "runner.log"

    @property
    def last_words(self) -> Path:
        """The error that ended the last runner, where the disk had no room for it in the log; else nothing."""
        return self.control_dir / "last-words"

    @property
    def spent_json(self) -> Path:
        return self.control_dir / "spent.json"

    @property
    def heartbeat(self) -> Path:
        return self.control_dir / "heartbeat"

    @property
    def last_good_dir(self) -> Path:
        return self.control_dir / "good"

    @property
    def quarantine_dir(self) -> Path:
        return self.control_dir / "quarantine"

    @property
    def carrying(self) -> Path:
        """There while a runner is at work. Left behind, it says that one was killed before all was in order."""
        return self.control_dir / "carrying"

    @property
    def seal(self) -> Path:
        """What a step must leave alone, as it was; there while the step, or what it left, is still to be checked."""
        return self.control_dir / "seal.json"

    @property
    def added_tasks(self) -> Path:
        """How many tasks agents have added since the plan was made, or since a person last took an offer."""
        return self.control_dir / "added-tasks"

    @property
    def unsettled_result(self) -> Path:
        """How the last run ended, for whoever has to settle it; logs/ has a copy for people."""
        return self.control_dir / "result.json"

    @property
    def result_lock(self) -> Path:
        """The digest of the key that only a result of the present runner holds."""
        return self.control_dir / "result.lock"

    @property
    def begun_task(self) -> Path:
        """The id of the task that an agent was last let at: what then lies in the folder is its unfinished work."""
        return self.control_dir / "begun-task"

    @property
    def doctor_proof(self) -> Path:
        """Which command for the whole project has been seen to notice a planted fault; its lanes share it."""
        home = Layout(self.root.parent.parent) if self.is_lane else self
        return home.control_dir / "doctor-proof.json"

    @property
    def engine_known(self) -> Path:
        """Which container engine has worked for the project's agents; its lanes share it."""
        home = Layout(self.root.parent.parent) if self.is_lane else self
        return home.control_dir / "engine"

    @property
    def workspace_owner(self) -> Path:
        """By which id the project claims its folder of workspaces; written before that is claimed."""
        return self.control_dir / "workspace-owner"

    @property
    def underway(self) -> Path:
        """What is known of a step whose agent works in a container, which may outlive its runner."""
        return self.control_dir / "underway.json"

    @property
    def job_ends(self) -> Path:
        """How each job of the run that is, or was last, at work has ended, a line for each."""
        return self.control_dir / "jobs.ndjson"

    @property
    def workspace_record(self) -> Path:
        """Which repository the project works for, from which commit on, and where its workspaces lie."""
        return self.control_dir / "workspace.json"

    @property
    def known_plan(self) -> Path:
        """The plan and the steering files as they count, of a project whose tasks are worked at side by side."""
        return self.control_dir / "known-plan.json"

    @property
    def lane_troubles(self) -> Path:
        """What keeps lanes of the project from going on."""
        return self.control_dir / "lane-troubles.json"

    @property
    def workspace_seal(self) -> Path:
        """As the seal, but of a workspace that is not the project's own folder."""
        return self.control_dir / "workspace-seal.json"

    @property
    def offered_tasks(self) -> Path:
        """The TASKS.yaml that a step left and that waits for a person's word."""
        return self.control_dir / "offered" / "TASKS.yaml"

    @property
    def dealt_with(self) -> Path:
        """Which of the versions in quarantine a person has taken or dropped."""
        return self.control_dir / "offered" / "dealt-with"

    @property
    def idle_stamp(self) -> Path:
        return self.control_dir / "idle"

    def tick_log(self, run_id: str) -> Path:
        """The readable log of a run. Raises UsageError for a run id that is no safe name."""
        return self.logs / f"tick-{_checked(run_id)}.log"

    def run_dir(self, run_id: str) -> Path:
        """The folder of a run. Raises UsageError for a run id that is no safe name."""
        return self.logs / "runs" / _checked(run_id)

    def step_lines(self, run_id: str) -> Path:
        """What happened in a run, one JSON object a line."""
        return self.run_dir(run_id) / "log.jsonl"

    def result_json(self, run_id: str) -> Path:
        """What a run ended with, from which its settling can be replayed."""
        return self.run_dir(run_id) / "result.json"


def contain(root: Path, relative: str | Path) -> Path:
    """The real path of *relative* below *root*, symbolic links followed; it need not exist.

    Raises UsageError for whatever lies outside, or whose links lead outside.
    """
    from aiframe.core.errors import UsageError

    cure = f"name a file below {root}; links may not lead out of it"
    try:
        base = root.resolve()
        target = (base / relative).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL, a name too long
        raise UsageError(f"{str(relative)!r} is no usable path: {error}", hint=cure) from error
    if Path(relative).is_absolute() or not target.is_relative_to(base):
        raise UsageError(f"{str(relative)!r} leads outside of the project", hint=cure)
    return target


def _checked(run_id: str) -> str:
    if is_safe_name(run_id):
        return run_id
    from aiframe.core.errors import UsageError

    raise UsageError(f"{run_id!r} is no run id", hint="`aiframe events` lists the run ids")


def _git_dir(root: Path) -> Path:
    dot_git = root / ".git"
    try:
        if not dot_git.is_file():
            return dot_git
        first = dot_git.read_bytes()[:4096].decode("utf-8", "surrogateescape").strip()
    except OSError as error:
        from aiframe.store.atomic import StorageError, cure_for

        raise StorageError(f"{dot_git}: cannot read: {error.strerror}", hint=cure_for(error)) from error
    marker, _, target = first.partition(":")
    if marker == "gitdir" and target.strip() and "\0" not in target:
        return root / target.strip()
    from aiframe.core.errors import UnreadableFile
    from aiframe.core.problem import Problem

    cure = "remove it, or restore the line `gitdir: PATH` that git wrote there"
    raise UnreadableFile([Problem(dot_git, "is a file, but names no repository", line=1, hint=cure)])
