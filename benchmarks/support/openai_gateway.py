"""P5's side of ours: the API of the gateway, wired as in its process, on a TCP port as the other proxy has one.

`python -m benchmarks.support.openai_gateway FOLDER INFERENCE_PORT USAGE_PORT VALKEY_URL`; its port is written to
`FOLDER/gateway.port`. Tokens are checked, rules too, and every call is counted in Valkey, reserved for and settled.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import redis.asyncio
import uvloop
from aiohttp import web

from mesh.policy.limits import ORGANIZATION, PERSON, Limit
from mesh.policy.table import RateClass
from services.common.buckets import ValkeyBuckets
from services.common.clients import ChannelFactory
from services.common.garbage import settle_garbage_collector
from services.common.interceptors.limits import PEOPLE, PeopleLimits
from services.common.revocations import Revocations
from services.common.settings import ServiceSettings
from services.common.tls import CertificateFiles
from services.common.tokens import KeySet, TokenVerifier, jwks_fetcher
from services.gateway.adapters.budgets import BudgetsClient
from services.gateway.adapters.models import ModelsClient
from services.gateway.adapters.tokens import ValkeyHolds
from services.gateway.openai.identity import Doorkeeper
from services.gateway.openai.servicer import OpenAiApi
from services.gateway.openai.spending import LEASE_SECONDS, Spending
from services.gateway.token_limits import TokenLimits, TokenRates
from tests.support.pki import AUDIENCE, ISSUER, TestPki

# Beyond what a run uses: counted, never refused.
TOKENS_A_MINUTE = 60_000_000
CALLS = tuple(
    Limit(rate_class, who, 100_000, 105_000)
    for rate_class in (RateClass.READ, RateClass.INFERENCE)
    for who in (PERSON, ORGANIZATION)
)


async def serve(folder: Path, inference_port: str, usage_port: str, valkey_url: str) -> None:
    """Serve until killed."""
    identity: dict[str, Any] = dict(TestPki(folder / "pki").files("gateway"))
    settings = ServiceSettings(
        database_url="unused",
        redis_url="unused",
        listen_address="",
        ops_socket=folder / "unused.sock",
        jwks_socket=folder / "jwks.sock",
        **identity,
    )
    channels = ChannelFactory(CertificateFiles(settings))
    revocations = Revocations()
    keys = KeySet(jwks_fetcher(settings.issuer_at))
    verifier = TokenVerifier(keys, issuer=ISSUER, audience=AUDIENCE, revocations=revocations)
    async with AsyncExitStack() as stack:
        budgets = BudgetsClient(channels.channel(f"127.0.0.1:{usage_port}", "usage"))
        spending = await stack.enter_async_context(Spending(budgets))
        models = ModelsClient(channels.channel(f"127.0.0.1:{inference_port}", "inference"))
        store = redis.asyncio.Redis.from_url(valkey_url)
        stack.push_async_callback(store.aclose)
        rates = TokenRates.per_minute(TOKENS_A_MINUTE, TOKENS_A_MINUTE, TOKENS_A_MINUTE)
        tokens = TokenLimits(ValkeyHolds(store), rates, lease_seconds=LEASE_SECONDS)
        people = PeopleLimits(ValkeyBuckets(store, PEOPLE), CALLS)
        stack.push_async_callback(people.close)
        api = OpenAiApi(Doorkeeper(verifier, revocations, people), models, spending, tokens)
        runner = web.AppRunner(api.application(), access_log=None, handler_cancellation=True, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        settle_garbage_collector()
        (folder / "gateway.port").write_text(str(runner.addresses[0][1]))
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), *sys.argv[2:5]))
