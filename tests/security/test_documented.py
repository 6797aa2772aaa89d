"""Schemathesis reads the API's OpenAPI document and calls every operation, at the real edge before all real services.

It makes requests that the document allows and such as it does not. None may end in a failure of the inside, and none
may be answered otherwise than documented. `DESKMESH_SCHEMATHESIS_EXAMPLES` says how many requests an operation gets; a
night takes 100, and the edges of every parameter besides.
"""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.security.gate import Gate

DOCUMENT = Path(__file__).parents[2] / "gen" / "openapi.json"
USUAL = 3
EXAMPLES = int(os.environ.get("DESKMESH_SCHEMATHESIS_EXAMPLES", USUAL))
SEED = os.environ.get("DESKMESH_SCHEMATHESIS_SEED", "1")
PHASES = "fuzzing" if EXAMPLES <= USUAL else "examples,coverage,fuzzing"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# They end the sign-in by which the others are tried, or are streams, which `test_rest.py` reads.
LEFT_OUT = ("ChangePassword", "SignOutEverywhere", "ImportDocuments", "Watch")
SECONDS = 60 + 3 * EXAMPLES * 60


@pytest.mark.timeout(SECONDS + 120)
async def test_every_operation_answers_as_documented(open_gate: Gate, tmp_path: Path) -> None:
    document = json.loads(DOCUMENT.read_text())
    # It comes with a token; made-up keys beside it would be all that is answered.
    del document["components"]["securitySchemes"]["key"]
    document["security"] = [{"token": []}]
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    options = {
        "--url": open_gate.url,
        "--tls-verify": open_gate.ca_file,
        "--header": f"Authorization: Bearer {open_gate.rest.token}",
        "--exclude-operation-id-regex": f"^({'|'.join(LEFT_OUT)})$",
        "--phases": PHASES,
        "--checks": ",".join(CHECKS),
        "--max-examples": EXAMPLES,
        "--seed": SEED,
        "--request-timeout": 30,
        "--suppress-health-check": "all",
        "--warnings": "off",
    }
    words = [str(word) for option in options.items() for word in option]
    command = (str(Path(sys.executable).parent / "schemathesis"), "--no-color", "run", "openapi.json", "--no-shrink")
    process = await asyncio.create_subprocess_exec(
        *command,
        *words,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()[-8000:]
    # What it did not call it cannot have found wrong.
    operations = sum(map(len, document["paths"].values())) - len(LEFT_OUT)
    assert re.search(rf"Tested: {operations}\b", said.decode()), said.decode()[-3000:]
