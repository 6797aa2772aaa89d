"""How long auth keeps what has had its time."""

from datetime import timedelta

from sqlalchemy import exists, not_

from services.auth import tables
from services.auth.settings import AuthSettings
from services.common.janitor import Purge, request_ids
from services.common.revocations import KEPT_SECONDS

# After its end a refresh token is of no use; until then a spent one must be known, to see that it comes again.
AFTER_EXPIRY = timedelta(days=1)


def purges(settings: AuthSettings) -> tuple[Purge, ...]:
    """What has ended: request IDs, links, challenges, codes, revocations, refresh tokens and then their families."""
    of_family = exists().where(tables.refresh_tokens.c.family_id == tables.refresh_families.c.id)
    return (
        request_ids(tables.idempotency_records, settings),
        Purge(tables.mail_links, "expires_at", AFTER_EXPIRY),
        Purge(tables.challenges, "expires_at", timedelta(hours=1)),
        Purge(tables.revocations, "revoked_at", timedelta(seconds=KEPT_SECONDS)),
        Purge(tables.refresh_tokens, "expires_at", AFTER_EXPIRY),
        Purge(tables.oauth_codes, "expires_at", AFTER_EXPIRY),
        Purge(tables.oauth_devices, "expires_at", timedelta(0)),
        Purge(tables.refresh_families, "created_at", AFTER_EXPIRY, only=not_(of_family)),
    )
