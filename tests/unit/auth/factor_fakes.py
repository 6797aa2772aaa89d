"""The ports of second factors in memory. The contract suite holds them to the behaviour of the real ones."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from services.auth.factor_errors import PasskeyInvalid
from services.auth.factors import Challenge, ChallengeKind, Totp
from services.auth.passkeys import Passkey


class Store(Protocol):
    """The part of the store in memory that belongs to second factors."""

    totps: dict[str, Totp]
    codes: dict[tuple[str, bytes], datetime | None]
    passkeys: dict[bytes, Passkey]
    challenges: dict[bytes, Challenge]


class FakeFactors:
    """See `factor_ports.Factors`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def totp(self, user_id: str) -> Totp | None:
        return self._store.totps.get(user_id)

    async def put_totp(self, totp: Totp) -> None:
        self._store.totps[totp.user_id] = totp

    async def remove_totp(self, user_id: str) -> None:
        self._store.totps.pop(user_id, None)
        await self.replace_codes(user_id, ())

    async def spend_step(self, user_id: str, step: int) -> bool:
        totp = self._store.totps[user_id]
        if step <= totp.last_step:
            return False
        self._store.totps[user_id] = replace(totp, last_step=step, failures=0)
        return True

    async def count_failure(self, user_id: str) -> int:
        totp = self._store.totps[user_id]
        self._store.totps[user_id] = replace(totp, failures=totp.failures + 1)
        return totp.failures + 1

    async def replace_codes(self, user_id: str, hashes: Sequence[bytes]) -> None:
        for owner, code in list(self._store.codes):
            if owner == user_id:
                del self._store.codes[owner, code]
        for code in hashes:
            self._store.codes[user_id, code] = None

    async def spend_code(self, user_id: str, code_hash: bytes, *, at: datetime) -> bool:
        if self._store.codes.get((user_id, code_hash), at) is not None:
            return False
        self._store.codes[user_id, code_hash] = at
        self._store.totps[user_id] = replace(self._store.totps[user_id], failures=0)
        return True

    async def codes_left(self, user_id: str) -> int:
        return sum(owner == user_id and used is None for (owner, _), used in self._store.codes.items())


class FakePasskeys:
    """See `factor_ports.Passkeys`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, passkey: Passkey) -> None:
        if passkey.id in self._store.passkeys:
            raise PasskeyInvalid
        self._store.passkeys[passkey.id] = passkey

    async def find(self, passkey_id: bytes) -> Passkey | None:
        return self._store.passkeys.get(passkey_id)

    async def of(self, user_id: str) -> Sequence[Passkey]:
        found = [passkey for passkey in self._store.passkeys.values() if passkey.user_id == user_id]
        return sorted(found, key=lambda passkey: (passkey.created_at, passkey.id))

    async def used(self, passkey_id: bytes, sign_count: int, *, at: datetime) -> None:
        self._store.passkeys[passkey_id] = replace(self._store.passkeys[passkey_id], sign_count=sign_count, used_at=at)

    async def remove(self, user_id: str, passkey_id: bytes) -> bool:
        passkey = self._store.passkeys.get(passkey_id)
        if passkey is None or passkey.user_id != user_id:
            return False
        del self._store.passkeys[passkey_id]
        return True


class FakeChallenges:
    """See `factor_ports.Challenges`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, challenge: Challenge) -> None:
        self._store.challenges[challenge.hash] = challenge

    async def find_locked(self, token_hash: bytes, kind: ChallengeKind) -> Challenge | None:
        found = self._store.challenges.get(token_hash)
        return found if found and found.kind is kind else None

    async def forget_sign_ins(self, user_id: str) -> None:
        open_ones = self._store.challenges.values()
        for challenge in [one for one in open_ones if one.user_id == user_id and one.kind is ChallengeKind.SIGN_IN]:
            del self._store.challenges[challenge.hash]

    async def count_attempt(self, challenge: Challenge) -> None:
        self._store.challenges[challenge.hash] = replace(challenge, attempts=challenge.attempts + 1)

    async def remove(self, challenge: Challenge) -> None:
        del self._store.challenges[challenge.hash]


class FakeEnvelope:
    """Seals nothing, and opens only for the same owner."""

    def seal(self, owner: str, secret: bytes) -> bytes:
        return owner.encode() + b":" + secret

    def open(self, owner: str, sealed: bytes) -> bytes:
        if not sealed.startswith(owner.encode() + b":"):
            raise ValueError("another owner")
        return sealed[len(owner) + 1 :]
