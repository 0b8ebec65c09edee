"""`questions` and `answer`: the interview's form and what agents ask, in an editor, on the terminal or in one line."""

from __future__ import annotations

import json
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable

from msgspec import to_builtins

from aiframe.app import commands
from aiframe.app.lanes.steering import answer_question
from aiframe.app.lanes.steering import questions as open_questions
from aiframe.app.project.answers import OpenQuestion, form_question_ids, open_now, write_answers
from aiframe.app.project.site import Site
from aiframe.cli import where
from aiframe.cli.next_step import then, typed
from aiframe.cli.paint import is_terminal, paint
from aiframe.cli.reporting import harmless
from aiframe.core.errors import UsageError
from aiframe.core.model import State


def questions(args: Namespace) -> int:
    """List the questions that wait for the person."""
    waiting = open_questions(where.site(args))
    if args.json:
        print(json.dumps([to_builtins(question) for question in waiting]))
    elif waiting:
        for question in waiting:
            print(_listed(question))
    else:
        print("No question waits for you.")
    return 0


def _listed(question: OpenQuestion) -> str:
    about = f" about {question.task}" if question.task else " of the interview" if question.in_form else ""
    lines = [f"{question.id}{about}: {question.text}"]
    for number, choice in enumerate(question.choices, start=1):
        lines.append(f"  {number}  {choice}{' (default)' if choice == question.default else ''}")
    if question.default and question.default not in question.choices:
        lines.append(f"  default: {question.default}")
    return harmless("\n".join(lines))


def answer(args: Namespace) -> int:
    """Answer what waits for the person."""
    site = where.site(args)
    if args.done:
        if args.id is not None:
            raise UsageError("--done answers no single question", hint="give the answer first, then --done alone")
        return then(args, commands.answers_done(site))
    on_terminal = is_terminal(sys.stdin) and is_terminal(sys.stdout)
    if args.id is not None and (args.text or not on_terminal):
        return then(args, _answer_one(site, args.id, " ".join(args.text)))
    waiting = open_questions(site)
    if args.id is not None:
        one = tuple(question for question in waiting if question.id == args.id)
        if not one:
            known = ", ".join(question.id for question in waiting) or "none"
            raise UsageError(f"there is no open question {args.id}", hint=f"open questions: {known}")
        return _ask(site, args, one)
    if not waiting:
        print("No question waits for you.")
        return 0
    if not on_terminal:
        return _say_where(site, args, waiting)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if editor and commands.state_of(site) is State.INTAKE_WAITING:
        return _edit(site, args, editor)
    return _ask(site, args, waiting)


def _answer_one(site: Site, question_id: str, text: str) -> str:
    """Answer the form's question of that id, or an agent's."""
    if not text.strip():
        raise UsageError(f"no answer to {question_id} was given", hint=f'aiframe answer {question_id} "your answer"')
    if question_id in form_question_ids(site):
        return write_answers(site, {question_id: text})
    return answer_question(site, question_id, text)


def _say_where(site: Site, args: Namespace, waiting: tuple[OpenQuestion, ...]) -> int:
    """What waits, and how to answer it; for whoever has no terminal."""
    for question in waiting:
        print(f"{question.id}: {harmless(question.shown)}")
    if any(question.in_form for question in waiting):
        print(f"write your answers into {site.layout.answers}, then: {typed('aiframe tick', args)}")
    else:
        print(f"answer with: {typed(f'aiframe answer {waiting[0].id} TEXT', args)}")
    return 0


def _edit(site: Site, args: Namespace, editor: str) -> int:
    from aiframe.process import run_in_terminal

    code = run_in_terminal([*shlex.split(editor), str(site.layout.answers)], cwd=site.root)
    left = len(open_now(site))
    said = "Every question is answered" if not left else f"{left} of the questions have no answer yet"
    return then(args, said if code == 0 else f"The editor ended with {code}. {said}")


def _ask(site: Site, args: Namespace, waiting: tuple[OpenQuestion, ...]) -> int:
    """Ask one question after the other; an empty answer takes the default, or leaves one open that has none."""
    print("Answer in one line each. An empty line takes the default in brackets, or leaves the question open.")
    given: dict[str, str] = {}
    for question in waiting:
        print(f"\n{paint(question.id, 'bold')} {harmless(question.shown)}")
        text = _line("> ")
        while text is not None and text.strip() and not question.takes(text):
            text = _line("Only the number or the words of one of the choices will do.\n> ")
        if text is None:
            break
        if text.strip() or question.default:
            given[question.id] = text.strip()
    in_form = {question.id for question in waiting if question.in_form}
    told = [answer_question(site, name, text) for name, text in given.items() if name not in in_form]
    form = {name: text for name, text in given.items() if name in in_form}
    left = in_form - set(form)
    if in_form:
        done = bool(left) and _yes(f"\n{len(left)} left open: go on with the answers as they are? [y/N] ")
        told.append(write_answers(site, form, done=done))
    return then(args, ". ".join(told) or "Nothing was answered")


def _line(prompt: str, read: Callable[[str], str] = input) -> str | None:
    try:
        return read(prompt)
    except EOFError:
        print()
        return None


def _yes(prompt: str) -> bool:
    return (_line(prompt) or "").strip().lower() in ("y", "yes")
