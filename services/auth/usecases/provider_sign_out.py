"""Signing out at an organization's provider ends the sign-ins by it here."""

from datetime import timedelta

from services.auth.account_ports import Allowances, Announcer
from services.auth.audit import AuditEvent, EventType
from services.auth.identity_providers import IdentityProvider, SignedOut
from services.auth.oauth import Refused
from services.auth.ports import WorkFactory
from services.auth.provider_errors import IdentityProviderInvalid, ProviderSignInInvalid
from services.auth.provider_ports import ExternalProviders
from services.auth.usecases.ending import end_families
from services.common.clock import Clock

# Where providers tell; the edge leads there.
BACKCHANNEL_LOGOUT = "/oauth/backchannel_logout"
# Words that one place may send in a while: a provider sends one for each of its people who signs out.
WORDS, WINDOW = 600, timedelta(minutes=1)


class ProviderSignOuts:
    """What providers tell us without anybody's browser."""

    def __init__(
        self,
        work: WorkFactory,
        external: ExternalProviders,
        allowances: Allowances,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._work = work
        self._external = external
        self._allowances = allowances
        self._announcer = announcer
        self._clock = clock

    async def end(self, token: str, source: str) -> int:
        """End the sign-ins that a provider's logout token is about; how many.

        Raises Refused for a token that holds for no organization, TooManyAttempts and IdentityProviderUnavailable.
        """
        await self._allowances.take("provider-sign-out", source, WORDS, WINDOW)
        try:
            issuer = self._external.issuer_of(token)
        except ProviderSignInInvalid:
            raise _refused() from None
        async with self._work.system() as work:
            providers = await work.identity_providers.of_issuer(issuer)
        heard, ended = False, 0
        for provider in providers:
            try:
                said = await self._external.signed_out(provider, token)
            except (ProviderSignInInvalid, IdentityProviderInvalid):
                continue
            heard = True
            ended += await self._end(provider, said)
        if not heard:
            raise _refused()
        return ended

    async def _end(self, provider: IdentityProvider, said: SignedOut) -> int:
        now, here = self._clock(), provider.organization_id
        async with self._work.system() as work:
            identity = await work.identity_providers.identity(here, provider.issuer, said.subject)
            if identity is None:
                return 0
            ended = await end_families(
                work,
                [
                    family
                    for family in await work.refresh_tokens.federated_families(here)
                    # What began afterwards is not meant, so a token that somebody kept ends nothing.
                    if family.user_id == identity.user_id and family.created_at.timestamp() <= said.until
                ],
                self._clock,
            )
            if ended:
                details = {"issuer": provider.issuer}
                event = AuditEvent.of(
                    EventType.SIGN_OUT,
                    here,
                    at=now,
                    actor_id=identity.user_id,
                    subject_id=identity.user_id,
                    details=details,
                )
                await work.audit.add(event)
            await work.commit()
        await self._announcer.announce(ended)
        return len(ended)


def _refused() -> Refused:
    return Refused("invalid_request", "The logout token does not hold here.")
