"""Letting programs in, and putting them out."""

from typing import Any

import grpc.aio

from deskmesh.auth.v1 import consent_service_pb2 as consents
from deskmesh.auth.v1 import consent_service_pb2_grpc
from services.auth.mappings import consents as mapping
from services.auth.servicer import source_of
from services.auth.usecases.consents import Consents
from services.auth.usecases.programs import Programs
from services.common.context import caller

Context = grpc.aio.ServicerContext[Any, Any]


class ConsentServicer(consent_service_pb2_grpc.ConsentServiceServicer):
    """What programs ask of the caller."""

    def __init__(self, uses: Consents, programs: Programs) -> None:
        self._uses = uses
        self._programs = programs

    async def GetConsent(self, request: consents.GetConsentRequest, context: Context) -> consents.GetConsentResponse:
        me = mapping.answerer(caller(), source_of(context))
        return mapping.question(await self._uses.get(mapping.subject(request.subject), me))

    async def AnswerConsent(
        self, request: consents.AnswerConsentRequest, context: Context
    ) -> consents.AnswerConsentResponse:
        me = mapping.answerer(caller(), source_of(context))
        redirect_uri = await self._uses.answer(mapping.subject(request.subject), me, approved=request.approved)
        return consents.AnswerConsentResponse(redirect_uri=redirect_uri)

    async def ListPrograms(
        self, request: consents.ListProgramsRequest, context: Context
    ) -> consents.ListProgramsResponse:
        found = await self._programs.list(caller().user_id)
        return consents.ListProgramsResponse(programs=[mapping.program(one) for one in found])

    async def RevokeProgram(
        self, request: consents.RevokeProgramRequest, context: Context
    ) -> consents.RevokeProgramResponse:
        ended = await self._programs.revoke(caller().user_id, request.client_id)
        return consents.RevokeProgramResponse(ended_sign_ins=ended)
