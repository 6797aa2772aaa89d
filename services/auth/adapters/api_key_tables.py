"""The tables of service accounts and API keys."""

from sqlalchemy import Column, DateTime, ForeignKey, Index, LargeBinary, String, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY

from services.auth.tables import metadata

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, ForeignKey("organizations.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("organization_id", "name"),
)

# Of the service account and the user exactly one is not empty.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, ForeignKey("organizations.id"), nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("prefix", String, nullable=False),
    Column("name", String, nullable=False),
    Column("service_account_id", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("networks", ARRAY(Text), nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Index(None, "organization_id", "id"),
)
