"""`frame`, `init`, `demo` and `image`: what makes folders, and the image that agents work in."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import Namespace
from pathlib import Path

from aiframe.cli import where
from aiframe.cli.reporting import harmless
from aiframe.core.errors import UsageError


def frame(args: Namespace) -> int:
    """Lay a new frame, or what is missing in one."""
    from aiframe.app.making.frame import lay_frame

    laid = lay_frame(where.here() / Path(args.dir).expanduser())
    print(f"laid {laid.root}: {len(laid.created)} files made")
    if laid.kept:
        print(f"  kept as they are, though other than the packaged ones: {', '.join(laid.kept)}")
    print(f"next: cd {shlex.quote(args.dir)} && aiframe init my-project --idea idea.md")
    return 0


def init(args: Namespace) -> int:
    """Make a project, and say how to go on."""
    from aiframe.app.making.init import init_project
    from aiframe.process import now

    sandbox, notes = _sandbox()
    report = init_project(
        where.frame(args),
        args.name,
        idea=_idea(args.idea),
        agent=args.agent,
        interactive=not args.unattended,
        sandbox=sandbox,
        clock=now(),
        cwd=where.here(),
        environ=os.environ,
        repo=where.here() / Path(args.repo).expanduser() if args.repo else None,
        base=args.base or "",
        workspace=args.workspace or "",
        create_base=args.create_base,
        old=where.here() / Path(args.old).expanduser() if args.old else None,
    )
    print(f"made {report.path} (agent: {report.agent})")
    for note in (*report.notes, *notes):
        print(harmless(f"  note: {note}"))
    print("next:")
    for command in report.next_commands:
        print(f"  {command}")
    return 0


def _sandbox() -> tuple[str, tuple[str, ...]]:
    """What PROJECT.yaml is to say of the sandbox, and what the person should know.

    Only a person at a terminal can do without one.
    """
    from aiframe.app.protection.sandboxing import sandbox_problem

    problem = sandbox_problem(os.environ)
    if not problem:
        return "auto", ()
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        print(f"{problem}.\nAn agent may write verify commands. Let them run here with your own rights?")
        if _yes("type yes for `sandbox: none`, or press Enter to see to a sandbox later: "):
            return "none", ()
    return "auto", (f"{problem}: the first task will stop there; `aiframe doctor` names the ways out",)


def _yes(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _idea(option: str | None) -> Path | str | None:
    if option is None:
        return None
    if option != "-":
        return where.here() / Path(option).expanduser()
    if sys.stdin is None:
        raise UsageError("--idea - reads standard input, and there is none", hint="name a file: --idea idea.md")
    return sys.stdin.buffer.read(2 * 1024 * 1024).decode("utf-8", "surrogateescape")


def image(args: Namespace) -> int:
    """Build the image that agents work in, and say what it has."""
    from aiframe.app.making.image import build_image
    from aiframe.app.project.site import open_site

    project = where.project_if_any(args)
    site = open_site(project, os.environ) if project is not None else None
    built = build_image(where.frame_if_any(args), site, os.environ, base=args.base or "", engine=args.engine or "")
    print(f"{built.engine} has the image {built.name}, made by {built.file}")
    print(f"  agents in it: {', '.join(built.has) or 'none'}")
    if built.lacks:
        print(f"  not in it: {', '.join(built.lacks)}")
    return 0


def demo(args: Namespace) -> int:
    """Play everything once."""
    from aiframe.app.making.demo import run_demo

    return run_demo(Path(args.dir).expanduser() if args.dir else None, os.environ, _say, where.here())


def _say(line: str) -> None:
    print(line, flush=True)
