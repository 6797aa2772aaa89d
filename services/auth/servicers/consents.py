"""Letting programs in."""

from typing import Any

import grpc.aio

from deskmesh.auth.v1 import consent_service_pb2 as consents
from deskmesh.auth.v1 import consent_service_pb2_grpc
from services.auth.mappings import consents as mapping
from services.auth.servicer import source_of
from services.auth.usecases.consents import Consents
from services.common.context import caller

Context = grpc.aio.ServicerContext[Any, Any]


class ConsentServicer(consent_service_pb2_grpc.ConsentServiceServicer):
    """What programs ask of the caller."""

    def __init__(self, uses: Consents) -> None:
        self._uses = uses

    async def GetConsent(self, request: consents.GetConsentRequest, context: Context) -> consents.GetConsentResponse:
        me = mapping.answerer(caller(), source_of(context))
        return mapping.question(await self._uses.get(mapping.subject(request.subject), me))

    async def AnswerConsent(
        self, request: consents.AnswerConsentRequest, context: Context
    ) -> consents.AnswerConsentResponse:
        me = mapping.answerer(caller(), source_of(context))
        redirect_uri = await self._uses.answer(mapping.subject(request.subject), me, approved=request.approved)
        return consents.AnswerConsentResponse(redirect_uri=redirect_uri)
