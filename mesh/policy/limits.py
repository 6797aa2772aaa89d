"""How many calls a second one person, one organization or one address may make, by rate class.

Two count by this table. Envoy does in token buckets of its own: cheap, at each replica of the edge for itself, which
keeps floods from the services. The services count once more what people with a token call: exactly, however many
replicas of edge and services there are (`services.common.interceptors.limits`). All of it is far above what people do;
auth counts attempts at passwords more closely, and usage what is spent on models.
"""

from dataclasses import dataclass

from mesh.policy.table import RateClass

PERSON, ORGANIZATION, ADDRESS = "person", "organization", "remote_address"


@dataclass(frozen=True)
class Limit:
    """Calls of a class a second in the long run, and `burst` of them at once."""

    rate_class: RateClass
    who: str
    per_second: int
    burst: int


# Credential calls come without a person, so the address is what counts; auth counts what fails much more closely.
LIMITS = (
    Limit(RateClass.READ, PERSON, per_second=500, burst=5_000),
    Limit(RateClass.READ, ORGANIZATION, per_second=5_000, burst=50_000),
    Limit(RateClass.WRITE, PERSON, per_second=200, burst=2_000),
    Limit(RateClass.WRITE, ORGANIZATION, per_second=2_000, burst=20_000),
    Limit(RateClass.STREAM, PERSON, per_second=200, burst=12_000),
    Limit(RateClass.STREAM, ORGANIZATION, per_second=2_000, burst=24_000),
    Limit(RateClass.INFERENCE, PERSON, per_second=20, burst=200),
    Limit(RateClass.INFERENCE, ORGANIZATION, per_second=200, burst=2_000),
    Limit(RateClass.CREDENTIAL, PERSON, per_second=20, burst=200),
    Limit(RateClass.CREDENTIAL, ADDRESS, per_second=100, burst=2_000),
)
