"""What the use cases of second factors need from outside."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from services.auth.domain import User
from services.auth.factors import Challenge, ChallengeKind, Totp
from services.auth.passkeys import Asserted, Attested, Passkey


class Factors(Protocol):
    """Authenticator apps and recovery codes."""

    async def totp(self, user_id: str) -> Totp | None:
        """The person's app, also while it is being set up."""

    async def put_totp(self, totp: Totp) -> None:
        """Keep it in place of what was there."""

    async def remove_totp(self, user_id: str) -> None:
        """Forget the app and the recovery codes."""

    async def spend_step(self, user_id: str, step: int) -> bool:
        """Use the code of a time step, and forget wrong ones; False if it or a later one was used before."""

    async def count_failure(self, user_id: str) -> int:
        """Count a wrong code; returns how many in a row."""

    async def replace_codes(self, user_id: str, hashes: Sequence[bytes]) -> None:
        """Only these recovery codes count from now on."""

    async def spend_code(self, user_id: str, code_hash: bytes, *, at: datetime) -> bool:
        """Use a recovery code, and forget wrong ones; False if there is none such or it was used."""

    async def codes_left(self, user_id: str) -> int:
        """How many recovery codes are unused."""


class Challenges(Protocol):
    """Challenges that wait for an answer."""

    async def add(self, challenge: Challenge) -> None:
        """Keep it; what is long over goes."""

    async def find_locked(self, token_hash: bytes, kind: ChallengeKind) -> Challenge | None:
        """The challenge; whoever else answers it waits until this unit of work ends."""

    async def forget_sign_ins(self, user_id: str) -> None:
        """No sign-in of a person that waits for a second factor goes on."""

    async def count_attempt(self, challenge: Challenge) -> None:
        """It was answered wrong."""

    async def remove(self, challenge: Challenge) -> None:
        """It was answered."""


class Envelope(Protocol):
    """Seals secrets for the database; the key is elsewhere."""

    def seal(self, owner: str, secret: bytes) -> bytes:
        """The sealed secret, good for this owner alone."""

    def open(self, owner: str, sealed: bytes) -> bytes:
        """The secret. Raises ValueError if it was sealed for another owner or with another key."""


class Passkeys(Protocol):
    """The passkeys of everybody."""

    async def add(self, passkey: Passkey) -> None:
        """Raises PasskeyInvalid if somebody registered it already."""

    async def find(self, passkey_id: bytes) -> Passkey | None:
        """The passkey, whoever's it is."""

    async def of(self, user_id: str) -> Sequence[Passkey]:
        """A person's, oldest first."""

    async def used(self, passkey_id: bytes, sign_count: int, *, at: datetime) -> None:
        """It signed in."""

    async def remove(self, user_id: str, passkey_id: bytes) -> bool:
        """Forget it; False if the person has no such one."""


class Webauthn(Protocol):
    """The grammar of WebAuthn. Options and answers are JSON as browsers read and write it."""

    def creation_options(self, user: User, known: Sequence[Passkey]) -> tuple[str, bytes]:
        """Options to make a passkey that is not among those known, and their challenge."""

    def attested(self, answer: str, challenge: bytes) -> Attested:
        """The new key. Raises PasskeyInvalid."""

    def request_options(self) -> tuple[str, bytes]:
        """Options to sign in with any passkey, and their challenge."""

    def named(self, answer: str) -> tuple[bytes, str]:
        """Which passkey an answer is of, and of whom, as far as it says. Raises PasskeyInvalid."""

    def asserted(self, answer: str, challenge: bytes, passkey: Passkey) -> Asserted:
        """What the answer proves. Raises PasskeyInvalid."""
