"""The rules of what is served over plain HTTP: the same rules as of RPCs, by path."""

from collections.abc import Mapping
from types import MappingProxyType

from mesh.policy.table import Idempotency, RateClass, Rule, load_table

# Everything under it is the OpenAI-compatible API.
OPENAI_PREFIX = "/v1/"
MODELS = f"{OPENAI_PREFIX}models"
CHAT_COMPLETIONS = f"{OPENAI_PREFIX}chat/completions"
EMBEDDINGS = f"{OPENAI_PREFIX}embeddings"
# Signing in to other programs: auth's own HTTP, which proves for itself who is there.
OAUTH_PREFIX = "/oauth/"
OAUTH_DOCUMENTS = (
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    "/.well-known/jwks.json",
)
INFERENCE_USE = "inference.use"


def _rule(path: str, idempotency: Idempotency, rate_class: RateClass) -> Rule:
    return Rule(
        method=path,
        callers=frozenset({"edge"}),
        permission=INFERENCE_USE,
        anonymous=False,
        idempotency=idempotency,
        rate_class=rate_class,
        client_streaming=False,
        server_streaming=path == CHAT_COMPLETIONS,
        has_request_id=False,
    )


HTTP_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        rule.method: rule
        for rule in (
            _rule(MODELS, Idempotency.READ, RateClass.READ),
            _rule(CHAT_COMPLETIONS, Idempotency.NONE, RateClass.INFERENCE),
            _rule(EMBEDDINGS, Idempotency.READ, RateClass.INFERENCE),
        )
    }
)


def every_rule() -> Mapping[str, Rule]:
    """The rules of all RPCs and of all paths."""
    return {**load_table(), **HTTP_RULES}
