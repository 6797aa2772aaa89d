"""The assistant's own sentences. What a help centre says is quoted, never written here."""

from collections.abc import Sequence

# Goes up with every change of a sentence; it is kept with each turn that used one.
VERSION = "texts/4"

GREETING = (
    "Hello! Ask me anything about orders, delivery, returns or your account, and I will look it up in our help centre."
)
THANKS = "You're welcome! Is there anything else I can help with?"
FEELINGS = "I'm an assistant, so always the same, but thank you for asking. What can I help you with?"
GOODBYE = "Goodbye! You can come back to this conversation whenever you need."

HANDOFF = (
    "I've passed this conversation to our team as ticket #{number}. A person will answer you here; "
    "you don't need to repeat anything."
)
OFFER_REQUESTED = "I can open a ticket for our team about “{subject}”. Shall I? Answer yes or no."
OFFER_UNKNOWN = (
    "I couldn't find that in our help centre, so I won't guess. "
    "Shall I open a ticket about “{subject}” so that a person can answer you?"
)
OFFER_BUDGET = (
    "I can't look that up for you right now. Shall I open a ticket about “{subject}” so that a person can answer you?"
)
OFFER_CUT_OFF = "I have to stop here. Shall I open a ticket about “{subject}” so that a person can tell you the rest?"
OPENED = (
    "Done: I've opened ticket #{number}, “{subject}”, with our conversation attached. Our team will get back to you."
)
DECLINED = "All right, I won't open a ticket. Is there anything else I can help with?"

CLARIFY_TOPICS = "I'm not sure what you mean. Is it about {topics}? Please tell me a little more."
NEAREST_OPENING = "I'm not sure that this answers you. The nearest I find in our help centre is “{topic}”:\n\n"
NEAREST_CLOSING = "\n\nIf that isn't it, tell me a little more, or say “open a ticket” and a person will answer you."
CLARIFY_OPEN = (
    "Could you tell me a little more about what you need? For example an order, a delivery, a return or your account."
)
OFF_TOPIC = (
    "I can only help with questions about our shop. Is there anything about an order, a delivery or your account?"
)


def listed(topics: Sequence[str]) -> str:
    """Topics as part of a sentence: "“Returns policy”, “Refunds” or “Exchanges”"."""
    quoted = [f"“{topic}”" for topic in topics]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
