"""Typed asyncio client of Deskmesh.

```python
async with Client("localhost:8443", ca_file=".deskmesh/pki/ca.crt") as client:
    await client.sign_in("me@example.org", "secret", organization="fernwick")
    reply = await client.ask("How long do returns take?")
```
"""

from deskmesh_client.client import Client
from deskmesh_client.conversations import Cited, Delta, Finished, Frame
from deskmesh_client.errors import DeskmeshError, FieldViolation
from deskmesh_client.session import FileSession, MemorySession, Session

__all__ = [
    "Cited",
    "Client",
    "Delta",
    "DeskmeshError",
    "FieldViolation",
    "FileSession",
    "Finished",
    "Frame",
    "MemorySession",
    "Session",
]
