"""Between the protos of consents and the domain."""

from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.auth.v1 import consent_service_pb2 as consents
from services.auth.usecases.consents import Answerer, Question, Subject
from services.auth.usecases.programs import Program
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


def program(found: Program) -> consents.Program:
    let_in_at = Timestamp()
    let_in_at.FromDatetime(found.let_in_at)
    return consents.Program(
        client_id=found.client_id,
        client_name=found.name,
        scopes=found.scopes,
        sign_ins=found.sign_ins,
        let_in_at=let_in_at,
    )
