"""Stand-ins for the services that a turn calls, behind the same mTLS, identity and validation as the real ones.

They keep what they are told, answer from a few articles, and can be made to fail, to wait and to be slow.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from deskmesh.inference.v1 import (
    embedding_service_pb2_grpc,
    inference_service_pb2_grpc,
    router_service_pb2_grpc,
)
from deskmesh.knowledge.v1 import search_service_pb2_grpc
from deskmesh.sessions.v1 import (
    conversation_service_pb2_grpc,
)
from deskmesh.tickets.v1 import ticket_service_pb2_grpc
from deskmesh.usage.v1 import (
    reservation_service_pb2_grpc,
    usage_service_pb2_grpc,
)
from services.common.server import Platform, ServicerRegistration
from tests.integration.orchestrator.neighbours.inference import InferenceDouble
from tests.integration.orchestrator.neighbours.knowledge import KnowledgeDouble
from tests.integration.orchestrator.neighbours.sessions import SessionsDouble
from tests.integration.orchestrator.neighbours.tickets import TicketsDouble
from tests.integration.orchestrator.neighbours.usage import UsageDouble


@dataclass
class Doubles:
    """All of them."""

    sessions: SessionsDouble = field(default_factory=SessionsDouble)
    tickets: TicketsDouble = field(default_factory=TicketsDouble)
    knowledge: KnowledgeDouble = field(default_factory=KnowledgeDouble)
    inference: InferenceDouble = field(default_factory=InferenceDouble)
    usage: UsageDouble = field(default_factory=UsageDouble)

    async def wire_sessions(self, stack: AsyncExitStack, platform: Platform[Any]) -> list[ServicerRegistration]:
        add = conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server
        return [ServicerRegistration(add, self.sessions)]

    async def wire_tickets(self, stack: AsyncExitStack, platform: Platform[Any]) -> list[ServicerRegistration]:
        return [ServicerRegistration(ticket_service_pb2_grpc.add_TicketServiceServicer_to_server, self.tickets)]

    async def wire_knowledge(self, stack: AsyncExitStack, platform: Platform[Any]) -> list[ServicerRegistration]:
        return [ServicerRegistration(search_service_pb2_grpc.add_SearchServiceServicer_to_server, self.knowledge)]

    async def wire_usage(self, stack: AsyncExitStack, platform: Platform[Any]) -> list[ServicerRegistration]:
        return [
            ServicerRegistration(reservation_service_pb2_grpc.add_ReservationServiceServicer_to_server, self.usage),
            ServicerRegistration(usage_service_pb2_grpc.add_UsageServiceServicer_to_server, self.usage),
        ]

    async def wire_inference(self, stack: AsyncExitStack, platform: Platform[Any]) -> list[ServicerRegistration]:
        return [
            ServicerRegistration(embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server, self.inference),
            ServicerRegistration(inference_service_pb2_grpc.add_InferenceServiceServicer_to_server, self.inference),
            ServicerRegistration(router_service_pb2_grpc.add_RouterServiceServicer_to_server, self.inference),
        ]
