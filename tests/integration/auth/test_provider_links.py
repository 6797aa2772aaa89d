"""Whose account a provider opens: linked by its holder, unlinked by its holder or an owner."""

from deskmesh.auth.v1 import identity_provider_service_pb2 as pb
from deskmesh.auth.v1.audit_event_pb2 import AuditEventType
from deskmesh.auth.v1.audit_service_pb2 import ListAuditEventsRequest
from deskmesh.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from tests.integration.auth.provider_house import House, bearer
from tests.support.server import refused


async def test_an_account_that_is_there_is_linked_by_its_holder_alone(house: House) -> None:
    customer = await house.auth.customer(house.owner.slug)
    await house.set_up(email_domains=["example.com"])
    person = house.newcomer(email=customer.email)
    assert await house.refusal(person) == "IDENTITY_NOT_LINKED"
    began = await house.stub.BeginIdentityLink(pb.BeginIdentityLinkRequest(), metadata=customer.headers)
    answer = house.acme.approve(began.authorization_url, person)
    finish = pb.FinishIdentityLinkRequest(attempt_token=began.attempt_token, answer=answer)
    async with refused() as refusal:
        await house.stub.FinishIdentityLink(finish, metadata=house.owner.headers)
    assert refusal.error.reason == "PROVIDER_SIGN_IN_INVALID"
    began = await house.stub.BeginIdentityLink(pb.BeginIdentityLinkRequest(), metadata=customer.headers)
    answer = house.acme.approve(began.authorization_url, person)
    finish = pb.FinishIdentityLinkRequest(attempt_token=began.attempt_token, answer=answer)
    await house.stub.FinishIdentityLink(finish, metadata=customer.headers)
    entered = await house.enter(person)
    assert entered.principal.user.id == customer.user_id
    # The provider's word alone does not unlink it; its holder's own proof does, which is a way in that stays.
    listed = await house.stub.ListIdentityLinks(pb.ListIdentityLinksRequest(), metadata=bearer(entered))
    (link,) = listed.identity_links
    assert (link.issuer, link.active) == (house.acme.issuer, True)
    remove = pb.RemoveIdentityLinkRequest(issuer=link.issuer, subject=link.subject)
    async with refused() as refusal:
        await house.stub.RemoveIdentityLink(remove, metadata=bearer(entered))
    assert refusal.error.reason == "STEP_UP_REQUIRED"
    assert (await house.stub.RemoveIdentityLink(remove, metadata=customer.headers)).ended_sign_ins == 1
    assert await house.refusal(person) == "IDENTITY_NOT_LINKED"
    async with refused() as refusal:
        await house.stub.ListIdentityLinks(pb.ListIdentityLinksRequest(), metadata=bearer(entered))
    assert refusal.error.reason == "TOKEN_REVOKED"


async def test_an_owner_unlinks_a_member(house: House) -> None:
    person = house.newcomer()
    entered = await house.enter(person)
    remove = pb.RemoveMemberIdentityLinksRequest(user_id=entered.principal.user.id)
    customer = await house.auth.customer(house.owner.slug)
    async with refused() as refusal:
        await house.stub.RemoveMemberIdentityLinks(remove, metadata=customer.headers)
    assert refusal.error.reason == "PERMISSION_MISSING"
    removed = await house.stub.RemoveMemberIdentityLinks(remove, metadata=house.owner.headers)
    assert (removed.removed, removed.ended_sign_ins) == (1, 1)
    assert await house.refusal(person) == "IDENTITY_NOT_LINKED"
    logged = await AuditServiceStub(house.auth.service.channel("edge")).ListAuditEvents(
        ListAuditEventsRequest(page_size=20), metadata=house.owner.headers
    )
    unlinked = [one for one in logged.events if one.type == AuditEventType.AUDIT_EVENT_TYPE_IDENTITY_UNLINKED]
    assert (unlinked[0].actor_id, unlinked[0].subject_id) == (house.owner.user_id, entered.principal.user.id)
