"""PROJECT.yaml: which agent plays which role, the limits, where checks run, and what the agent may see."""

from __future__ import annotations

import re
from collections.abc import Mapping as ReadOnly
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from aiframe.core.budget import AMOUNTS, Budget, Limits, Scope
from aiframe.core.errors import UsageError
from aiframe.core.model import STEP_ROLES, Role, Rules
from aiframe.store.atomic import read_bounded
from aiframe.store.container_settings import CONTAINER_KEYS, ContainerSettings, read_container, variable_names
from aiframe.store.resources_file import read_capacity, read_resources
from aiframe.store.source_text import place
from aiframe.store.yaml_fields import Fields
from aiframe.store.yaml_nodes import Mapping, Node, Scalar, Sequence, plain_value, read_yaml

DEFAULT_AGENT = "codex"
UNATTENDED = "AIFRAME_UNATTENDED"
PARALLEL = "AIFRAME_PARALLEL"
"""How many tasks `aiframe run --parallel N` works at side by side, whatever PROJECT.yaml says."""
KEYS = (
    "agent", "agents", "limits", "budget", "on_task_failure", "sandbox", "env", "gates", "workspace", "notify",
    "parallel", "resources", "push",
)  # fmt: skip
GATE_KEYS = (
    "clean_checkout", "timeout_min", "protect", "max_deleted_files", "doctor", "prove_doctor", "doctor_probe",
    "prove_tests", "audit",
)  # fmt: skip
AUDIT_KEYS = ("agent", "model", "effort", "rounds")
WORKSPACE_KEYS = ("kind", "repo", "base", "target", "setup", "setup_timeout_min")
PUSH_KEYS = ("remote", "branches")
WORKSPACES = ("inplace", "worktree", "clone", "container")
SANDBOXES = ("auto", "bubblewrap", "container", "none")
SANDBOX_KEYS = ("kind", "image", "memory_mb", "processes", "read")
LIMITS = tuple(
    name for name, kind in Rules.__annotations__.items() if kind in ("int", "float") and name != "audit_rounds"
)
SCOPES: tuple[Scope, ...] = ("project", "day", "task")
COUNTED = frozenset({"tokens", "attempts"})
"""The amounts of a budget that are whole numbers."""
MAY_BE_ZERO = frozenset({"stall_sec", "repairs", "hung_grace_sec"})
WHOLE = frozenset(name for name, kind in Rules.__annotations__.items() if kind == "int")
OF_ALL_AGENTS = frozenset({"name", "model", "effort", "fallback"})
"""The keys of an agent that are not its own options."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


class AgentSettings(Struct, frozen=True):
    """The agent of a role. *options* are its own further keys; empty *model* and *effort* mean the agent's default.

    *fallback* plays in its place while its quota is used up.
    """

    name: str = DEFAULT_AGENT
    model: str = ""
    effort: str = ""
    options: ReadOnly[str, Any] = field(default_factory=dict)
    fallback: AgentSettings | None = None

    @property
    def label(self) -> str:
        """What tells it from others: its name, with the model after a slash where one is set."""
        return f"{self.name}/{self.model}" if self.model else self.name

    @property
    def chain(self) -> tuple[AgentSettings, ...]:
        """This one, and who stands in for it."""
        return (self, *(self.fallback.chain if self.fallback else ()))


class SandboxSettings(Struct, frozen=True):
    """Where gates run: *kind* is one of SANDBOXES, *image* that of a container. A limit of 0 is none.

    *read* names files and folders of this machine that the commands may read, as the person wrote them.
    """

    kind: str = "auto"
    image: str = ""
    memory_mb: int = 4096
    processes: int = 1024
    read: tuple[str, ...] = ()


class GateSettings(Struct, frozen=True):
    """How work is checked. *timeout_s* is for one command, None for no limit but that of the step.

    *protect* are patterns of files that no agent may change without a person's word, *max_deleted_files* how many files
    a task may delete without one. *doctor* is a command for the whole project, empty for none; *prove_doctor*: it has
    to notice a planted fault before it is relied on, in the file *doctor_probe* where that is set. *prove_tests* are
    patterns of the files that are tests, which have to fail without the work. *audit* is the agent that judges the
    work, None for none.
    """

    clean_checkout: bool = False
    timeout_s: float | None = None
    protect: tuple[str, ...] = ()
    max_deleted_files: int = 20
    doctor: str = ""
    audit: AgentSettings | None = None
    prove_doctor: bool = True
    doctor_probe: str = ""
    prove_tests: tuple[str, ...] = ()


class WorkspaceSettings(Struct, frozen=True):
    """Where agents work: in the project's folder, or for each task in a worktree or a clone of the repository *repo*.

    Of kind container it is a clone, too, and all agents run in a *container*.

    *repo* is a path, from the project's folder on. *base* names what the work starts from (empty: what is checked out
    there), *target* the branch that it lands on (empty: one of aiframe's own). *setup* are the commands that make a
    fresh checkout ready, each with its time in seconds.
    """

    kind: str = "inplace"
    repo: str = ""
    base: str = ""
    target: str = ""
    setup: tuple[str, ...] = ()
    setup_timeout_s: float = 600
    container: ContainerSettings = field(default_factory=ContainerSettings)


class PushSettings(Struct, frozen=True):
    """Where the branch that work lands on is pushed to, if one of the patterns *branches* names it; none: nowhere."""

    remote: str = "origin"
    branches: tuple[str, ...] = ()


class ProjectSettings(Struct, frozen=True):
    """What PROJECT.yaml says, defaults filled in. *env* names further variables that children get from ours.

    *notify* are the addresses that notices go to. They may hold secrets: show none of them. *cost_limit* is the line
    and the column of the first limit on cost, both 0 where there is none.
    """

    agents: ReadOnly[Role, AgentSettings] = field(default_factory=lambda: dict.fromkeys(STEP_ROLES, AgentSettings()))
    rules: Rules = field(default_factory=Rules)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    env: tuple[str, ...] = ()
    gates: GateSettings = field(default_factory=GateSettings)
    workspace: WorkspaceSettings = field(default_factory=WorkspaceSettings)
    notify: tuple[str, ...] = ()
    push: PushSettings = field(default_factory=PushSettings)
    path: Path | None = None
    cost_limit: tuple[int, int] = (0, 0)

    @property
    def all_agents(self) -> tuple[AgentSettings, ...]:
        """Every agent that may play a part."""
        return (*self.agents.values(), *filter(None, [self.gates.audit]))


def load_settings(path: Path, environ: ReadOnly[str, str]) -> ProjectSettings:
    """The settings in the file *path*, defaults where it is missing; DEV_CHAIN_LIMIT in *environ* goes before.

    With UNATTENDED in *environ*, which a watch sets for all that it starts, the rules are those for nobody being there.

    Raises UnreadableFile, StorageError, and UsageError for a DEV_CHAIN_LIMIT that is no number.
    """
    try:
        settings = parse_settings(path, read_bounded(path))
    except FileNotFoundError:
        settings = ProjectSettings(path=path)
    if environ.get(UNATTENDED):
        settings = replace(settings, rules=replace(settings.rules, unattended=True))
    if environ.get(PARALLEL, "").isdigit():
        rules = settings.rules
        capacity = replace(rules.capacity, slots=max(1, int(environ[PARALLEL])))
        settings = replace(settings, rules=replace(rules, capacity=capacity))
    return _with_chain_limit(settings, environ.get("DEV_CHAIN_LIMIT", ""))


def _with_chain_limit(settings: ProjectSettings, value: str) -> ProjectSettings:
    if not value:
        return settings
    if not re.fullmatch("[0-9]{1,6}", value) or int(value) < 1:
        cure = "set it to 1 or more, or unset it"
        raise UsageError(f"the environment variable DEV_CHAIN_LIMIT is {value!r}, not a whole number", hint=cure)
    return replace(settings, rules=replace(settings.rules, dev_chain_limit=int(value)))


def parse_settings(path: Path, data: bytes) -> ProjectSettings:
    """The settings in the PROJECT.yaml whose bytes are *data*. Raises UnreadableFile with every mistake."""
    source = read_yaml(path, data)
    if source.root is not None and not isinstance(source.root, Mapping):
        source.complain(source.root.start, "must hold keys and values", "begin it with `agent: codex`")
    if not isinstance(source.root, Mapping):
        source.check()
        return ProjectSettings(path=path)
    top = Fields(source, source.root)
    top.only(KEYS)
    budget, cost_limit = _budget(top)
    agents = _agents(top)
    audit, rounds = _audit(top.inner("gates"), agents[Role.DEV])
    settings = ProjectSettings(
        agents=agents,
        rules=replace(
            _rules(top), budget=budget, audit_rounds=rounds, resources=read_resources(top), capacity=read_capacity(top)
        ),
        sandbox=_sandbox(top),
        env=variable_names(top, "env"),
        gates=replace(_gates(top), audit=audit),
        workspace=_workspace(top),
        notify=_notify(top),
        push=_push(top),
        path=path,
        cost_limit=cost_limit,
    )
    source.check()
    return settings


def _agents(top: Fields) -> dict[Role, AgentSettings]:
    default = _agent(top, "agent", AgentSettings())
    agents = dict.fromkeys(STEP_ROLES, default)
    per_role = top.inner("agents")
    if per_role is not None:
        per_role.only(STEP_ROLES)
        for role in STEP_ROLES:
            agents[role] = _agent(per_role, role, default)
    return agents


def _agent(parent: Fields, key: str, default: AgentSettings) -> AgentSettings:
    """The agent below *key*: its name alone, or a mapping; what it leaves out comes from a *default* of that name."""
    node: Node | None = parent.node.get(key)
    if node is None:
        return default
    if isinstance(node, Scalar):
        return default if node.value == default.name else AgentSettings(_agent_name(parent, node, node.value))
    inner = parent.inner(key)
    if inner is None:
        return default
    name = _agent_name(inner, node, inner.text("name", default.name))
    base = default if name == default.name else AgentSettings(name)
    own = {k.value: plain_value(v) for k, v in inner.node.pairs if k.value not in OF_ALL_AGENTS}
    return AgentSettings(
        name=name,
        model=inner.text("model", base.model),
        effort=inner.text("effort", base.effort),
        options={**base.options, **own},
        fallback=_fallback(inner, base.fallback),
    )


def _fallback(inner: Fields, default: AgentSettings | None) -> AgentSettings | None:
    """Who stands in: a name, or a mapping as for an agent."""
    node = inner.node.get("fallback")
    if node is None:
        return default
    if isinstance(node, Mapping) and node.get("name") is None:
        inner.complain(node, "fallback has no name", "write `fallback: {name: claude, ...}` or `fallback: claude`")
        return None
    return _agent(inner, "fallback", AgentSettings(""))


def _agent_name(parent: Fields, node: Node, name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        parent.complain(
            node, f"{name[:80]!r} is no name of an agent", "use `agent: codex`; `aiframe doctor` lists them"
        )
    return name


def _rules(top: Fields) -> Rules:
    defaults = Rules()
    values: dict[str, Any] = {}
    limits = top.inner("limits")
    if limits is not None:
        limits.only(LIMITS)
        for name in LIMITS:
            zero = name in MAY_BE_ZERO
            least = 1 if name in WHOLE and not zero else 0
            values[name] = limits.number(
                name, getattr(defaults, name), whole=name in WHOLE, least=least, above=not zero and name not in WHOLE
            )
    goes_on = top.word("on_task_failure", {"stop": False, "continue": True}, False)
    return replace(defaults, continue_on_task_failure=goes_on, **values)


def _sandbox(top: Fields) -> SandboxSettings:
    """The kind alone, or a mapping."""
    default = SandboxSettings()
    words = {name: name for name in SANDBOXES}
    node = top.node.get("sandbox")
    if node is None or isinstance(node, Scalar):
        settings = replace(default, kind=top.word("sandbox", words, default.kind))
    else:
        inner = top.inner("sandbox")
        if inner is None:
            return default
        inner.only(SANDBOX_KEYS)
        settings = SandboxSettings(
            kind=inner.word("kind", words, default.kind),
            image=inner.text("image"),
            memory_mb=int(inner.number("memory_mb", default.memory_mb, whole=True)),
            processes=int(inner.number("processes", default.processes, whole=True)),
            read=inner.texts("read"),
        )
    if node is not None and settings.kind == "container" and not settings.image:
        cure = "write `sandbox: {kind: container, image: NAME}` with an image that is on this machine"
        top.complain(node, "sandbox: a container needs an image", cure)
    return settings


def _gates(top: Fields) -> GateSettings:
    default, inner = GateSettings(), top.inner("gates")
    if inner is None:
        return default
    inner.only(GATE_KEYS)
    minutes = inner.number("timeout_min", 0, above=True)
    deleted = inner.number("max_deleted_files", default.max_deleted_files, whole=True)
    protect = tuple(_pattern(inner, "protect", text) for text in inner.texts("protect"))
    return GateSettings(
        clean_checkout=inner.flag("clean_checkout"),
        timeout_s=minutes * 60 or None,
        protect=protect,
        max_deleted_files=int(deleted),
        doctor=inner.text("doctor").strip(),
        prove_doctor=inner.flag("prove_doctor", default.prove_doctor),
        doctor_probe=_probe(inner),
        prove_tests=tuple(_pattern(inner, "prove_tests", text) for text in inner.texts("prove_tests")),
    )


def _audit(gates: Fields | None, builder: AgentSettings) -> tuple[AgentSettings | None, int]:
    """The agent that judges the work of *builder*, none where no audit is wanted, and how often it may reject."""
    rounds = Rules().audit_rounds
    inner = gates.inner("audit") if gates is not None else None
    if inner is None:
        return None, rounds
    inner.only(AUDIT_KEYS)
    agent = _agent(inner, "agent", builder)
    agent = replace(agent, model=inner.text("model", agent.model), effort=inner.text("effort", agent.effort))
    return agent, int(inner.number("rounds", rounds, whole=True, least=1))


def _pattern(parent: Fields, key: str, text: str) -> str:
    """A pattern of files below the top folder; ``./`` at its start means the same as nothing."""
    pattern = text.strip().removeprefix("./")
    node = parent.node.get(key)
    if node is not None and (not pattern or pattern.startswith("/") or ".." in pattern.split("/")):
        cure = "name files below the project's folder, such as `tests/**` or `*.lock`"
        parent.complain(node, f"{key}: {text[:80]!r} names no file of the project", cure)
    return pattern


def _probe(gates: Fields) -> str:
    """The one file that a fault is planted in, by its path from the top folder on."""
    node, text = gates.node.get("doctor_probe"), gates.text("doctor_probe").strip()
    path = text.removeprefix("./")
    parts = path.split("/")
    if node is not None and (not path or path.endswith("/") or {"", "..", ".", ".git"} & set(parts)):
        cure = "name one tracked file below the top folder, such as `src/main.py`"
        gates.complain(node, f"doctor_probe: {text[:80]!r} names no file of the project", cure)
    return path


def _workspace(top: Fields) -> WorkspaceSettings:
    default, inner = WorkspaceSettings(), top.inner("workspace")
    if inner is None:
        return default
    inner.only((*WORKSPACE_KEYS, *CONTAINER_KEYS))
    kind = inner.word("kind", {name: name for name in WORKSPACES}, default.kind)
    repo = inner.text("repo").strip()
    if kind != "inplace" and not repo:
        inner.complain(inner.node, f"kind {kind} needs repo", "add `repo: PATH`, the top folder of a git repository")
    for name in ("repo", "base", "target"):
        node = inner.node.get(name)
        if node is not None and kind == "inplace":
            inner.complain(
                node, f"{name} is only for workspaces of a repository", "add `kind: worktree`, or take it out"
            )
    for name in CONTAINER_KEYS:
        node = inner.node.get(name)
        if node is not None and kind != "container":
            inner.complain(node, f"{name} is only for kind container", "write `kind: container`, or take it out")
    minutes = inner.number("setup_timeout_min", default.setup_timeout_s / 60, above=True)
    return WorkspaceSettings(
        kind=kind,
        repo=repo,
        base=_ref(inner, "base"),
        target=_ref(inner, "target"),
        setup=inner.texts("setup"),
        setup_timeout_s=minutes * 60,
        container=read_container(inner),
    )


def _ref(parent: Fields, key: str) -> str:
    """The name of a branch (or, as a base, of a commit)."""
    name, node = parent.text(key).strip(), parent.node.get(key)
    if node is not None and (name.startswith("-") or re.search(r"[\s\0]|\.\.", name)):
        parent.complain(node, f"{key}: {name[:80]!r} is no name of a branch", "`git branch` lists their names")
    return name


def _budget(top: Fields) -> tuple[Budget, tuple[int, int]]:
    """The budget, and where its first limit on cost stands."""
    scopes = top.inner("budget")
    if scopes is None:
        return Budget(), (0, 0)
    scopes.only(SCOPES)
    found: dict[str, Limits] = {}
    costs: list[int] = []
    for scope in SCOPES:
        inner = scopes.inner(scope)
        if inner is None:
            continue
        inner.only(AMOUNTS)
        found[scope] = Limits(**{name: _amount(inner, name) for name in AMOUNTS})
        cost = inner.node.get("cost_usd")
        costs += [cost.start] if cost is not None else []
    return Budget(**found), place(top.source.text, min(costs)) if costs else (0, 0)


def _amount(inner: Fields, name: str) -> Any:
    if name in COUNTED:
        return inner.number(name, None, whole=True, least=1)
    return inner.number(name, None, above=True)


def _push(top: Fields) -> PushSettings:
    default, inner = PushSettings(), top.inner("push")
    if inner is None:
        return default
    inner.only(PUSH_KEYS)
    remote, branches = inner.text("remote", default.remote).strip(), inner.texts("branches")
    if not branches:
        inner.complain(inner.node, "no branch is named", "add `branches: [main]`, or patterns such as `release/*`")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", remote):
        inner.complain(inner.node, f"{remote[:80]!r} is no name of a remote", "`git remote` lists their names")
    workspace = top.node.get("workspace")
    kind = workspace.get("kind") if isinstance(workspace, Mapping) else None
    if not isinstance(kind, Scalar) or kind.value not in WORKSPACES[1:]:
        cure = "add `workspace: {kind: worktree, repo: PATH}`, or take `push` out"
        inner.complain(inner.node, "there is no branch that work lands on", cure)
    return PushSettings(remote, branches)


def _notify(top: Fields) -> tuple[str, ...]:
    """The addresses; what is wrong with one is told by its place in the list, for it may hold a secret."""
    addresses = top.texts("notify")
    node = top.node.get("notify")
    items = node.items if isinstance(node, Sequence) else [node]
    for number, (address, item) in enumerate(zip(addresses, items, strict=False), start=1):
        if item is not None and not _ADDRESS.fullmatch(address):
            cure = "write it as the library apprise does, such as `mailto://...` or `json://localhost:8000`"
            top.complain(item, f"entry {number} of notify is no address", cure)
    return addresses
