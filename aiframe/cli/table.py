"""All commands: what each is for, an example, its options, and where its code is. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

Options = Callable[[argparse.ArgumentParser], None]

FIRST = ("init", "tick", "watch", "status", "answer")
"""The commands to start with."""

SETTINGS = ("interactive_mode", "plan_locked", "review_every_n_tasks", "require_confirmations", "timeout_sec")
"""What `aiframe set` may change."""


class Command(NamedTuple):
    """One command. *code* is ``module:function`` below aiframe.cli; the function takes the parsed arguments."""

    name: str
    group: str
    summary: str
    examples: tuple[str, ...]
    code: str
    options: Options
    more: str = ""


def _none(parser: argparse.ArgumentParser) -> None:
    pass


def _frame(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frame", metavar="DIR", help="the frame (default: AIFRAME_FRAME, else the one you are in)")


def _project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", metavar="P", help="path or name of the project (default: the one you are in)")
    _frame(parser)


def _one_or_all(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--project", metavar="P", help="path or name of the project (default: the one you are in)")
    which.add_argument("--all", action="store_true", help="every project of the frame")
    _frame(parser)


def _new_frame(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", metavar="DIR", help="the folder; it is made where it is missing")


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="default: project-YYYYMMDD-HHMMSS")
    parser.add_argument("--idea", metavar="FILE", help="a text that says what you want; - reads standard input")
    parser.add_argument("--agent", metavar="NAME", help="the agent to work with (default: one that is installed)")
    parser.add_argument("--repo", metavar="PATH", help="work for this git repository: each task in a worktree of it")
    parser.add_argument(
        "--workspace", choices=("worktree", "clone", "container"), help="in which kind of workspace (default: worktree)"
    )
    parser.add_argument(
        "--base", metavar="NAME", help="what that work starts from (default: what is checked out there)"
    )
    parser.add_argument("--create-base", action="store_true", help="make that branch where there is none")
    parser.add_argument(
        "--from", metavar="FILE", dest="old", help='take over a configuration of "Task Orchestrator", and its .tasks/'
    )
    parser.add_argument(
        "--unattended", action="store_true", help="no interview, reviews and questions (interactive_mode off)"
    )
    _frame(parser)


def _plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", metavar="FILE", required=True, help="the plan: a text or Markdown file in UTF-8")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--append", action="store_true", help="keep the tasks that are there, and add to them")
    what.add_argument("--replace", action="store_true", help="have a new plan take the place of the one that is there")
    parser.add_argument("--yes", action="store_true", help="with --replace: take the new plan without asking")
    _project(parser)


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", metavar="DIR", help="a new folder to play in (default: a temporary one, which stays)")


def _record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--record", metavar="FILE", help="add what the agent does to FILE, which `scripted` plays")


def _tick(parser: argparse.ArgumentParser) -> None:
    _one_or_all(parser)
    _record(parser)
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the step to end")
    parser.add_argument("--json", action="store_true", help="print one JSON object; progress goes to standard error")


def _run(parser: argparse.ArgumentParser) -> None:
    _project(parser)
    parser.add_argument(
        "--parallel", metavar="N", type=count, help="most tasks at once (default: PROJECT.yaml, else 1)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would start, in which order, and start nothing"
    )


def _watch(parser: argparse.ArgumentParser) -> None:
    _one_or_all(parser)
    _record(parser)
    parser.add_argument(
        "--interval", metavar="SECONDS", type=seconds, default=10.0, help="look at least this often (default: 10)"
    )
    parser.add_argument(
        "--unattended",
        action="store_true",
        help="put reviews off while other tasks can go on; `aiframe digest` lists them",
    )
    parser.add_argument("--parallel", metavar="N", type=count, help="most steps at once (default: number of cores)")


def _status(parser: argparse.ArgumentParser) -> None:
    _project(parser)
    parser.add_argument("--tail", metavar="N", type=whole, help="lines of the log (default: STATUS_TAIL, else 50)")
    _language(parser)
    parser.add_argument("--watch", metavar="SECONDS", type=seconds, help="show it again every so many seconds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _why(parser: argparse.ArgumentParser) -> None:
    _project(parser)
    _language(parser)


def _language(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lang", choices=("en", "zh"), help="language (default: STATUS_LANG, else en)")


def _answer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", nargs="?", help="the question to answer (see `aiframe questions`)")
    parser.add_argument("text", metavar="TEXT", nargs="*", help="the answer to it, or the number of a choice")
    parser.add_argument("--done", action="store_true", help="go on with the answers as they are")
    _project(parser)


def _questions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    _project(parser)


def _approve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", nargs="*", help="held work to take (default: all of the review)")
    parser.add_argument("--notes", metavar="TEXT", default="", help="words to keep with the approval")
    _project(parser)


def _undo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="the task to take back")
    _project(parser)


def _reject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--notes", metavar="TEXT", required=True, help="what has to change; the agent reads it")
    parser.add_argument("--task", metavar="T", action="append", default=[], help="a task to send back; may be repeated")
    _project(parser)


def _resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--now", action="store_true", help="cut a waiting time short, too")
    _project(parser)


def _interrupt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--now", action="store_true", help="stop the step that runs, too")
    _project(parser)


def _retry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", nargs="?", default="", help="default: every failed task")
    _project(parser)


def _done(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", nargs="?", default="", help="default: whatever is in your hands")
    _record(parser)
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the checks")
    parser.add_argument("--json", action="store_true", help="print one JSON object; progress goes to standard error")
    _project(parser)


def _accept(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--diff", action="store_true", help="only show what would change")
    what.add_argument("--discard", action="store_true", help="drop the changes instead")
    parser.add_argument("file", metavar="FILE", nargs="*", help="what to take (default: TASKS.yaml; see `aiframe why`)")
    _project(parser)


def _set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("values", metavar="KEY=VALUE", nargs="*", help=f"one of {', '.join(SETTINGS)}; none: show them")
    _project(parser)


def _note(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", nargs="+", help="what you want to say")
    parser.add_argument("--task", metavar="T", default="", help="only to this one of the tasks that are at work")
    _project(parser)


def _logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", metavar="T", default="", help="only what belongs to this task")
    parser.add_argument("--run", metavar="ID", help="only this run (default: the last one)")
    parser.add_argument(
        "--event", metavar="NAME", action="append", default=[], help="only events of this name, such as 'gate_*'"
    )
    parser.add_argument("--since", metavar="WHEN", help="from then on: an age (30m, 2h, 1d), a date or a time")
    parser.add_argument("--until", metavar="WHEN", help="up to then")
    parser.add_argument("--tail", metavar="N", type=count, help="only the last N lines")
    parser.add_argument("--follow", action="store_true", help="go on until the project rests, or Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print the lines as they are: one JSON object each")
    _project(parser)


def _events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    _project(parser)


def _history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", nargs="?", default="", help="only the runs of this task")
    parser.add_argument("--tail", metavar="N", type=count, help="only the last N runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _project(parser)


def _digest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="WHEN", default="1d", help="an age (12h, 2d) or a date (default: 1d)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _project(parser)


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", help="where to write it (default: logs/report.html of the project)")
    _project(parser)


def _bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", help="where to write it (default: a new file in logs/ of the project)")
    _project(parser)


def _clean(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", metavar="ID", help="only what this run left (`aiframe history` lists them)")
    parser.add_argument("--older-than", metavar="DAYS", type=whole, help="only logs of runs that ended before that")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and touch nothing")
    _project(parser)


def _image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", metavar="build", choices=("build",), help="build it, by templates/worker.Containerfile")
    parser.add_argument("--base", metavar="IMAGE", help="what it starts from (default: what the file says)")
    parser.add_argument("--engine", choices=("podman", "docker"), help="which engine (default: the first that works)")
    _project(parser)


def _schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", choices=("tasks", "project", "state"), help="tasks, project or state")


# What the options hold ------------------------------------------------------------------------------------------------


def seconds(text: str) -> float:
    """A time above 0 and at most a day, in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds between 0 and 86400")
    return value


def whole(text: str) -> int:
    """A whole number from 0 to 100000."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 6 and int(text) <= 100_000):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number between 0 and 100000")
    return int(text)


def count(text: str) -> int:
    """A whole number from 1 to 100000."""
    if whole(text) == 0:
        raise argparse.ArgumentTypeError("0 would do nothing: use 1 or more")
    return int(text)


# The table ------------------------------------------------------------------------------------------------------------

_P = " --project my-project"

COMMANDS = (
    Command(
        "init", "Begin", "make a project",
        ("aiframe init my-project --idea idea.md", "aiframe init --repo ~/src/my-app"), "making:init", _init,
    ),
    Command(
        "plan", "Begin", "fill TASKS.yaml from an implementation plan",
        ("aiframe plan --input plan.md" + _P, "aiframe plan --input more.md --append"), "planning:plan", _plan,
        "The file becomes SPEC.md, and PO plans from it, without an interview.\n"
        "Exit code: 0 there is a plan, or a question to you; 1 there is none, or the old one stays; 2 a wrong call.",
    ),
    Command("frame", "Begin", "lay a new frame", ("aiframe frame my-frame",), "making:frame", _new_frame),
    Command("demo", "Begin", "play everything once, without any agent", ("aiframe demo",), "making:demo", _demo),
    Command(
        "tick", "Work", "look once, and do what is due",
        ("aiframe tick" + _P, "aiframe tick --all --no-wait"), "working:tick", _tick,
        "Exit code: 0 done or nothing to do, 1 a step failed or the project is in ERROR, 2 it could not look.\n"
        "Ctrl-C leaves the step running; a second Ctrl-C within 3 s stops it.",
    ),
    Command(
        "run", "Work", "go on until it is done or waits for you",
        ("aiframe run" + _P, "aiframe run --parallel 4" + _P, "aiframe run --dry-run" + _P), "running:run", _run,
        "With `parallel: N` in PROJECT.yaml, or --parallel, tasks are worked at side by side, each in a workspace of\n"
        "its own, as far as their locks let them. Ctrl-C leaves the steps running: the next run takes them up again.",
    ),
    Command(
        "watch", "Work", "tick whenever something changes",
        ("aiframe watch" + _P, "aiframe watch --all --parallel 4", "aiframe watch --all --unattended"),
        "working:watch", _watch,
    ),
    Command(
        "status", "Look", "show where a project stands",
        ("aiframe status" + _P, "aiframe status --lang zh --watch 1"), "looking:status", _status,
    ),
    Command("why", "Look", "what it waits for, and what to do", ("aiframe why" + _P,), "looking:why", _why),
    Command(
        "logs", "Look", "print what steps printed, and what happened",
        ("aiframe logs --follow" + _P, "aiframe logs --task T3 --since 2h", "aiframe logs --event 'gate_*' --json"),
        "logs:logs", _logs,
        "Without a filter it is the readable log of the last run. With one, or with tasks side by side, it is all\n"
        "that was logged, in the order of time; filters combine. docs/logs.md lists events and fields.",
    ),
    Command("events", "Look", "print what has happened", ("aiframe events" + _P,), "looking:events", _events),
    Command(
        "history", "Look", "every run: outcome, time, tokens, cost, commit",
        ("aiframe history" + _P, "aiframe history T3", "aiframe history --tail 20 --json"), "records:history", _history,
        'What an agent does not tell is "unknown", and never counts as 0.',
    ),
    Command(
        "digest", "Look", "what was done, and what waits for you",
        ("aiframe digest --since 12h" + _P, "aiframe digest --since 2026-05-01 --json"), "records:digest", _digest,
    ),
    Command(
        "report", "Look", "write one page with pictures of all runs",
        ("aiframe report" + _P, "aiframe report --out report.html"), "records:report", _report,
        "The page needs no network and holds no script.",
    ),
    Command(
        "bundle", "Other", "pack a file for a bug report",
        ("aiframe bundle" + _P, "aiframe bundle --out bug.tar.gz"), "records:bundle", _bundle,
        "It holds the project's state, plan and settings, its events, and logs and results of the last runs, without\n"
        "secrets. It never holds files of the product or the environment. Look into it before you send it.",
    ),
    Command("doctor", "Look", "try out what aiframe needs", ("aiframe doctor",), "looking:doctor", _project),
    Command(
        "answer", "Decide", "answer the interview, or an agent's question",
        ("aiframe answer" + _P, "aiframe answer --done", 'aiframe answer Q1 "SQLite is fine"'),
        "answering:answer", _answer,
        "On a terminal it opens the form in $VISUAL or $EDITOR, or asks one question after the other.",
    ),
    Command(
        "questions", "Decide", "list what waits for your answer",
        ("aiframe questions" + _P, "aiframe questions --json"), "answering:questions", _questions,
    ),
    Command(
        "approve", "Decide", "say yes to a review, or to held work", ("aiframe approve" + _P, "aiframe approve T2"),
        "acting:approve", _approve,
    ),
    Command(
        "reject", "Decide", "send reviewed work back",
        ('aiframe reject --notes "the totals are wrong" --task T2',), "acting:reject", _reject,
    ),
    Command("undo", "Decide", "take the work of a task back", ("aiframe undo T2",), "acting:undo", _undo),
    Command(
        "accept", "Decide", "take changes that a step may not make",
        ("aiframe accept --diff", "aiframe accept", "aiframe accept AGENTS.md"), "acting:accept", _accept,
    ),
    Command(
        "done", "Decide", "hand in what you did by hand (agent: human)", ("aiframe done", "aiframe done T1" + _P),
        "working:done", _done,
        "Exit code: 0 it passed, 1 the checks found something (`aiframe why` and notes/prompt.md say what).",
    ),
    Command("note", "Decide", "tell the next step something", ('aiframe note "use tabs"',), "acting:note", _note),
    Command("pause", "Steer", "start no further step", ("aiframe pause" + _P,), "acting:pause", _project),
    Command(
        "resume", "Steer", "go on from a pause, an error or the end",
        ("aiframe resume" + _P, "aiframe resume --now"), "acting:resume", _resume,
    ),
    Command(
        "interrupt", "Steer", "stop before the next step, for a talk",
        ("aiframe interrupt", "aiframe interrupt --now"), "acting:interrupt", _interrupt,
    ),
    Command("continue", "Steer", "go on after an interrupt", ("aiframe continue" + _P,), "acting:go_on", _project),
    Command("stop", "Steer", "end the step that runs, and pause", ("aiframe stop" + _P,), "acting:stop", _project),
    Command("retry", "Steer", "try a failed task again", ("aiframe retry T3",), "acting:retry", _retry),
    Command("replan", "Steer", "have the plan made again", ("aiframe replan" + _P,), "acting:replan", _project),
    Command(
        "set", "Steer", "change a setting of STATE.json",
        ("aiframe set interactive_mode=false", "aiframe set timeout_sec=3600"), "acting:set_values", _set,
    ),
    Command(
        "notify", "Other", "send a test notice to your addresses",
        ("aiframe notify" + _P,), "records:notify", _project,
        "Addresses: `notify: [URL...]` in PROJECT.yaml, as the library apprise writes them; ${NAME} becomes that\n"
        "variable. They get a notice of waits, errors and the end. It needs: pip install 'aiframe[notify]'",
    ),
    Command(
        "clean", "Other", "take away what finished runs left",
        ("aiframe clean --dry-run" + _P, "aiframe clean --older-than 7", "aiframe clean --run ID"),
        "cleaning:clean", _clean,
        "It removes logs, workspaces, containers and backup refs of tasks that are over, and says of all else why it\n"
        "stays. Work that is in no branch stays, and so does what runs, waits for you, or tells what was spent.\n"
        "Exit code: 0 it is clean, 1 the run that you named stays.",
    ),
    Command(
        "image", "Other", "build the image that agents work in (kind container)",
        ("aiframe image build" + _P, "aiframe image build --base my-toolchain:3"), "making:image", _image,
        "A frame may have a templates/worker.Containerfile of its own. The image is named as PROJECT.yaml says.",
    ),
    Command("schema", "Other", "print a JSON Schema for editors", ("aiframe schema tasks",), "looking:schema", _schema),
    Command("version", "Other", "print the version", ("aiframe version",), "looking:version", _none),
)  # fmt: skip

NAMES = tuple(command.name for command in COMMANDS)
