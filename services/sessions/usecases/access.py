"""Who may see and change which conversation."""

from services.common.context import Caller
from services.sessions.domain import Conversation
from services.sessions.errors import ConversationNotFound
from services.sessions.ports import UnitOfWork

READ = "conversations.read"
WRITE = "conversations.write"
ASSIGN = "conversations.assign"

# The workload that runs turns; it alone writes for customers, the assistant and the system.
ORCHESTRATOR = "orchestrator"


async def find(work: UnitOfWork, caller: Caller, conversation_id: str, permission: str) -> Conversation:
    """Read a conversation. Raises ConversationNotFound, also for one that this caller may not know of."""
    return _visible(await work.conversations.find(conversation_id), caller, conversation_id, permission)


async def lock(work: UnitOfWork, caller: Caller, conversation_id: str, permission: str) -> Conversation:
    """Read and hold a conversation to change it. Raises ConversationNotFound."""
    return _visible(await work.conversations.lock(conversation_id), caller, conversation_id, permission)


def may(caller: Caller, conversation: Conversation, permission: str) -> bool:
    """True when the permission covers this conversation: all of the organization's, or the person's own."""
    return caller.may(permission) or (caller.owns_only(permission) and conversation.customer_id == caller.user_id)


def _visible(found: Conversation | None, caller: Caller, conversation_id: str, permission: str) -> Conversation:
    if found is None or not may(caller, found, permission):
        raise ConversationNotFound(resource_name=conversation_id)
    return found
