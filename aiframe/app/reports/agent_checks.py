"""Whether the agents that are wanted are there and logged in, and which variables they get."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

from aiframe.agents import find_agent, known_agents
from aiframe.agents.probe import Probe, cautions, describe, kept_logins
from aiframe.app.attempts.underway import works_in_container
from aiframe.app.project.site import open_site
from aiframe.app.protection.environment import names_set, withheld_from_gates
from aiframe.app.reports.machine_checks import PATIENCE_S, Finding, path_of
from aiframe.core.errors import AiframeError
from aiframe.process import capture
from aiframe.store.agent_settings import DEFAULT_AGENT


def check_environment(root: Path, environ: Mapping[str, str]) -> list[Finding]:
    """Which variables leave this process, by their names: to each agent, and none of the secret ones to the checks."""
    site = open_site(root, environ)
    findings = []
    for name in sorted(agents_in_use(root, environ) & set(known_agents())):
        names = names_set(site, find_agent(name, {}))
        told = ", ".join(names) or "none of its own is set"
        findings.append(Finding("environment", True, f"{name} gets the common variables, and: {told}"))
    missing = [name for name in site.settings.env if name not in environ]
    if missing:
        cure = "set them where aiframe is started, or take them out of `env` in PROJECT.yaml"
        findings.append(Finding("environment", None, f"named in PROJECT.yaml and not set: {', '.join(missing)}", cure))
    withheld = withheld_from_gates(site)
    if withheld:
        detail = f"verify commands do not get {', '.join(withheld)}: they look like secrets"
        findings.append(Finding("environment", None, detail, "if a check needs it, let it read a file of its own"))
    return findings


def agents_in_use(project: Path | None, environ: Mapping[str, str]) -> frozenset[str]:
    """The agents that *project* names; empty where its settings cannot be read, which is told elsewhere."""
    try:
        settings = open_site(project, environ).settings if project else None
    except AiframeError:
        return frozenset()
    named = settings.all_agents if settings else ()
    return frozenset(agent.name for first in named for agent in first.chain)


def is_contained(project: Path | None, environ: Mapping[str, str]) -> bool:
    """Whether the agents of *project* are needed in the image of its containers, and not here."""
    try:
        return project is not None and works_in_container(open_site(project, environ))
    except AiframeError:
        return False


def check_agents(folder: Path, in_use: frozenset[str], environ: Mapping[str, str], contained: bool) -> list[Finding]:
    """Each agent that aiframe knows (none where they are *contained*), and those that PROJECT.yaml names in vain."""
    findings = []
    for probe in () if contained else (describe(name) for name in known_agents()):
        if not probe.program:
            continue
        try:
            findings += _agent(probe, folder, environ, in_use)
        except AiframeError as error:  # hangs, or is no program after all
            ok = False if probe.name in _wanted(in_use) else None
            findings.append(Finding(probe.name, ok, error.message, error.hint))
    unknown = sorted(in_use - set(known_agents()))
    cure = f"correct PROJECT.yaml; known agents: {', '.join(known_agents())}"
    return findings + [Finding(name, False, "is no agent that aiframe knows", cure) for name in unknown]


def _wanted(in_use: frozenset[str]) -> frozenset[str]:
    """The agents whose faults count; where no project names one that is the default."""
    return in_use or frozenset({DEFAULT_AGENT})


def _agent(probe: Probe, folder: Path, environ: Mapping[str, str], in_use: frozenset[str]) -> list[Finding]:
    """Starts the agent's program, and asks it for its login."""
    needed = probe.name in in_use
    if shutil.which(probe.program, path=path_of(environ)) is None:
        demo = "" if needed else "; `aiframe demo` needs none"
        missing = Finding(probe.name, False if needed else None, "was not found on PATH", probe.how_to_install + demo)
        return [missing]
    said = capture(probe.version_argv, cwd=folder, env=environ, timeout_s=probe.patience_s)
    lines = said.out.decode(errors="replace").strip().splitlines() or ["(it printed nothing)"]
    if said.code:
        detail = f"`{' '.join(probe.version_argv)}` ended with {said.code}"
        return [Finding(probe.name, False, detail, f"install it again: {probe.how_to_install}")]
    cures = [Finding(f"{probe.name} set-up", False, *_halves(caution)) for caution in cautions(probe.name, environ)]
    return [
        Finding(probe.name, True, lines[-1]),
        *cures,
        *_login(probe, folder, environ, needed=probe.name in _wanted(in_use)),
    ]


def _halves(caution: str) -> tuple[str, str]:
    """What is wrong, and what to do: a caution tells both in one sentence."""
    detail, _, cure = caution.rpartition("; ")
    return (detail, cure) if detail else (cure, "")


def _login(probe: Probe, folder: Path, environ: Mapping[str, str], *, needed: bool) -> list[Finding]:
    """What is known about the agent's login; only for an agent that is wanted it is a fault to have none."""
    name = f"{probe.name} login"
    key = next((key for key in probe.keys if environ.get(key)), None)
    if key:
        return [Finding(name, True, f"{key} is set")]
    kept = kept_logins(probe.name, environ)
    if kept is not None:
        found = Finding(name, True, f"for {', '.join(kept)}"[:200])
        nothing = "none kept; a provider in its own configuration may need none"
        return [found if kept else Finding(name, None, nothing, probe.how_to_log_in)]
    if probe.login_argv is None:
        return []
    # What it prints is not shown: it may contain a part of a key.
    if capture(probe.login_argv, cwd=folder, env=environ, timeout_s=PATIENCE_S).code == 0:
        return [Finding(name, True, f"`{' '.join(probe.login_argv)}` says yes")]
    provider = _own_provider(environ) if probe.name == "codex" else ""
    if provider:
        return [
            Finding(name, None, f"none, but its config.toml names the model provider {provider}", probe.how_to_log_in)
        ]
    half = probe.name == "codex" and environ.get("OPENAI_API_KEY")
    detail = "none, and OPENAI_API_KEY alone is not enough" if half else "none"
    return [Finding(name, False if needed else None, detail, probe.how_to_log_in)]


def _own_provider(environ: Mapping[str, str]) -> str:
    """The model provider that codex's own configuration names: such a one may need no login."""
    home = Path(environ.get("CODEX_HOME") or Path(environ.get("HOME", "/"), ".codex"))
    try:
        return str(tomllib.loads((home / "config.toml").read_text()).get("model_provider", ""))
    except (OSError, ValueError):
        return ""
