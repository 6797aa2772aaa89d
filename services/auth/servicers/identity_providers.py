"""Signing in by an organization's own provider."""

from typing import Any

import grpc.aio

from deskmesh.auth.v1 import identity_provider_pb2, identity_provider_service_pb2_grpc
from deskmesh.auth.v1 import identity_provider_service_pb2 as pb
from services.auth import mapping
from services.auth.identity_providers import IdentityProvider
from services.auth.mappings import identity_providers as own
from services.auth.mappings.roles import granter
from services.auth.servicer import source_of
from services.auth.usecases.identity_links import IdentityLinks
from services.auth.usecases.identity_providers import IdentityProviders
from services.auth.usecases.provider_sign_in import ProviderSignIns
from services.common.context import caller

Context = grpc.aio.ServicerContext[Any, Any]


class IdentityProviderServicer(identity_provider_service_pb2_grpc.IdentityProviderServiceServicer):
    """The organization's provider, and who comes by it."""

    def __init__(self, providers: IdentityProviders, sign_ins: ProviderSignIns, links: IdentityLinks) -> None:
        self._providers = providers
        self._sign_ins = sign_ins
        self._links = links

    async def GetIdentityProvider(
        self, request: pb.GetIdentityProviderRequest, context: Context
    ) -> pb.GetIdentityProviderResponse:
        found = await self._providers.get(caller().organization_id)
        return pb.GetIdentityProviderResponse(identity_provider=self._told(found))

    async def SetIdentityProvider(
        self, request: pb.SetIdentityProviderRequest, context: Context
    ) -> pb.SetIdentityProviderResponse:
        me = caller()
        found = await self._providers.set(me.organization_id, own.to_settings(request), granter(me))
        return pb.SetIdentityProviderResponse(identity_provider=self._told(found))

    async def RemoveIdentityProvider(
        self, request: pb.RemoveIdentityProviderRequest, context: Context
    ) -> pb.RemoveIdentityProviderResponse:
        ended = await self._providers.remove(caller().organization_id)
        return pb.RemoveIdentityProviderResponse(ended_sign_ins=ended)

    async def GetSignInOptions(
        self, request: pb.GetSignInOptionsRequest, context: Context
    ) -> pb.GetSignInOptionsResponse:
        return pb.GetSignInOptionsResponse(provider_name=await self._sign_ins.name_of(request.organization_slug))

    async def BeginProviderSignIn(
        self, request: pb.BeginProviderSignInRequest, context: Context
    ) -> pb.BeginProviderSignInResponse:
        url, token = await self._sign_ins.begin(request.organization_slug, source_of(context))
        return pb.BeginProviderSignInResponse(authorization_url=url, attempt_token=token)

    async def FinishProviderSignIn(
        self, request: pb.FinishProviderSignInRequest, context: Context
    ) -> pb.FinishProviderSignInResponse:
        signed_in = await self._sign_ins.finish(request.attempt_token, request.answer)
        return pb.FinishProviderSignInResponse(
            principal=mapping.principal(signed_in.principal), tokens=mapping.tokens(signed_in.tokens)
        )

    async def BeginIdentityLink(
        self, request: pb.BeginIdentityLinkRequest, context: Context
    ) -> pb.BeginIdentityLinkResponse:
        me = caller()
        url, token = await self._sign_ins.begin_link(me.organization_id, me.user_id, source_of(context))
        return pb.BeginIdentityLinkResponse(authorization_url=url, attempt_token=token)

    async def FinishIdentityLink(
        self, request: pb.FinishIdentityLinkRequest, context: Context
    ) -> pb.FinishIdentityLinkResponse:
        me = caller()
        await self._sign_ins.finish_link(me.organization_id, me.user_id, request.attempt_token, request.answer)
        return pb.FinishIdentityLinkResponse()

    async def ListIdentityLinks(
        self, request: pb.ListIdentityLinksRequest, context: Context
    ) -> pb.ListIdentityLinksResponse:
        found = await self._links.of(caller().organization_id, caller().user_id)
        return pb.ListIdentityLinksResponse(identity_links=map(own.identity_link, found))

    async def RemoveIdentityLink(
        self, request: pb.RemoveIdentityLinkRequest, context: Context
    ) -> pb.RemoveIdentityLinkResponse:
        me = caller()
        removed = await self._links.remove(me.organization_id, me.user_id, request.issuer, request.subject)
        return pb.RemoveIdentityLinkResponse(ended_sign_ins=removed.sign_ins)

    async def RemoveMemberIdentityLinks(
        self, request: pb.RemoveMemberIdentityLinksRequest, context: Context
    ) -> pb.RemoveMemberIdentityLinksResponse:
        removed = await self._links.remove_all(caller().organization_id, request.user_id, caller().roles)
        return pb.RemoveMemberIdentityLinksResponse(removed=removed.identities, ended_sign_ins=removed.sign_ins)

    def _told(self, found: IdentityProvider) -> identity_provider_pb2.IdentityProvider:
        return own.provider(found, self._sign_ins.redirect_uri, self._sign_ins.backchannel_logout_uri)
