"""Projects of the tests' own, driven from outside: by files, as a person would, and by ``python -m aiframe``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.copies import can_copy, copier
from support.netns import entered

DEADLINE_S = 60.0
"""How long anything that is waited for may take; on an idle machine it takes a small part of that."""

Turn = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All that a person saw."""
        return self.out + self.err


@dataclass(frozen=True, slots=True)
class Bench:
    """A project in the folder *root*. Commands run with *env*, behind *prefix* (to be in another network)."""

    root: Path
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    prefix: tuple[str, ...] = ()

    # What a person does

    def run(self, *words: str, cwd: Path | None = None, **env: str) -> Ran:
        """``aiframe WORDS``, as a process of its own, to its end."""
        place, its_env = cwd or self.root, {**self.env, **env}
        network_of = entered(self.prefix)
        if bool(network_of) is bool(self.prefix) and can_copy() and copier().fits(words, its_env):
            code, out, err = copier().run(words, place, its_env, DEADLINE_S * 2, network_of)
        else:
            ended = subprocess.run(
                self.argv(*words), cwd=place, env=its_env, stdin=subprocess.DEVNULL, capture_output=True,
                timeout=DEADLINE_S * 2, check=False,
            )  # fmt: skip
            code, out, err = ended.returncode, ended.stdout, ended.stderr
        return Ran(code, out.decode(errors="replace"), err.decode(errors="replace"))

    def argv(self, *words: str) -> list[str]:
        """The command line of ``aiframe WORDS``."""
        return [*self.prefix, sys.executable, "-m", "aiframe", *words]

    def do(self, verb: str, *words: str, **env: str) -> Ran:
        """``aiframe VERB --project HERE WORDS``."""
        return self.run(verb, "--project", str(self.root), *words, cwd=None, **env)

    def tick(self, *words: str, **env: str) -> Ran:
        """One tick, to the end of what it started."""
        return self.do("tick", *words, **env)

    def edit_state(self, **fields: Any) -> None:
        """Write *fields* into STATE.json as a person with an editor does."""
        self.write("STATE.json", json.dumps({**self.state, **fields}, indent=2) + "\n")

    def write(self, name: str, content: str | bytes) -> Path:
        """Make or replace the file *name*."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    # What there is to see

    def text(self, name: str) -> str:
        """The text of the file *name*; empty where there is none."""
        path = self.root / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def state(self) -> dict[str, Any]:
        """STATE.json."""
        return dict(json.loads(self.text("STATE.json")))

    @property
    def where(self) -> str:
        """The state's name."""
        return str(self.state["state"])

    @property
    def control_dir(self) -> Path:
        """aiframe's own folder."""
        return self.root / ".git" / "aiframe"

    @property
    def control(self) -> dict[str, Any]:
        """What the control record says of the project."""
        return dict(json.loads((self.control_dir / "control.json").read_bytes())["project"])

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of the journal."""
        return [json.loads(line) for line in self.text("logs/events.ndjson").splitlines()]

    def ended(self) -> list[tuple[str, str, str]]:
        """Each step that ended: role, outcome, state after."""
        return [(e["role"], e["outcome"], e["state_after"]) for e in self.events if e["kind"] == "step_ended"]

    def runs(self) -> list[Path]:
        """The folders of the runs, in the order in which they began."""
        return [self.root / "logs" / "runs" / e["run_id"] for e in self.events if e["kind"] == "step_started"]

    def prompts(self) -> list[str]:
        """The prompts of the runs that asked an agent, in their order."""
        paths = [run / "prompt.md" for run in self.runs()]
        return [path.read_text(encoding="utf-8") for path in paths if path.exists()]

    def results(self) -> list[dict[str, Any]]:
        """What result.json says of each run that left one, in their order."""
        paths = [run / "result.json" for run in self.runs()]
        return [json.loads(path.read_bytes()) for path in paths if path.exists()]

    def log(self) -> str:
        """The readable logs of all steps."""
        paths = sorted((self.root / "logs").glob("tick-*.log"), key=lambda path: path.stat().st_mtime_ns)
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)

    def statuses(self) -> dict[str, str]:
        """The status of each task."""
        import yaml

        return {task["id"]: task.get("status", "todo") for task in yaml.safe_load(self.text("TASKS.yaml"))["tasks"]}

    def quarantined(self) -> list[str]:
        """The names of what was set aside."""
        folder = self.control_dir / "quarantine"
        return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []

    def git(self, *words: str) -> str:
        """What git says in the project."""
        return git(self.root, *words)

    def commits(self) -> list[str]:
        """The subjects of the commits of tasks, the oldest first: bookkeeping and foundations left out."""
        log = self.git("log", "--reverse", "--format=%s%x09%(trailers:key=Aiframe-Task,valueonly,separator=%x2C)")
        return [line.split("\t")[0] for line in log.splitlines() if line.split("\t")[1]]

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Time of change and size of every file of the project, but for the idle stamp."""
        files = [path for path in self.root.rglob("*") if path.is_file() and path != self.control_dir / "idle"]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def git(folder: Path, *words: str) -> str:
    """What git says in *folder*, with an identity of its own."""
    identity = ["-c", "user.name=Per Son", "-c", "user.email=person@example.org"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\n")


def task(task_id: str, *verify: str, **more: Any) -> dict[str, Any]:
    """A task as TASKS.yaml has it; proven by the commands *verify*."""
    return {"id": task_id, "title": f"Task {task_id}", "status": "todo", "verify": list(verify), **more}


def dev(task_id: str = "", **more: Any) -> dict[str, Any]:
    """A DEV turn of the scripted agent."""
    return {"role": "DEV", "task": task_id, "closing": {"summary": "worked"}, **more}


def tasks_yaml(*tasks: Mapping[str, Any]) -> str:
    """TASKS.yaml with *tasks*, one a line."""
    lines = [f"  - {json.dumps(each)}\n" for each in tasks]
    return "version: 1\nproject: shop\ntasks:\n" + "".join(lines) if tasks else "version: 1\ntasks: []\n"


def lay_project(
    folder: Path, *tasks: Mapping[str, Any], turns: Sequence[Turn] = (), agent: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None, name: str = "shop", state: Mapping[str, Any] | str = "DEV_READY",
    settings: Mapping[str, Any] | None = None,
) -> Bench:  # fmt: skip
    """A project made by hand, without `init`: STATE.json, TASKS.yaml, SPEC.md, PROJECT.yaml. Its script lies beside it.

    *state* is the state's name, for an unattended project, or the whole of STATE.json.
    """
    root = folder / name
    root.mkdir(parents=True)
    bench = Bench(root)
    bench.write(
        "STATE.json", json.dumps({"state": state, "interactive_mode": False} if isinstance(state, str) else dict(state))
    )
    bench.write("TASKS.yaml", tasks_yaml(*tasks))
    bench.write("SPEC.md", "# Shop\n\nSells things.\n")
    script = folder / "script.json"
    chosen = dict(agent or {"name": "scripted", "file": str(script)})
    project = {"agent": chosen, "sandbox": "none", "limits": dict(limits or {}), **(settings or {})}
    bench.write("PROJECT.yaml", json.dumps(project, indent=1) + "\n")
    if turns:
        play(bench, turns)
    return bench


def play(bench: Bench, turns: Sequence[Turn]) -> None:
    """Have the scripted agent of *bench* play *turns* from now on."""
    script = bench.root.parent / "script.json"
    script.write_text(json.dumps({"version": 1, "turns": list(turns)}), encoding="utf-8")


def wait_for(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Wait for *condition* to give something true, and return that; fails the test after *deadline_s* seconds."""
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come to pass within {deadline_s:g} s")
        time.sleep(0.05)
    return found


def lock_free(bench: Bench) -> bool:
    """Whether no step is under way."""
    import fcntl

    with (bench.root / ".git" / "aiframe-run.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
