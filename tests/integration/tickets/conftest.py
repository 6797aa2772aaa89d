"""The tickets service on real stores and mTLS, with played neighbours."""

from collections.abc import AsyncIterator

import pytest_asyncio

from deskmesh.auth.v1 import organization_service_pb2_grpc
from deskmesh.sessions.v1 import conversation_service_pb2_grpc
from services.tickets.app import wire
from services.tickets.settings import TicketsSettings
from tests.integration.tickets.desk import Desk
from tests.integration.tickets.neighbours import Auth, Sessions, serving
from tests.support.server import RunningService, TestStack


@pytest_asyncio.fixture(scope="session")
async def running(stack: TestStack) -> AsyncIterator[tuple[RunningService, Sessions, Auth]]:
    played_sessions, played_auth = Sessions(), Auth()  # type: ignore[abstract]
    add_sessions = conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server
    add_auth = organization_service_pb2_grpc.add_OrganizationServiceServicer_to_server
    async with (
        serving(stack, "sessions", add_sessions, played_sessions) as sessions,
        serving(stack, "auth", add_auth, played_auth) as auth,
        stack.service(
            "tickets",
            TicketsSettings,
            wire,
            sessions_address=sessions.address,
            auth_address=auth.address,
            link_poll_seconds=0.05,
            # It must not close what other tests solved by a clock of their own.
            close_solved_days=36_500,
            close_poll_seconds=0.2,
        ) as service,
    ):
        yield service, played_sessions, played_auth


@pytest_asyncio.fixture
async def desk(running: tuple[RunningService, Sessions, Auth], organization_id: str) -> Desk:
    service, sessions, auth = running
    return Desk(service, sessions, auth, organization_id)
