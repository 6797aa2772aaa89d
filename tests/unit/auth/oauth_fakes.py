"""The ports of OAuth in memory."""

from dataclasses import replace
from typing import Protocol

from services.auth.oauth import AuthorizationCode, DeviceRequest


class Store(Protocol):
    """The part of the store that these ports keep."""

    codes_granted: dict[bytes, AuthorizationCode]
    devices: dict[bytes, DeviceRequest]


class FakeGrants:
    """See `oauth_ports.Grants`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add_code(self, code: AuthorizationCode) -> None:
        self._store.codes_granted[code.hash] = code

    async def find_code_locked(self, code_hash: bytes) -> AuthorizationCode | None:
        return self._store.codes_granted.get(code_hash)

    async def redeem_code(self, code_hash: bytes, family_id: str) -> None:
        self._store.codes_granted[code_hash] = replace(self._store.codes_granted[code_hash], issued_family_id=family_id)

    async def add_device(self, device: DeviceRequest) -> None:
        self._store.devices[device.hash] = device

    async def find_device_locked(self, device_hash: bytes) -> DeviceRequest | None:
        return self._store.devices.get(device_hash)

    async def find_user_code_locked(self, user_code_hash: bytes) -> DeviceRequest | None:
        return next((one for one in self._store.devices.values() if one.user_code_hash == user_code_hash), None)

    async def update_device(self, device: DeviceRequest) -> None:
        self._store.devices[device.hash] = device

    async def remove_device(self, device_hash: bytes) -> None:
        del self._store.devices[device_hash]

    async def withdraw(self, user_id: str, client_id: str) -> None:
        for code in list(self._store.codes_granted.values()):
            if (code.approval.user_id, code.client_id, code.issued_family_id) == (user_id, client_id, ""):
                del self._store.codes_granted[code.hash]
        for device in list(self._store.devices.values()):
            if device.approval is not None and (device.approval.user_id, device.client_id) == (user_id, client_id):
                del self._store.devices[device.hash]
