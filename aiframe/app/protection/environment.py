"""Which environment variables a child process gets: an agent those that it needs, a gate none that opens anything.

Everything else stays here: a shell's environment holds the keys of services that have nothing to do with the project.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from aiframe.agents.configured import configured_variables
from aiframe.app.project.site import Site
from aiframe.app.protection.secrets import is_secret
from aiframe.core.ports import Agent

COMMON = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "NO_COLOR", "TMPDIR", "XDG_*",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
"""Patterns of the variables that every child may have: where things are, the language, the way to the network."""
_WILD = frozenset("*?[")
"""A pattern without these is a plain name: to look it up takes a hundredth of what matching takes."""


def agent_environment(site: Site, agent: Agent) -> dict[str, str]:
    """What an agent gets: the common variables, its own, those that its configuration or PROJECT.yaml names."""
    return chosen(site.environ, agent_patterns(site, agent))


def agent_patterns(site: Site, agent: Agent) -> tuple[str, ...]:
    """The patterns of the variables that *agent* gets."""
    own = tuple(getattr(agent, "variables", ()))  # an agent of somebody else's may be older than this attribute
    return (*COMMON, *own, *configured_variables(agent.name, site.environ), *site.settings.env)


def gate_environment(site: Site) -> dict[str, str]:
    """What a gate gets: the common variables and those that PROJECT.yaml names, and of these no secret at all.

    A verify command may have been written by an agent. A proxy's address with a password in it is a secret, too.
    """
    found = chosen(site.environ, (*COMMON, *site.settings.env))
    return {name: value for name, value in found.items() if not is_secret(name, value)}


def withheld_from_gates(site: Site) -> tuple[str, ...]:
    """The variables that PROJECT.yaml names and that a gate does not get all the same."""
    return tuple(name for name in site.settings.env if is_secret(name, site.environ.get(name, "")))


def names_set(site: Site, agent: Agent) -> tuple[str, ...]:
    """The variables that are set and that *agent* gets beyond the common ones."""
    common = chosen(site.environ, COMMON)
    return tuple(sorted(name for name in agent_environment(site, agent) if name not in common))


def chosen(environ: Mapping[str, str], patterns: Iterable[str]) -> dict[str, str]:
    """The variables of *environ* whose names one of *patterns* fits."""
    wanted = tuple(patterns)
    plain = frozenset(each for each in wanted if _WILD.isdisjoint(each))
    wild = [each for each in wanted if each not in plain]
    return {
        name: value for name, value in environ.items() if name in plain or any(fnmatchcase(name, each) for each in wild)
    }
