"""What the gateway is told from outside, beyond what every service is."""

from pathlib import Path

from pydantic import Field

from services.common.http import LoopbackAddress
from services.common.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """Read once from `DESKMESH_*`. The gateway keeps nothing in a database and serves HTTP only."""

    database_url: str = Field(default="", repr=False)
    listen_address: str = ""

    # Where Envoy asks.
    gateway_socket: Path
    auth_address: str
    # Where Envoy sends calls of the OpenAI-compatible API, and what they need.
    openai_socket: Path
    inference_address: str
    usage_address: str
    # The same two, for a mesh's proxy: on the pod's loopback, without TLS. Off if unset.
    gateway_address: LoopbackAddress = ""
    openai_address: LoopbackAddress = ""

    # A key that was revoked is refused after this long at the latest.
    key_recheck_seconds: float = Field(default=4.0, gt=0, le=5)
    exchange_timeout_seconds: float = Field(default=2.0, gt=0)
    # Tokens of models, prompts and answers together, a minute and as many at once.
    tokens_per_minute_of_key: int = Field(default=600_000, ge=10_000, le=60_000_000)
    tokens_per_minute_of_user: int = Field(default=1_200_000, ge=10_000, le=60_000_000)
    tokens_per_minute_of_organization: int = Field(default=6_000_000, ge=10_000, le=60_000_000)
    # Keys remembered, good ones and bad ones each; about 1 KiB a good one.
    keys_remembered: int = Field(default=10_000, ge=1)
    # Wrong keys that one address may try in a minute.
    wrong_keys_per_minute: int = Field(default=30, ge=1)
