"""Fuzzes the decoders, watching the branches they take: `python -m tests.security.fuzz SECONDS FOLDER [TARGET…]`.

The first byte of an input chooses the target among those named, all if none is. FOLDER keeps what is worth trying
again; an input that breaks a decoder is left there as `crash-…`, and the process ends with an error that shows where.
"""

import importlib
import inspect
import logging
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

from tests.security.decoders import TARGETS

# What reads bytes, ours and others'. To watch more is slower, and each function costs at the start.
WATCHED = (
    *(f"services.common.{name}" for name in ("api_keys", "errors", "pagination", "revocations", "tokens", "tracing")),
    *(
        f"services.auth.{name}"
        for name in (
            *("api_keys", "factors", "groups", "oauth"),
            *("adapters.logout_tokens", "adapters.oauth_grammar", "adapters.webauthn"),
        )
    ),
    *(f"services.gateway.{name}" for name in ("servicer", "openai.requests", "openai.errors", "openai.mapping")),
    *(f"services.knowledge.text.{name}" for name in ("blocks", "documents", "sections")),
    *("services.sessions.adapters.notices", "services.usage.mapping", "services.usage.adapters.stream"),
    *(f"serve_apps.assistant.{name}" for name in ("schemas", "tools", "engines.remote")),
    *("deskmesh_client.errors", "jwt.api_jws", "jwt.api_jwt", "yaml.scanner", "yaml.parser"),
    *("authlib.oauth2.rfc6749.grants.authorization_code", "webauthn.helpers.parse_attestation_object"),
)
LONGEST = 2048
INPUT_SECONDS = 10
MEGABYTES = 2048


def watch(name: str) -> None:
    """Have the branches of a module's functions and methods counted."""
    module = importlib.import_module(name)
    classes = [one for _, one in inspect.getmembers(module, inspect.isclass) if one.__module__ == name]
    for holder in (module, *classes):
        for _, function in inspect.getmembers(holder, inspect.isfunction):
            if function.__module__ == name:
                atheris.instrument_func(function)


def main(seconds: str, folder: str, *chosen: str) -> None:
    """Fuzz until the time is over; never returns."""
    names = chosen or tuple(TARGETS)
    corpus = Path(folder)
    for number, name in enumerate(names):
        for place, example in enumerate(TARGETS[name].examples):
            (corpus / f"{number}-{place}").write_bytes(bytes([number]) + example)

    def one(data: bytes) -> None:
        if data:
            TARGETS[names[data[0] % len(names)]].read(data[1:])

    logging.disable()
    for module in WATCHED:
        watch(module)
    limits = (f"-max_total_time={seconds}", f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={MEGABYTES}")
    atheris.Setup([sys.argv[0], *limits, f"-max_len={LONGEST}", f"-artifact_prefix={folder}/", folder], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
