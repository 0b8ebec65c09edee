"""Random walks: events, times, edits and endings in any order, in a little world that carries effects out."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

from core.builders import RULES, later, task
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from aiframe.core.effects import Archive, Decision, Effect, GoOn, Recover, SetStatus, StartStep, StopRunner, Write
from aiframe.core.events import (
    AnswerGiven,
    AnswersDone,
    Approve,
    Broken,
    Change,
    DropPlan,
    Ending,
    Event,
    Finished,
    Handed,
    HandSet,
    Held,
    Pause,
    PlanFrom,
    Proposal,
    Replan,
    Resume,
    Retry,
    RunLost,
    RunStarted,
    SendBack,
    StepEnded,
    TakePlan,
    Tick,
    WorkDone,
)
from aiframe.core.machine import Refused, decide, seen_after
from aiframe.core.model import (
    READY_STATE,
    Failure,
    FailureKind,
    Moment,
    PlanMode,
    Project,
    Question,
    Role,
    Rules,
    Run,
    Runner,
    Settings,
    State,
    Task,
    TaskStatus,
    Unknown,
)
from aiframe.core.scheduling import all_closed
from aiframe.core.seen import Rejection, Seen
from aiframe.core.timing import elapsed

S, K = State, FailureKind
STOPPED = (S.PAUSED, S.PAUSE_INTERACT, S.ERROR)
PLACES_TO_GO_ON = frozenset(
    {
        S.INTAKE_READY,
        S.INTAKE_WAITING,
        S.SPEC_READY,
        S.DEV_READY,
        S.DIAGNOSE_READY,
        S.REVIEW_READY,
        S.REVIEW_WAITING,
        S.QUESTION_WAITING,
        S.WORK_WAITING,
    }
)
LIMITS = {
    K.TRANSIENT: RULES.transient_limit,
    K.INTERRUPTED: RULES.interrupted_limit,
    K.INVALID_OUTPUT: RULES.repairs + 1,
}
RAN_TO_ITS_END = {K.VERIFY_FAILED, K.AUDIT_REJECTED, K.NO_PROGRESS, K.MERGE_FAILED}
COSTS_AN_ATTEMPT = (RAN_TO_ITS_END - {K.MERGE_FAILED}) | {K.TIMEOUT, K.STALLED}
GRAVITY = list(FailureKind)

EDITED_STATES = st.sampled_from([*State, Unknown("DAYDREAM")])
KINDS = st.lists(st.sampled_from(FailureKind), min_size=1, max_size=2)
# Kinds that send a task round again come more often, so that walks reach the limits.
HARD_LUCK = st.sampled_from(
    [[K.VERIFY_FAILED], [K.TRANSIENT], [K.INTERRUPTED], [K.INVALID_OUTPUT], [K.TIMEOUT], [K.QUOTA]]
)
TREES = st.sampled_from(["", "tree-a", "tree-b", "tree-c"])
TASK_IDS = ("T1", "T2", "T3")
PLAN = (task("T1", priority="high"), task("T2", verify=("manual: look",)), task("T3", blocked_by=("T1",)))


class Walk(RuleBasedStateMachine):
    """One project, its files, its clock and its runner."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: Rules = RULES
        self.project = Project()
        self.tasks: tuple[Task, ...] = ()
        self.clock: Moment = later(0)
        self.runner_lives = False
        self.flag = self.form_done = self.approval = False
        self.rejection: Rejection | None = None
        self.runs = self.asked = self.taken = 0
        self.plans: dict[str, tuple[Task, ...]] = {}
        self.used: Counter[str] = Counter()
        self.in_a_row: Counter[FailureKind] = Counter()

    @initialize(
        interactive=st.booleans(),
        planned=st.booleans(),
        state=st.sampled_from([S.INTAKE_READY, S.DEV_READY]),
        goes_on=st.booleans(),
        every=st.integers(0, 2),
    )
    def begin(self, interactive: bool, planned: bool, state: State, goes_on: bool, every: int) -> None:
        self.limits = replace(RULES, continue_on_task_failure=goes_on)
        self.project = Project(state, settings=Settings(interactive_mode=interactive, review_every_n_tasks=every))
        self.tasks = PLAN if planned else ()

    # The world --------------------------------------------------------------------------------------------------------

    def look(self) -> Seen:
        return Seen(
            clock=self.clock,
            lock_held=self.runner_lives,
            tasks=self.tasks,
            form_done=self.form_done,
            interrupt_flag=self.flag,
            approval=self.approval,
            rejection=self.rejection,
        )

    def happen(self, event: Event) -> Decision:
        """Decide *event*, check what must hold for every event, and carry the effects out."""
        before, decision = self.project, decide(self.project, event, self.limits)
        assert decision == decide(before, event, self.limits)
        after = decision.project
        assert all(after.shown.get(name, 0) >= number for name, number in before.shown.items())
        if not isinstance(event, Retry):
            assert all(after.attempts.get(key, 0) >= number for key, number in before.attempts.items())
        by_hand = isinstance(event, HandSet)
        if isinstance(after.state, Unknown):
            assert after.state == before.state or by_hand
        self.project = after
        for effect in decision.effects:
            self.carry_out(effect)
        if after.state is S.DONE is not before.state and not by_hand:
            assert self.tasks
            assert all_closed(self.tasks)
        given_back = isinstance(event, Retry) and decision.effects
        if before.state is S.ERROR is not after.state or given_back:
            self.in_a_row.clear()
        return decision

    def person(self, event: Event) -> None:
        """A person's command, which may not fit."""
        with suppress(Refused):
            self.happen(event)

    def carry_out(self, effect: Effect) -> None:
        match effect:
            case SetStatus(task_id, status):
                self.set_status(task_id, status)
            case Archive("approval"):
                self.approval = False
            case Archive("rejection"):
                self.rejection = None
            case Archive(_):
                self.form_done = False
            case StartStep():
                self.start(effect)
            case StopRunner():
                assert self.runner_lives
                self.runner_lives = False
            case Recover(run_id):
                assert not self.runner_lives
                assert self.project.run is not None
                assert self.project.run.run_id == run_id
            case Write(name, text):
                if name == "TASKS.yaml":
                    self.tasks = self.plans[text]
            case GoOn():
                pass

    def set_status(self, task_id: str, status: TaskStatus) -> None:
        self.tasks = tuple(replace(each, status=status) if each.id == task_id else each for each in self.tasks)

    def start(self, step: StartStep) -> None:
        """A runner takes the lock and begins: never while another step lives, never beyond a limit."""
        assert self.project.run is None
        assert not self.runner_lives
        assert all(self.in_a_row[kind] < limit for kind, limit in LIMITS.items())
        wait = self.project.wait
        assert wait is None or not wait.set_at <= self.clock.wall < wait.until
        assert not (self.flag and self.project.settings.interactive_mode)
        if step.role is Role.DEV:
            held = self.project.held.get(step.task_id)
            assert self.used[step.input_key] < self.limits.max_attempts or (held and held.approved)
            assert self.taken < self.limits.dev_chain_limit
        self.runs += 1
        run = Run(
            run_id=f"run-{self.runs}",
            role=step.role,
            started=self.clock,
            timeout_s=step.timeout_s,
            runner=Runner(self.runs, self.clock.mono, self.clock.boot, self.clock.host),
            task_id=step.task_id,
            attempt=step.attempt,
            input_key=step.input_key,
        )
        self.runner_lives = True
        self.happen(RunStarted(run))
        assert self.project.run == run

    def tick(self, taken: int = 0) -> Decision:
        """Somebody looks, or a runner that has worked off *taken* tasks already; to look twice is to look once."""
        look, self.taken = self.look(), taken
        first = decide(self.project, Tick(look, tasks_taken=taken), self.limits)
        second = decide(first.project, Tick(seen_after(look, first.effects), tasks_taken=taken), self.limits)
        work = tuple(each for each in first.effects if isinstance(each, StartStep | StopRunner | Recover))
        assert second == Decision(first.project, work)
        return self.happen(Tick(look, tasks_taken=taken))

    def step_ends(self, ending: Ending) -> None:
        run = self.project.run
        assert run is not None
        self.runner_lives = False
        if isinstance(ending, Handed):
            self.in_a_row.clear()
        elif not isinstance(ending, Broken):
            self.note_ending(run, None)
            if run.role is Role.PO and not self.tasks:
                self.tasks = PLAN
        else:
            self.note_ending(run, min((each.kind for each in ending.failures), key=GRAVITY.index))
        decision = self.happen(StepEnded(run.run_id, self.look(), ending))
        assert decide(self.project, StepEnded(run.run_id, self.look(), ending), self.limits) == Decision(self.project)
        if GoOn() in decision.effects:
            self.tick(self.taken + 1)

    def note_ending(self, run: Run, kind: FailureKind | None) -> None:
        """Keep count in the test's own books."""
        if kind is None or kind in RAN_TO_ITS_END:
            self.in_a_row.clear()
        else:
            self.in_a_row[kind] += 1
        held = self.project.held.get(run.task_id)
        lands = held is not None and held.approved
        if run.input_key and not lands and (kind is None or kind in COSTS_AN_ATTEMPT):
            self.used[run.input_key] += 1

    # What happens -----------------------------------------------------------------------------------------------------

    @rule()
    def somebody_ticks(self) -> None:
        self.tick()

    @rule()
    def a_tick_from_another_host(self) -> None:
        elsewhere = replace(self.look(), clock=replace(self.clock, host="elsewhere"), lock_held=False)
        if self.project.run is not None:
            assert decide(self.project, Tick(elsewhere), self.limits) == Decision(self.project)

    def at_work(self) -> bool:
        """Whether a step runs, after a tick where none did."""
        if not self.runner_lives:
            self.tick()
        return self.runner_lives

    @rule(
        state=st.sampled_from([None, *State]),
        ask=st.booleans(),
        written=st.booleans(),
        timeout_sec=st.sampled_from([None, 3600.0]),
    )
    def the_step_succeeds(self, state: State | None, ask: bool, written: bool, timeout_sec: float | None) -> None:
        question = self.new_question() if ask else None
        if self.at_work():
            self.step_ends(Finished(Proposal(state, "why", written, question, "because", timeout_sec), commit="c"))

    @rule(tree=TREES, ask=st.booleans())
    def the_work_is_held(self, tree: str, ask: bool) -> None:
        question = self.new_question() if ask else None
        if self.at_work() and self.project.run is not None and self.project.run.task_id:
            self.step_ends(Held("too much", ("a.py",), tree, "ref", "commit", Proposal(question=question)))

    @rule(found=st.booleans())
    def the_work_is_handed_to_a_person(self, found: bool) -> None:
        if self.at_work():
            failure = Failure(K.VERIFY_FAILED, "it failed") if found else None
            self.step_ends(Handed("prompt", "folder", failure, "mend this" if found else ""))

    @rule(task_id=st.sampled_from(["", *TASK_IDS]))
    def hands_in_work(self, task_id: str) -> None:
        self.person(WorkDone(self.look(), task_id))

    @rule(kinds=KINDS | HARD_LUCK, tree=TREES, ask=st.booleans(), reset=st.sampled_from([None, -10.0, 10.0, 1e5]))
    def the_step_fails(self, kinds: list[FailureKind], tree: str, ask: bool, reset: float | None) -> None:
        if not self.at_work():
            return
        reset_at = None if reset is None else self.clock.wall + reset
        failures = tuple(Failure(kind, kind.value, reset_at=reset_at) for kind in kinds)
        about_a_task = self.project.run is not None and self.project.run.task_id
        question = self.new_question() if ask and about_a_task else None
        self.step_ends(Broken(failures, "mend this", tree, question))

    @rule(kinds=HARD_LUCK, times=st.integers(2, 8), tree=TREES)
    def the_same_goes_wrong_again_and_again(self, kinds: list[FailureKind], times: int, tree: str) -> None:
        for turn in range(times):
            self.time_passes(20_000.0)
            if self.at_work():
                self.the_step_fails(kinds, tree and f"{tree}-{turn}", False, None)

    @rule(steps=st.integers(1, 4))
    def all_goes_well_for_a_while(self, steps: int) -> None:
        for _ in range(steps):
            if self.at_work():
                self.step_ends(Finished(Proposal()))

    @precondition(lambda self: self.runs > 1)
    @rule(kind=st.sampled_from([None, *FailureKind]))
    def late_news_comes_in(self, kind: FailureKind | None) -> None:
        ending = Finished(Proposal()) if kind is None else Broken((Failure(kind, kind.value),))
        for event in (StepEnded("run-1", self.look(), ending), RunLost("run-1", self.look())):
            if self.project.run is None or self.project.run.run_id != "run-1":
                assert decide(self.project, event, self.limits) == Decision(self.project)

    def new_question(self) -> Question:
        self.asked += 1
        return Question(f"Q{self.asked}", "Which?")

    @precondition(lambda self: self.runner_lives)
    @rule()
    def the_runner_is_killed(self) -> None:
        self.runner_lives = False

    @precondition(lambda self: self.project.run is not None and not self.runner_lives)
    @rule()
    def the_lost_run_is_reported(self) -> None:
        run = self.project.run
        assert run is not None
        late = elapsed(run.started, self.clock) > run.timeout_s
        self.note_ending(run, K.TIMEOUT if late else K.INTERRUPTED)
        self.happen(RunLost(run.run_id, self.look()))

    @rule(seconds=st.sampled_from([1.0, 60.0, 1000.0, 2000.0, 20_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock = replace(self.clock, wall=self.clock.wall + seconds, mono=self.clock.mono + seconds)

    @rule(seconds=st.sampled_from([-1e6, -3600.0, -60.0, 60.0, 3600.0, 1e6]), restarts=st.booleans())
    def the_clock_jumps(self, seconds: float, restarts: bool) -> None:
        self.clock = replace(self.clock, wall=self.clock.wall + seconds)
        if restarts:
            self.clock = replace(self.clock, mono=1.0, boot=self.clock.boot + "+")
            self.runner_lives = False

    # What a person does -----------------------------------------------------------------------------------------------

    @rule(state=EDITED_STATES)
    def edits_the_state(self, state: State | Unknown) -> None:
        self.happen(HandSet(self.look(), state))

    @rule(task_id=st.sampled_from(TASK_IDS), status=st.sampled_from([TaskStatus.TODO, *TaskStatus]))
    def edits_a_task(self, task_id: str, status: TaskStatus) -> None:
        self.set_status(task_id, status)

    @rule(
        edit=st.fixed_dictionaries(
            {},
            optional={
                "tasks": st.sampled_from([(), PLAN, PLAN[:1]]),
                "flag": st.booleans(),
                "form_done": st.just(True),
                "approval": st.just(True),
                "rejection": st.builds(Rejection, st.just("no"), st.sampled_from([(), ("T1",), ("T2", "T9")])),
            },
        )
    )
    def edits_other_files(self, edit: dict[str, Any]) -> None:
        for name, content in edit.items():
            setattr(self, name, content)

    @rule(interactive=st.booleans(), locked=st.booleans(), confirm=st.booleans(), every=st.integers(0, 3))
    def changes_settings(self, interactive: bool, locked: bool, confirm: bool, every: int) -> None:
        values = {"interactive_mode": interactive, "plan_locked": locked, "require_confirmations": confirm}
        self.happen(Change({**values, "review_every_n_tasks": every}))

    @rule(number=st.integers(1, 5), command=st.sampled_from([None, Pause(), Replan(), AnswersDone()]))
    def commands_or_answers(self, number: int, command: Event | None) -> None:
        self.person(command or AnswerGiven(f"Q{number}", "that one"))

    @rule(mode=st.sampled_from(PlanMode), confirmed=st.booleans())
    def plans_from_a_document(self, mode: PlanMode, confirmed: bool) -> None:
        there = f"plan {len(self.plans)}"
        self.plans[there] = self.tasks
        self.person(PlanFrom(self.look(), mode, "plan.md", "a document", "", there, confirmed))

    @rule(mode=st.sampled_from(PlanMode), confirmed=st.booleans(), takes=st.booleans())
    def plans_and_says_a_word_about_it(self, mode: PlanMode, confirmed: bool, takes: bool) -> None:
        self.plans_from_a_document(mode, confirmed)
        if self.project.planning is not None and self.at_work():
            self.step_ends(Finished(Proposal()))
        self.says_a_word_about_the_plan(takes)

    @rule(takes=st.booleans())
    def says_a_word_about_the_plan(self, takes: bool) -> None:
        before = self.project
        self.person(TakePlan(self.look()) if takes else DropPlan(self.look()))
        if before.planning is not None and self.project.planning is None:
            back = before.planning
            assert self.project.state == (S.DEV_READY if takes else back.state)
            assert takes or self.tasks == self.plans[back.tasks_text]

    def plan_waits(self) -> bool:
        return self.project.planning is not None and self.project.planning.made

    @invariant()
    def a_new_plan_is_not_worked_on_before_it_is_taken(self) -> None:
        planning = self.project.planning
        if planning is not None and planning.made:
            assert self.project.state in STOPPED
            assert planning.mode is PlanMode.REPLACE
            assert not planning.confirmed

    @rule(now=st.booleans())
    def resumes(self, now: bool) -> None:
        self.person(Resume(self.look(), now))

    @rule(task_id=st.sampled_from(TASK_IDS), takes=st.booleans())
    def says_a_word_about_held_work(self, task_id: str, takes: bool) -> None:
        self.person(Approve(self.look(), task_id) if takes else SendBack(self.look(), task_id, "no"))

    @rule(task_id=st.sampled_from(["", *TASK_IDS]))
    def retries(self, task_id: str) -> None:
        retry = Retry(self.look(), task_id)
        failed = {each.id for each in self.tasks if each.status is TaskStatus.FAILED}
        named = ({task_id} if task_id else failed) & {each.id for each in self.tasks}
        if self.project.run is None and not self.plan_waits():
            self.used = Counter({key: n for key, n in self.used.items() if key.partition("@")[0] not in named})
        self.person(retry)

    # What always holds ------------------------------------------------------------------------------------------------

    @invariant()
    def there_is_a_run_exactly_while_running(self) -> None:
        assert (self.project.run is not None) is (self.project.state is S.RUNNING)
        assert not self.runner_lives or self.project.run is not None

    @invariant()
    def a_pending_diagnosis_keeps_its_way_back(self) -> None:
        project = self.project
        diagnosing = project.run is not None and project.run.role is Role.DIAGNOSE
        here = project.state is S.DIAGNOSE_READY or diagnosing
        stopped = project.state in STOPPED and project.paused_from is S.DIAGNOSE_READY
        if project.diagnosed_role is not None and (here or stopped):
            assert project.resume_state is READY_STATE[project.diagnosed_role]

    @invariant()
    def a_stopped_project_has_somewhere_to_go(self) -> None:
        assert self.project.paused_from is None or self.project.paused_from in PLACES_TO_GO_ON
        if self.project.state in STOPPED:
            go_on = TakePlan(self.look()) if self.plan_waits() else Resume(self.look())
            assert decide(self.project, go_on, self.limits).project.state in PLACES_TO_GO_ON

    @invariant()
    def streaks_end_in_an_error(self) -> None:
        if self.project.state is not S.ERROR:
            assert all(self.project.streaks.get(kind, 0) < limit for kind, limit in LIMITS.items())

    @invariant()
    def no_step_works_on_what_waits_for_a_word(self) -> None:
        waiting = {name for name, work in self.project.held.items() if not work.approved}
        run = self.project.run
        assert run is None or run.task_id not in waiting

    @invariant()
    def the_books_agree(self) -> None:
        assert all(self.project.streaks.get(kind, 0) == self.in_a_row[kind] for kind in LIMITS)
        assert {key: n for key, n in self.project.attempts.items() if n} == {k: n for k, n in self.used.items() if n}

    def teardown(self) -> None:
        """Whatever happened: a person who does what the state asks for, with agents that succeed, gets to DONE."""
        self.flag, self.rejection = False, None
        for _ in range(60):
            if self.project.state is S.DONE and self.tasks and all_closed(self.tasks):
                return
            self.do_what_is_asked()
        raise AssertionError(f"stuck in {self.project}")

    def do_what_is_asked(self) -> None:
        self.form_done = self.approval = True
        self.person(TakePlan(self.look()))
        for question in self.project.open_questions():
            self.person(AnswerGiven(question.id, "that one"))
        match self.project.state:
            case S.WORK_WAITING:
                self.person(WorkDone(self.look()))
                self.tick()
            case S.RUNNING if self.runner_lives:
                self.step_ends(Finished(Proposal()))
            case S.RUNNING:
                self.the_lost_run_is_reported()
            case S.PAUSED | S.PAUSE_INTERACT | S.ERROR | S.DONE if self.tasks and not all_closed(self.tasks):
                for each in self.tasks:
                    if each.status not in (TaskStatus.DONE, TaskStatus.CANCELLED):
                        self.retries(each.id)
            case S.PAUSED | S.PAUSE_INTERACT | S.ERROR:
                self.person(Resume(self.look()))
            case S.DONE | Unknown():
                self.happen(HandSet(self.look(), S.DEV_READY))
            case S.DEV_READY if not self.tasks:  # the plan is gone
                self.person(Replan())
            case _:
                self.person(Resume(self.look(), now=True))
                self.clear_the_way()
                self.tick()

    def clear_the_way(self) -> None:
        """A task that was cancelled by hand lets nothing that waits for it start; nor does a missing one."""
        ids = {each.id for each in self.tasks}
        for each in self.tasks:
            if each.status is TaskStatus.CANCELLED:
                self.set_status(each.id, TaskStatus.DONE)
            assert ids.issuperset(each.blocked_by)


def test_random_walks() -> None:
    run_state_machine_as_test(Walk, settings=settings(deadline=None, max_examples=200, stateful_step_count=40))
