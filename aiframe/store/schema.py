"""JSON Schemas (Draft 2020-12) of the files that people write, for editors and other tools."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from aiframe.core.budget import AMOUNTS
from aiframe.core.model import STEP_ROLES, Rules, Settings, State
from aiframe.store.container_settings import ContainerSettings
from aiframe.store.gate_settings import GateSettings
from aiframe.store.layout import MAX_NAME
from aiframe.store.resources_file import MOST_SLOTS
from aiframe.store.settings_file import COUNTED, LIMITS, MAY_BE_ZERO, SANDBOXES, SCOPES, WHOLE, SandboxSettings
from aiframe.store.task_reader import PRIORITY_WORDS, SIZE_WORDS, STATUS_WORDS
from aiframe.store.workspace_settings import WORKSPACES, WorkspaceSettings

Kind: TypeAlias = Literal["tasks", "project", "state"]
Schema: TypeAlias = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"

_SCALAR = ["string", "number", "boolean"]


def json_schema(kind: Kind) -> Schema:
    """The schema of TASKS.yaml, PROJECT.yaml or STATE.json."""
    schema = {"tasks": _tasks, "project": _project, "state": _state}[kind]()
    return {"$schema": DRAFT, **schema}


def _tasks() -> Schema:
    tasks = {"description": "The tasks; the first of equal priority comes first.", "items": _task()}
    return {
        "title": "TASKS.yaml",
        "type": ["object", "null"],
        "required": ["tasks"],
        "properties": {
            "version": _text("Version of the format."),
            "project": _text("Name of the project."),
            "tasks": {**tasks, "type": ["array", "null"]},
        },
    }


def _task() -> Schema:
    locks = {
        "reads": _texts("Resources it only reads."),
        "writes": _texts("Files that it may change, such as `src/**`; what changes others needs a person."),
    }
    return {
        "type": "object",
        "required": ["id", "title"],
        "properties": {
            "id": {
                "description": "Name of the task; part of file and branch names.",
                "type": ["string", "integer"],
                "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
                "maxLength": MAX_NAME,
            },
            "title": {"description": "One line for people.", "type": _SCALAR, "minLength": 1},
            "description": _lines("What is to be done."),
            "status": _words("Where the task stands.", STATUS_WORDS),
            "priority": _words("Which task comes first.", PRIORITY_WORDS, extra=(1, 2, 3)),
            "size": _words("How large it is.", SIZE_WORDS, extra=tuple(SIZE_WORDS.values())),
            "max_duration_min": {
                "description": "Most minutes that an attempt may take.",
                "type": ["number", "null"],
                "exclusiveMinimum": 0,
            },
            "blocked_by": _texts("Ids of the tasks that must be done first."),
            "dod": _texts("Definition of done, for people and agents."),
            "verify": _texts("Commands that prove it, run by aiframe; `manual: ...` is for a person."),
            "steps": {
                "description": "Commands that are the work, in their order: the task is a job, without an agent.",
                "type": ["array", "null"],
                "minItems": 1,
                "items": {
                    "anyOf": [
                        {"type": "string", "minLength": 1},
                        {
                            "type": "object",
                            "required": ["cmd"],
                            "additionalProperties": False,
                            "properties": {
                                "desc": _text("What it is for."),
                                "cmd": {"description": "A line for the shell.", "type": "string", "minLength": 1},
                            },
                        },
                    ]
                },
            },
            "locks": {
                "description": "What it shares with other tasks.",
                "type": ["object", "null"],
                "properties": locks,
            },
            "network": _flag("Whether its commands need the network."),
            "review": _flag("Whether a person has to look before it counts as done."),
            "agent": _text("The agent that works on it, where it is not the project's."),
            "notes": _lines("Anything else."),
        },
    }


def _project() -> Schema:
    rules = Rules()
    limits = {name: _limit(name, getattr(rules, name)) for name in LIMITS}
    env = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}
    address = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9+.-]*://\\S+$"}
    return {
        "title": "PROJECT.yaml",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "agent": _agent("The agent for every role."),
            "agents": {
                "description": "Another agent, model or effort for single roles.",
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": {str(role): _agent(f"The agent for {role}.") for role in STEP_ROLES},
            },
            "limits": {
                "description": "Limits; times in seconds.",
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": limits,
            },
            "budget": {
                "description": "The most that may be spent in all, on one day, and on one task.",
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": {scope: _budget() for scope in SCOPES},
            },
            "on_task_failure": _words("Stop at a failed task, or go on with others.", ("stop", "continue")),
            "sandbox": _sandbox(),
            "gates": _gates(),
            "workspace": _workspace(),
            "parallel": _parallel(),
            "resources": {
                "description": "What tasks share: `locks` of a task name it.",
                "type": ["object", "null"],
                "propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9_-]{0,63}$"},
                "additionalProperties": _resource(),
            },
            "env": {
                "description": "Names of further environment variables for agents and checks; checks get no secret.",
                "anyOf": [env, {"type": "array", "items": env}, {"type": "null"}],
            },
            "push": {
                "description": "Push the branch that work lands on to a remote, if a pattern names it.",
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": {
                    "remote": _text("The remote, as `git remote` lists it; origin if left out."),
                    "branches": _texts("Patterns of the branches that are pushed."),
                },
            },
            "notify": {
                "description": "Addresses that notices go to, as the library apprise writes them.",
                "anyOf": [address, {"type": "array", "items": address}, {"type": "null"}],
            },
        },
    }


def _parallel() -> Schema:
    count = {"type": ["integer", "null"], "minimum": 1, "maximum": MOST_SLOTS}
    keys = {"tasks": count, "agents": {"type": ["object", "null"], "additionalProperties": count}}
    return {
        "description": "How many tasks are worked at side by side, in all and by agent; needs workspaces of their own.",
        "anyOf": [count, {"type": "object", "additionalProperties": False, "properties": keys}],
    }


def _resource() -> Schema:
    pair = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2}
    keys = {
        "paths": _texts("Its files, as patterns such as `src/api/**`."),
        "slots": {"description": "How many tasks may hold it at once.", "type": ["integer", "null"], "minimum": 1},
        "range": {"description": "The first and the last of its numbers: each task gets one of its own.", **pair},
        "values": _texts("Its values, such as devices: each task gets one of its own."),
    }
    return {
        "description": "Patterns of its files, or keys.",
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}},
            {"type": "object", "additionalProperties": False, "properties": keys},
        ],
    }


def _sandbox() -> Schema:
    defaults = SandboxSettings()
    kind = _words("Where checks run; none: on this machine, with your own rights.", SANDBOXES)
    amount = {"type": ["integer", "null"], "minimum": 0}
    properties = {
        "kind": kind,
        "image": _text("The image of a container; it has to be on this machine."),
        "memory_mb": {"description": "Most memory, in MiB; 0: no limit.", **amount, "default": defaults.memory_mb},
        "processes": {"description": "Most processes; 0: no limit.", **amount, "default": defaults.processes},
        "read": _texts("Further files and folders of this machine that checks may read."),
    }
    return {
        "description": "Where checks run: a word, or keys.",
        "anyOf": [
            {"enum": [word for word in kind["enum"] if word != "container"]},
            {
                "type": "object",
                "additionalProperties": False,
                "properties": properties,
                "if": {"properties": {"kind": {"const": "container"}}, "required": ["kind"]},
                "then": {"required": ["image"]},
            },
        ],
    }


def _gates() -> Schema:
    minutes = {"type": ["number", "null"], "exclusiveMinimum": 0}
    deleted = {"type": ["integer", "null"], "minimum": 0, "default": GateSettings().max_deleted_files}
    return {
        "description": "How finished work is checked before it counts.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "clean_checkout": _flag(
                "Whether checks run in a checkout of their own, with nothing but the commit in it."
            ),
            "timeout_min": {"description": "Most minutes of one check; none: those of the step.", **minutes},
            "protect": _texts("Files that no agent may change without a person's word, such as `tests/**`."),
            "max_deleted_files": {
                "description": "Most files that a task may delete without a person's word.",
                **deleted,
            },
            "doctor": _lines("A command for the whole project that must pass too."),
            "prove_doctor": {
                **_flag("Whether that command has to notice a planted fault before it is relied on."),
                "default": GateSettings().prove_doctor,
            },
            "doctor_probe": {
                "description": "The tracked file that the fault is planted in, such as `src/main.py`.",
                "type": ["string", "null"],
                "pattern": "^(\\./)?(?!\\.\\.?(/|$)|\\.git(/|$))[^/]+(/(?!\\.\\.?(/|$)|\\.git(/|$))[^/]+)*$",
            },
            "prove_tests": _texts("Files that are tests, such as `tests/**`: they have to fail without the work."),
            "audit": _audit(),
        },
    }


def _audit() -> Schema:
    rounds = {"type": ["integer", "null"], "minimum": 1, "default": Rules().audit_rounds}
    return {
        "description": "An agent that reads the work before it counts; none where this is left out.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "agent": _agent("The agent that judges; that of DEV where it is left out."),
            "model": _text("Its model."),
            "effort": _text("How hard it thinks."),
            "rounds": {"description": "How often it may send a task back before the task has failed.", **rounds},
        },
    }


def _workspace() -> Schema:
    minutes = {"type": ["number", "null"], "exclusiveMinimum": 0, "default": WorkspaceSettings().setup_timeout_s / 60}
    return {
        "description": "Where agents work.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "kind": _words(
                "In the project's folder, or, for another repository, in worktrees, clones, or containers.", WORKSPACES
            ),
            "repo": _text(
                "That repository: a path that is absolute, below your home (~/), or from the project's folder on."
            ),
            "base": _text("What the work starts from: a branch, a tag or a commit; empty: what is checked out."),
            "target": _text("The branch that finished work lands on; empty: one of aiframe's own."),
            "setup": _texts("Commands that make a fresh checkout ready."),
            "setup_timeout_min": {"description": "Most minutes of one of them.", **minutes},
            **_container(),
        },
    }


def _container() -> Schema:
    defaults, amount = ContainerSettings(), {"type": ["integer", "null"], "minimum": 0}
    name = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}
    keys = {
        "env": {"description": "Names of variables.", "type": ["array", "string", "null"], "items": name},
        "files": _texts("Files, read-only; one below your home has the same place below the agent's."),
    }
    credentials = {"type": ["object", "null"], "additionalProperties": False, "properties": keys}
    return {
        "image": _text("The image of the containers; it has to be on this machine."),
        "memory_mb": {"description": "Most memory, in MiB; 0: no limit.", **amount, "default": defaults.memory_mb},
        "processes": {"description": "Most processes; 0: no limit.", **amount, "default": defaults.processes},
        "cpus": {"description": "Most processors; 0: no limit.", "type": ["number", "null"], "minimum": 0},
        "network": _text("The network, as the engine knows it: none, host, or a name; empty: its own."),
        "credentials": {"description": "All that an agent gets in there to log in with.", **credentials},
    }


def _budget() -> Schema:
    counted = {"type": ["integer", "null"], "minimum": 1}
    amount = {"type": ["number", "null"], "exclusiveMinimum": 0}
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: counted if name in COUNTED else amount for name in AMOUNTS},
    }


def _agent(description: str) -> Schema:
    stand_in = {
        "description": "Who plays in its place while its quota is used up.",
        "type": ["string", "object", "null"],
    }
    texts = {
        "name": _text(
            "Which agent: codex, claude, opencode, command, scripted, human, or one that you have installed."
        ),
        "model": _text("The agent's name for the model."),
        "effort": _text("How hard the model thinks, in the agent's words."),
    }
    properties = {**texts, "fallback": stand_in}
    return {"description": description, "type": ["string", "object", "null"], "properties": properties}


def _limit(name: str, default: float) -> Schema:
    number = {"type": ["integer" if name in WHOLE else "number", "null"], "default": default}
    if name in MAY_BE_ZERO:
        return {**number, "minimum": 0}
    return {**number, "minimum": 1} if name in WHOLE else {**number, "exclusiveMinimum": 0}


def _state() -> Schema:
    settings = Settings()
    count = {"type": ["integer", "null"], "minimum": 0}
    return {
        "title": "STATE.json",
        "type": "object",
        "properties": {
            "schema": {
                "description": "Version of the format.",
                "type": ["integer", "null"],
                "minimum": 0,
                "maximum": 1,
            },
            "state": {
                "description": "Where the project stands. Other words are kept, and nothing is done.",
                "type": ["string", "null"],
                "examples": list(State),
            },
            "role": _text("The role of the step that is alive."),
            "run_id": _text("The run that is alive."),
            "started_at": _time("When that run began."),
            "updated_at": _time("When this file was written."),
            "heartbeat_at": _time("When a runner last said that it is alive."),
            "timeout_sec": {
                "description": "Most seconds that a step may take.",
                "type": ["number", "null"],
                "exclusiveMinimum": 0,
                "default": settings.timeout_sec,
            },
            "diagnosis_done": _flag("Whether the last failure has been diagnosed."),
            "resume_state": {"description": "Where it goes on.", "enum": [*State, "", None]},
            "diagnosis": _text("What the diagnosis found."),
            "last_error": _text("What went wrong last."),
            "interactive_mode": _flag("Whether the interview and reviews wait for a person."),
            "plan_locked": _flag("Whether planning is over."),
            "review_every_n_tasks": {"description": "How many tasks go between two reviews; 0: none.", **count},
            "require_confirmations": _flag("Whether the interview may ask back once more."),
            "review_items": {
                "description": "Ids of the tasks done since the last review.",
                "type": ["array", "string", "null"],
                "items": {"type": ["string", "number", "object"]},
            },
            "not_before": _time("Nothing is done before this time."),
            "failure": {"description": "Why it failed: kind, message and hint.", "type": ["object", "null"]},
            "runner": {"description": "The process that carries the run.", "type": ["object", "null"]},
            "generation": {"description": "How often the project was saved.", **count},
        },
    }


def _text(description: str) -> Schema:
    return {"description": description, "type": [*_SCALAR, "null"]}


def _lines(description: str) -> Schema:
    return {"description": description, "type": [*_SCALAR, "array", "null"], "items": {"type": _SCALAR}}


def _texts(description: str) -> Schema:
    return _lines(f"{description} One text or a list.")


def _flag(description: str) -> Schema:
    return {"description": description, "type": ["boolean", "null"]}


def _time(description: str) -> Schema:
    return {"description": f"{description} Seconds since 1970.", "type": ["number", "null"], "minimum": 0}


def _words(description: str, words: Any, extra: tuple[object, ...] = ()) -> Schema:
    return {"description": description, "enum": list(dict.fromkeys([*map(str, words), *extra, None]))}
