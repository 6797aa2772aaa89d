"""The programs that somebody has let in, and putting them out again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from services.auth.account_ports import Announcer
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import RefreshFamily
from services.auth.oauth import SCOPES, Client
from services.auth.ports import WorkFactory
from services.auth.usecases.ending import end_families
from services.common.clock import Clock


@dataclass(frozen=True, slots=True)
class Program:
    """A program that can act for a person: what it was granted in all its sign-ins, and when it was let in last."""

    client_id: str
    name: str
    scopes: tuple[str, ...]
    sign_ins: int
    let_in_at: datetime


class Programs:
    """Whom a person has let in; `clients` are the programs known here."""

    def __init__(self, work: WorkFactory, clients: Mapping[str, Client], announcer: Announcer, clock: Clock) -> None:
        self._work = work
        self._clients = clients
        self._announcer = announcer
        self._clock = clock

    async def list(self, user_id: str) -> Sequence[Program]:
        """By identifier."""
        async with self._work.system() as work:
            families = await work.refresh_tokens.families_of_programs(user_id, self._clock())
        ordered = sorted(families, key=lambda family: family.client_id)
        return [
            self._program(client_id, list(own)) for client_id, own in groupby(ordered, lambda family: family.client_id)
        ]

    async def revoke(self, user_id: str, client_id: str) -> int:
        """End every sign-in of a program as the person, and what it was granted and has not fetched; how many ended."""
        now = self._clock()
        async with self._work.system() as work:
            await work.grants.withdraw(user_id, client_id)
            families = await work.refresh_tokens.families_of_programs(user_id, now)
            own = [family for family in families if family.client_id == client_id]
            ended = await end_families(work, own, self._clock)
            for family in own:
                event = AuditEvent.of(
                    EventType.CONSENT_REVOKED,
                    family.organization_id,
                    at=now,
                    actor_id=user_id,
                    subject_id=family.id,
                    details={"client_id": client_id},
                )
                await work.audit.add(event)
            await work.commit()
        await self._announcer.announce(ended)
        return len(ended)

    def _program(self, client_id: str, families: Sequence[RefreshFamily]) -> Program:
        known = self._clients.get(client_id)
        granted = {scope for family in families for scope in family.scopes}
        return Program(
            client_id,
            known.name if known else client_id,
            tuple(scope for scope in SCOPES if scope in granted),
            len(families),
            max(family.created_at for family in families),
        )
