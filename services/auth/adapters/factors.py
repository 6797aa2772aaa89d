"""Second factors and challenges in Postgres, for units of work of the whole system alone."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth import tables
from services.auth.factors import Challenge, ChallengeKind, Totp


class SqlFactors:
    """See `factor_ports.Factors`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def totp(self, user_id: str) -> Totp | None:
        table = tables.totps
        row = (await self._session.execute(select(table).where(table.c.user_id == user_id))).first()
        if row is None:
            return None
        return Totp(row.user_id, row.sealed_secret, row.created_at, row.confirmed_at, row.last_step, row.failures)

    async def put_totp(self, totp: Totp) -> None:
        values = {
            "sealed_secret": totp.sealed_secret,
            "created_at": totp.created_at,
            "confirmed_at": totp.confirmed_at,
            "last_step": totp.last_step,
            "failures": totp.failures,
        }
        statement = insert(tables.totps).values(user_id=totp.user_id, **values)
        await self._session.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=values))

    async def remove_totp(self, user_id: str) -> None:
        await self._session.execute(delete(tables.totps).where(tables.totps.c.user_id == user_id))
        await self.replace_codes(user_id, ())

    async def spend_step(self, user_id: str, step: int) -> bool:
        table = tables.totps
        # One statement: of several at once, one finds an older step.
        spent = update(table).where(table.c.user_id == user_id, table.c.last_step < step)
        result = await self._session.execute(spent.values(last_step=step, failures=0).returning(table.c.user_id))
        return result.first() is not None

    async def count_failure(self, user_id: str) -> int:
        table = tables.totps
        counted = update(table).where(table.c.user_id == user_id).values(failures=table.c.failures + 1)
        return await self._session.scalar(counted.returning(table.c.failures)) or 0

    async def replace_codes(self, user_id: str, hashes: Sequence[bytes]) -> None:
        table = tables.recovery_codes
        await self._session.execute(delete(table).where(table.c.user_id == user_id))
        if hashes:
            await self._session.execute(insert(table), [{"user_id": user_id, "hash": one} for one in hashes])

    async def spend_code(self, user_id: str, code_hash: bytes, *, at: datetime) -> bool:
        table = tables.recovery_codes
        spent = update(table).where(table.c.user_id == user_id, table.c.hash == code_hash, table.c.used_at.is_(None))
        result = await self._session.execute(spent.values(used_at=at).returning(table.c.user_id))
        if result.first() is None:
            return False
        totps = tables.totps
        await self._session.execute(update(totps).where(totps.c.user_id == user_id).values(failures=0))
        return True

    async def codes_left(self, user_id: str) -> int:
        table = tables.recovery_codes
        unused = select(func.count()).select_from(table).where(table.c.user_id == user_id, table.c.used_at.is_(None))
        return int(await self._session.scalar(unused) or 0)


class SqlChallenges:
    """See `factor_ports.Challenges`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, challenge: Challenge) -> None:
        table = tables.challenges
        values = {
            "hash": challenge.hash,
            "kind": str(challenge.kind),
            "user_id": challenge.user_id,
            "organization_id": challenge.organization_id,
            "expires_at": challenge.expires_at,
            "data": challenge.data,
            "attempts": challenge.attempts,
        }
        await self._session.execute(insert(table).values(values))

    async def find_locked(self, token_hash: bytes, kind: ChallengeKind) -> Challenge | None:
        table = tables.challenges
        chosen = select(table).where(table.c.hash == token_hash, table.c.kind == str(kind)).with_for_update()
        row = (await self._session.execute(chosen)).first()
        if row is None:
            return None
        return Challenge(
            row.hash,
            ChallengeKind(row.kind),
            row.user_id,
            row.organization_id,
            row.expires_at,
            row.data,
            row.attempts,
        )

    async def forget_sign_ins(self, user_id: str) -> None:
        table = tables.challenges
        chosen = delete(table).where(table.c.user_id == user_id, table.c.kind == str(ChallengeKind.SIGN_IN))
        await self._session.execute(chosen)

    async def count_attempt(self, challenge: Challenge) -> None:
        table = tables.challenges
        counted = update(table).where(table.c.hash == challenge.hash).values(attempts=table.c.attempts + 1)
        await self._session.execute(counted)

    async def remove(self, challenge: Challenge) -> None:
        await self._session.execute(delete(tables.challenges).where(tables.challenges.c.hash == challenge.hash))
