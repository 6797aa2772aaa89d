"""The workflow of a turn: gather → understand → route ∥ rank → decide → word → check → store → tell."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from services.common.spending import BudgetExceeded
from services.orchestrator.answering import texts
from services.orchestrator.answering.decision import Action, evidence, judge, standalone, topics, understand
from services.orchestrator.answering.intents import reply_of
from services.orchestrator.answering.learned import LEARNED
from services.orchestrator.answering.passages import Passage
from services.orchestrator.answering.ranking import Candidate
from services.orchestrator.answering.wording import Markers, Piece
from services.orchestrator.domain import Decision, Outcome, Proposal, ProposalState, Turn
from services.orchestrator.errors import DependencyUnavailable, TurnLost
from services.orchestrator.ports import Prompt, Route, WorkFor
from services.orchestrator.workflow.act import carry_out, decline, hand_off, offer
from services.orchestrator.workflow.choose import choose_ranker, choose_writer
from services.orchestrator.workflow.gather import Background, Reading, abandon, load_background, read, retrieve
from services.orchestrator.workflow.memory import IntentMemory
from services.orchestrator.workflow.rank import rank_sentences, weigh
from services.orchestrator.workflow.record import Recorder
from services.orchestrator.workflow.services import Services
from services.orchestrator.workflow.shadow import Ranked, Repeatable, Worded
from services.orchestrator.workflow.spending import TurnSpending
from services.orchestrator.workflow.tell import Teller, citation_of
from services.orchestrator.workflow.urgency import USUAL, load_priority
from services.orchestrator.workflow.word import prompt_for, quote, write

# A turn is taken up again once.
ATTEMPTS = 2

_FIXED = {
    Action.GREETING: (Decision.ANSWER, texts.GREETING),
    Action.THANKS: (Decision.ANSWER, texts.THANKS),
    Action.FEELINGS: (Decision.ANSWER, texts.FEELINGS),
    Action.GOODBYE: (Decision.ANSWER, texts.GOODBYE),
    Action.OFF_TOPIC: (Decision.CLARIFY, texts.OFF_TOPIC),
}


@dataclass(frozen=True)
class Ended:
    """What a try of a turn came to, as it was told; None when the worker had lost the turn on the way. `calls` are what
    it asked of models."""

    outcome: Outcome | None
    calls: Sequence[Repeatable] = ()


class Workflow:
    """Runs turns that a worker holds. What it raises ends the turn as failed."""

    def __init__(self, services: Services, intents: IntentMemory, work_for: WorkFor) -> None:
        self._services = services
        self._intents = intents
        self._work_for = work_for

    async def run(self, turn: Turn, worker: str, record: Recorder, teller: Teller, spending: TurnSpending) -> Ended:
        """Work the turn out and tell it. A turn that a dead worker had concluded is only told again."""
        if turn.outcome is not None:
            await teller.whole(turn.outcome, ())
            return Ended(await teller.end(turn.outcome))
        if turn.streaming or turn.attempt > ATTEMPTS:
            raise TurnLost
        await teller.begin()
        work = _Try(self, turn, worker, record, teller, spending)
        outcome = await work.outcome()
        outcome = replace(outcome, model=work.model, usage=record.usage)
        async with record.step("store"):
            held = await self._conclude(turn, worker, outcome)
        if not held:
            return Ended(None)
        async with record.step("tell"):
            if not work.told:
                await teller.whole(outcome, work.pieces)
            return Ended(await teller.end(outcome), work.calls)

    async def _conclude(self, turn: Turn, worker: str, outcome: Outcome) -> bool:
        async with self._work_for(turn.customer.organization_id) as work:
            if not await work.turns.conclude(turn.id, worker, outcome):
                return False
            if outcome.resolved is not None:
                state = ProposalState.ACCEPTED if outcome.resolved.accepted else ProposalState.DECLINED
                await work.proposals.settle(outcome.resolved.proposal_id, state)
            if outcome.proposal is not None:
                await work.proposals.add(outcome.proposal)
            await work.commit()
            return True

    @property
    def services(self) -> Services:
        """What the steps call."""
        return self._services

    @property
    def intents(self) -> IntentMemory:
        """The labelled examples."""
        return self._intents

    @property
    def work_for(self) -> WorkFor:
        """Begins units of work."""
        return self._work_for


class _Try:
    """One try of one turn, from its beginning to what it comes to."""

    def __init__(
        self,
        workflow: Workflow,
        turn: Turn,
        worker: str,
        record: Recorder,
        teller: Teller,
        spending: TurnSpending,
    ) -> None:
        self._services = workflow.services
        self._intents = workflow.intents
        self._work_for = workflow.work_for
        self._turn = turn
        self._worker = worker
        self._record = record
        self._teller = teller
        self._spending = spending
        self._priority = USUAL
        self.model = ""
        # What was asked of models.
        self.calls: list[Repeatable] = []
        self.pieces: list[Piece] = []
        # True when the pieces went out while they were written.
        self.told = False

    async def outcome(self) -> Outcome:
        """What the turn comes to."""
        turn, services, record = self._turn, self._services, self._record
        # Begun at once: which of them is needed is known only when the conversation is.
        self._spending.begin()
        reading = asyncio.ensure_future(read(turn.text, services, self._intents, record))
        passages = asyncio.ensure_future(retrieve(turn.text, services, record))
        priority = asyncio.ensure_future(load_priority(turn, services, record))
        try:
            background = await load_background(turn, services, self._work_for, record)
            proposal, word = _word_on(turn, background.proposal)
            if proposal is not None:
                return decline(proposal) if not word else await carry_out(turn, proposal, services, record)
            understood = await reading
            self._priority = await priority
            return await self._decide(background, understood, passages)
        finally:
            await abandon(reading, passages, priority)

    async def _decide(
        self, background: Background, reading: Reading, found: "asyncio.Future[list[Passage]]"
    ) -> Outcome:
        turn, services, record = self._turn, self._services, self._record
        async with record.step("decide") as notes:
            action = understand(turn.text, reading.near)
            question = standalone(turn.text, background.earlier)
            if question != turn.text and action in (None, Action.CLARIFY):
                action = None
            notes.details["action"] = action.value if action else "question"
            notes.versions["texts"] = texts.VERSION
        if action in _FIXED:
            decision, text = _FIXED[action]
            return Outcome(decision, text)
        match action:
            case Action.HANDOFF:
                return await hand_off(turn, background, services, record)
            case Action.OFFER_REQUESTED:
                return offer(turn, background, texts.OFFER_REQUESTED)
        if question != turn.text:
            reading = await read(question, services, self._intents, record)
            return await self._answer(reading, background, await retrieve(question, services, record))
        passages = await found
        return clarify(passages) if action is Action.CLARIFY else await self._answer(reading, background, passages)

    async def _answer(self, reading: Reading, background: Background, passages: list[Passage]) -> Outcome:
        route = await choose_ranker(self._turn, reading.question, self._priority, self._services, self._record)
        if route is not None and not await self._may_spend(route.model):
            return offer(self._turn, background, texts.OFFER_BUDGET)
        candidates = await rank_sentences(reading, passages, self._services, self._record)
        if route is not None:
            self.model = route.model
            self.calls.append(Ranked(route, self._turn.text, reading, candidates))
            candidates = await weigh(reading.question, candidates, route, self._services, self._record)
        async with self._record.step("judge") as notes:
            strength = evidence(candidates)
            action = judge(self._turn.text, reading.near, strength)
            notes.versions["weights"] = LEARNED.version
            notes.details["strength"] = f"{strength:.3f}"
            notes.details["action"] = action.value
        match action:
            case Action.ANSWER:
                return await self._word(reading.question, candidates, route, background)
            case Action.CLARIFY:
                return clarify(passages)
            case Action.NAME_NEAREST:
                return await self._show_nearest(reading.question, candidates)
            case _:
                return offer(self._turn, background, texts.OFFER_UNKNOWN)

    async def _show_nearest(self, question: str, candidates: list[Candidate]) -> Outcome:
        """What is nearest, quoted and said to be no more than that: the customer sees at once whether it helps."""
        pieces = [piece async for piece in quote(question, candidates, Markers(), self._record)]
        if not pieces:
            return clarify([candidate.passage for candidate in candidates])
        opening = texts.NEAREST_OPENING.format(topic=candidates[0].passage.heading)
        pieces[0] = replace(pieces[0], text=opening + pieces[0].text)
        pieces[-1] = replace(pieces[-1], text=pieces[-1].text + texts.NEAREST_CLOSING)
        self.pieces = pieces
        return self._said(Decision.CLARIFY)

    async def _may_spend(self, model: str) -> bool:
        """Whether the budgets let the model be called; the record says why not, for those who look for a cause."""
        async with self._record.step("budget") as notes:
            notes.model = model
            try:
                notes.details["grounds"] = await self._spending.allow(model)
            except (BudgetExceeded, DependencyUnavailable) as error:
                notes.error_reason = error.reason
                notes.details.update(error.metadata)
                return False
            return True

    async def _word(
        self, question: str, candidates: list[Candidate], route: Route | None, background: Background
    ) -> Outcome:
        markers = Markers()
        prompt = prompt_for(question, candidates)
        writer = await self._writer(prompt, route)
        if writer is not None:
            self.model = writer.model
            self.calls.append(Worded(writer, prompt, candidates))
            escalate = partial(self._better, prompt, candidates)
            if not await self._begin_streaming():
                raise TurnLost
            self.told = True
            written = write(
                question, prompt, candidates, markers, writer, self._services, self._record, self._spending, escalate
            )
            async with aclosing(written) as pieces:
                async for piece in pieces:
                    self.pieces.append(piece)
                    await self._teller.piece(piece)
            if self._spending.cut_off:
                return await self._break_off(background)
        else:
            self.pieces = [piece async for piece in quote(question, candidates, markers, self._record)]
        return self._said(Decision.ANSWER)

    async def _better(self, prompt: Prompt, candidates: Sequence[Candidate], route: Route) -> Route | None:
        """The next model of the cascade, if the budgets let it."""
        writer = await choose_writer(
            self._turn, prompt, self._priority, self._services, self._record, above=route.model
        )
        if writer is None or not await self._may_spend(writer.model):
            return None
        self.model = writer.model
        self.calls.append(Worded(writer, prompt, candidates))
        return writer

    async def _writer(self, prompt: Prompt, ranker: Route | None) -> Route | None:
        """The model that may word the answer, if there is one and the budgets let it."""
        writer = await choose_writer(self._turn, prompt, self._priority, self._services, self._record)
        if writer is None or (ranker is not None and ranker.model == writer.model):
            return writer
        return writer if await self._may_spend(writer.model) else None

    def _said(self, decision: Decision) -> Outcome:
        return Outcome(
            decision,
            "".join(piece.text for piece in self.pieces),
            citations=tuple(citation_of(piece) for piece in self.pieces if piece.first),
        )

    async def _break_off(self, background: Background) -> Outcome:
        """What was written and checked stands; a ticket is offered for the rest."""
        offered = offer(self._turn, background, texts.OFFER_CUT_OFF if self.pieces else texts.OFFER_BUDGET)
        closing = f"\n\n{offered.text}" if self.pieces else offered.text
        await self._teller.text(closing)
        return replace(
            offered,
            text="".join(piece.text for piece in self.pieces) + closing,
            citations=tuple(citation_of(piece) for piece in self.pieces if piece.first),
        )

    async def _begin_streaming(self) -> bool:
        async with self._work_for(self._turn.customer.organization_id) as work:
            held = await work.turns.begin_streaming(self._turn.id, self._worker)
            await work.commit()
            return held


def _word_on(turn: Turn, proposal: Proposal | None) -> tuple[Proposal | None, bool]:
    """The open proposal that the message settles, and whether it says yes; None when it settles none."""
    if proposal is None:
        return None, False
    if turn.reply is not None:
        return (proposal, turn.reply.accepted) if turn.reply.proposal_id == proposal.id else (None, False)
    word = reply_of(turn.text)
    return (proposal, word) if word is not None else (None, False)


def clarify(passages: list[Passage]) -> Outcome:
    """Ask back, naming what the help centre has that is nearest."""
    titles = topics([passage.article_title for passage in passages])
    if not titles:
        return Outcome(Decision.CLARIFY, texts.CLARIFY_OPEN)
    return Outcome(Decision.CLARIFY, texts.CLARIFY_TOPICS.format(topics=texts.listed(titles)))
