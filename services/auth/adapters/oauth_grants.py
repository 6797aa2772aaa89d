"""Codes and the requests of devices in Postgres, for units of work of the whole system alone."""

from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth import tables
from services.auth.oauth import Approval, AuthorizationCode, DeviceRequest


class SqlGrants:
    """See `oauth_ports.Grants`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add_code(self, code: AuthorizationCode) -> None:
        values = {
            "hash": code.hash,
            "client_id": code.client_id,
            "redirect_uri": code.redirect_uri,
            "scopes": list(code.scopes),
            "code_challenge": code.code_challenge,
            "nonce": code.nonce,
            "expires_at": code.expires_at,
            "issued_family_id": code.issued_family_id,
            **_approval_values(code.approval),
        }
        await self._session.execute(insert(tables.oauth_codes).values(values))

    async def find_code_locked(self, code_hash: bytes) -> AuthorizationCode | None:
        table = tables.oauth_codes
        row = (await self._session.execute(select(table).where(table.c.hash == code_hash).with_for_update())).first()
        if row is None:
            return None
        return AuthorizationCode(
            row.hash,
            row.client_id,
            row.redirect_uri,
            tuple(row.scopes),
            row.code_challenge,
            row.nonce,
            _approval(row),
            row.expires_at,
            row.issued_family_id,
        )

    async def redeem_code(self, code_hash: bytes, family_id: str) -> None:
        table = tables.oauth_codes
        await self._session.execute(update(table).where(table.c.hash == code_hash).values(issued_family_id=family_id))

    async def add_device(self, device: DeviceRequest) -> None:
        values = {
            "hash": device.hash,
            "user_code_hash": device.user_code_hash,
            "client_id": device.client_id,
            "scopes": list(device.scopes),
            "expires_at": device.expires_at,
            **_state_values(device),
        }
        await self._session.execute(insert(tables.oauth_devices).values(values))

    async def find_device_locked(self, device_hash: bytes) -> DeviceRequest | None:
        table = tables.oauth_devices
        row = (await self._session.execute(select(table).where(table.c.hash == device_hash).with_for_update())).first()
        return _device(row) if row else None

    async def find_user_code_locked(self, user_code_hash: bytes) -> DeviceRequest | None:
        table = tables.oauth_devices
        chosen = select(table).where(table.c.user_code_hash == user_code_hash).with_for_update()
        row = (await self._session.execute(chosen)).first()
        return _device(row) if row else None

    async def update_device(self, device: DeviceRequest) -> None:
        table = tables.oauth_devices
        await self._session.execute(update(table).where(table.c.hash == device.hash).values(_state_values(device)))

    async def remove_device(self, device_hash: bytes) -> None:
        await self._session.execute(delete(tables.oauth_devices).where(tables.oauth_devices.c.hash == device_hash))

    async def withdraw(self, user_id: str, client_id: str) -> None:
        codes, devices = tables.oauth_codes, tables.oauth_devices
        # A code that was redeemed stays: when it comes again, that must be seen.
        unused = delete(codes).where(codes.c.issued_family_id == "")
        await self._session.execute(unused.where(codes.c.user_id == user_id, codes.c.client_id == client_id))
        await self._session.execute(
            delete(devices).where(devices.c.user_id == user_id, devices.c.client_id == client_id)
        )


def _state_values(device: DeviceRequest) -> dict[str, object]:
    nobody: dict[str, object] = {
        "user_id": "",
        "organization_id": "",
        "family_id": "",
        "authenticated_at": None,
        "methods": [],
    }
    return {
        "interval_seconds": device.interval_seconds,
        "polled_at": device.polled_at,
        "denied": device.denied,
        **(nobody if device.approval is None else _approval_values(device.approval)),
    }


def _approval_values(approval: Approval) -> dict[str, object]:
    return {
        "user_id": approval.user_id,
        "organization_id": approval.organization_id,
        "family_id": approval.family_id,
        "authenticated_at": approval.authenticated_at,
        "methods": list(approval.methods),
    }


def _approval(row: Row[Any]) -> Approval:
    return Approval(row.user_id, row.organization_id, row.family_id, row.authenticated_at, tuple(row.methods))


def _device(row: Row[Any]) -> DeviceRequest:
    return DeviceRequest(
        row.hash,
        row.user_code_hash,
        row.client_id,
        tuple(row.scopes),
        row.expires_at,
        row.interval_seconds,
        row.polled_at,
        row.denied,
        _approval(row) if row.user_id else None,
    )
