"""The commands about organizations, as people type them, against what really answers."""

import asyncio
import json
import os
import sys
from typing import Any

from deskmesh.auth.v1 import organization_service_pb2 as organizations
from tests.integration.gateway.conftest import PASSWORD, Door

PROGRAM = "from deskmesh_cli.main import main; main()"


async def deskmesh(door: Door, *arguments: str, as_json: bool = True) -> Any:
    """Run a command as the owner; its JSON, or what it prints."""
    environment = os.environ | {
        "DESKMESH_HOME": str(door.folder),
        "DESKMESH_EDGE_PORT": str(door.port),
        "DESKMESH_EMAIL": door.email,
        "DESKMESH_PASSWORD": PASSWORD,
    }
    command = (sys.executable, "-c", PROGRAM, *arguments, *(("--json",) if as_json else ()))
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (out, err)
    return json.loads(out) if as_json else out.decode()


async def test_an_administrators_day(door: Door) -> None:
    role, account = await asyncio.gather(
        deskmesh(door, "roles", "create", "Auditor", "--permission", "audit.read"),
        deskmesh(door, "api-keys", "create-account", "Orders"),
    )
    role_id, account_id = role["role"]["id"], account["service_account"]["id"]
    invited, made = await asyncio.gather(
        deskmesh(door, "invitations", "create", "new@example.com", "--role", "agent", "--role", role_id),
        deskmesh(door, "api-keys", "create", "k", "--account", account_id, "--scope", "members.read", "--days", "7"),
    )
    assert invited["invitation"]["custom_role_ids"] == [role_id]
    async with door.program(made["secret"]) as program:
        assert (await program.members.ListMembers(organizations.ListMembersRequest())).members
    shown = await deskmesh(
        door, "audit", "--type", "api_key_created", "--subject", made["api_key"]["id"], as_json=False
    )
    assert "api_key_created" in shown
    assert made["secret"] not in shown
