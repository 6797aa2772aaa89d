"""The tables of auth, in its own schema."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.common.db import idempotency_table, new_metadata

metadata = new_metadata()

users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("email", String, nullable=False, unique=True),
    Column("display_name", String, nullable=False),
    Column("password_hash", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

organizations = Table(
    "organizations",
    metadata,
    Column("id", String, primary_key=True),
    Column("slug", String, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("organization_id", String, ForeignKey("organizations.id"), nullable=False),
    Column("user_id", String, ForeignKey("users.id"), nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("custom_role_ids", ARRAY(Text), nullable=False, server_default="{}"),
    # Those of both that groups at the organization's provider gave.
    Column("group_roles", ARRAY(Text), nullable=False, server_default="{}"),
    Column("group_custom_role_ids", ARRAY(Text), nullable=False, server_default="{}"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("organization_id", "user_id"),
    Index(None, "user_id"),
)

# Names are unique in an organization whatever their case, by an index of the migration.
roles = Table(
    "roles",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, ForeignKey("organizations.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("description", String, nullable=False),
    Column("permissions", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

refresh_families = Table(
    "refresh_families",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("user_id", String, ForeignKey("users.id"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("authenticated_at", DateTime(timezone=True)),
    Column("methods", ARRAY(Text), nullable=False, server_default="{}"),
    # Of a program that a person let in.
    Column("client_id", String, nullable=False, server_default=""),
    Column("scopes", ARRAY(Text), nullable=False, server_default="{}"),
    Index(None, "organization_id", "user_id"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("family_id", String, ForeignKey("refresh_families.id", ondelete="CASCADE"), nullable=False),
    Column("organization_id", String, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("spent_at", DateTime(timezone=True)),
    Column("successor_hash", LargeBinary),
    Index(None, "family_id"),
    Index(None, "expires_at"),
)

# The private key is sealed with the key in the secrets folder: a copy of the database alone signs nothing.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("sealed_private_key", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("user_id", String, ForeignKey("users.id"), primary_key=True),
    Column("email_verified_at", DateTime(timezone=True)),
    Column("password_alone", Boolean, nullable=False),
)

mail_links = Table(
    "mail_links",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("user_id", String, ForeignKey("users.id"), nullable=False, index=True),
    Column("purpose", String, nullable=False),
    Column("email", String, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)

mail_jobs = Table(
    "mail_jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("letter", String, nullable=False),
    Column("email", String, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("reference", String, nullable=False, server_default=""),
)

revocations = Table(
    "revocations",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("subject", String, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("revoked_at", DateTime(timezone=True), nullable=False, index=True),
)

# The secret is sealed with a key of its own, and that with one in the secrets folder.
totps = Table(
    "totps",
    metadata,
    Column("user_id", String, ForeignKey("users.id"), primary_key=True),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("confirmed_at", DateTime(timezone=True)),
    Column("last_step", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("user_id", String, ForeignKey("users.id"), primary_key=True),
    Column("hash", LargeBinary, primary_key=True),
    Column("used_at", DateTime(timezone=True)),
)

passkeys = Table(
    "passkeys",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("user_id", String, ForeignKey("users.id"), nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("transports", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
)

challenges = Table(
    "challenges",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("kind", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("organization_id", String, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
    Column("data", LargeBinary, nullable=False),
    Column("attempts", Integer, nullable=False),
)

oauth_codes = Table(
    "oauth_codes",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("client_id", String, nullable=False),
    Column("redirect_uri", String, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("code_challenge", String, nullable=False),
    Column("nonce", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("organization_id", String, nullable=False),
    Column("family_id", String, nullable=False),
    Column("authenticated_at", DateTime(timezone=True), nullable=False),
    Column("methods", ARRAY(Text), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
    # Kept after the code was redeemed: when it comes again, this sign-in ends.
    Column("issued_family_id", String, nullable=False),
)

# The person's columns are empty until somebody let the device in.
oauth_devices = Table(
    "oauth_devices",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("user_code_hash", LargeBinary, nullable=False, unique=True),
    Column("client_id", String, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
    Column("interval_seconds", Integer, nullable=False),
    Column("polled_at", DateTime(timezone=True)),
    Column("denied", Boolean, nullable=False),
    Column("user_id", String, nullable=False),
    Column("organization_id", String, nullable=False),
    Column("family_id", String, nullable=False),
    Column("authenticated_at", DateTime(timezone=True)),
    Column("methods", ARRAY(Text), nullable=False),
)

# Append-only: the service's role may add and read rows, and nothing else.
audit_events = Table(
    "audit_events",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("actor_id", String, nullable=False),
    Column("workload", String, nullable=False),
    Column("subject_id", String, nullable=False),
    Column("source", String, nullable=False),
    Column("trace_id", String, nullable=False),
    Column("details", JSONB, nullable=False),
    Index("ix_audit_events_organization_id_id", "organization_id", "id"),
    Index("ix_audit_events_organization_id_actor_id", "organization_id", "actor_id", "id"),
    Index("ix_audit_events_organization_id_subject_id", "organization_id", "subject_id", "id"),
)

idempotency_records = idempotency_table(metadata)
