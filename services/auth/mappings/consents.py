"""Between the protos of consents and the domain."""

from deskmesh.auth.v1 import consent_service_pb2 as consents
from services.auth.usecases.consents import Answerer, Question, Subject
from services.common.context import Caller


def subject(message: consents.ConsentSubject) -> Subject:
    return Subject(message.authorization, message.user_code)


def answerer(caller: Caller, source: str) -> Answerer:
    return Answerer(caller.user_id, caller.organization_id, caller.session_id, source)


def question(found: Question) -> consents.GetConsentResponse:
    return consents.GetConsentResponse(
        client_id=found.client.id,
        client_name=found.client.name,
        scopes=found.scopes,
        redirect_host=found.redirect_host,
    )
