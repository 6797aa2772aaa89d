"""What kind of answer a question asks for, and whether a sentence has one of that kind."""

import re
from enum import StrEnum

_NUMBER = r"(?:\d[\d.,]*|one|two|three|four|five|six|seven|eight|nine|ten|twelve)"
_UNIT = r"(?:working )?(?:minute|hour|day|week|month|year)s?"
_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"


class Kind(StrEnum):
    """What a question asks for."""

    DURATION = "duration"
    MONEY = "money"
    TIME = "time"
    NUMBER = "number"
    PERMISSION = "permission"
    OPEN = "open"


# In this order: the first that a question matches is its kind.
_ASKS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (Kind.NUMBER, re.compile(r"how (?:long|wide|big|tall) (?:can|may|is|are) .{0,40}\b(?:be|note|message|text)\b")),
    (
        Kind.DURATION,
        re.compile(
            r"how (?:long|fast|quick|quickly|soon|old)|how many (?:working )?(?:minute|hour|day|week|month|year)"
            r"|(?:by|til|till|until) when|for how|within (?:what|which)|at what point|when (?:will|would|should|does|do"
            r"|can) (?:my|the|it|i|we)\b.*(?:arrive|come|turn up|get here|reach|back)|how late|\bexpires?\b"
        ),
    ),
    (
        Kind.MONEY,
        re.compile(
            r"how much|what (?:do|does|would|will|did) .{0,40}(?:cost|charge|spend)|\bcosts?\b"
            r"|how expensive|what(?:'s|s| is) the (?:fine|fee|price|penalty|smallest)"
            r"|(?:do|would|will) (?:i|we|you) (?:owe|pay|charge)|(?:smallest|minimum) (?:order|basket)|order value"
            r"|money off|what discount|worth"
        ),
    ),
    (Kind.TIME, re.compile(r"\bwhen\b|what time|until what|which day|what day|opening|\bopen\b|which date|what date")),
    (Kind.NUMBER, re.compile(r"how (?:many|heavy|big|large|tall|far|often)|at which temp")),
    (
        Kind.PERMISSION,
        re.compile(
            r"^(?!what|which|who|where|how)(?:[\w']+ ){0,2}?(?:can|may|could|do|does|will|is|are|am|should|must)\b"
        ),
    ),
)

_HAS: dict[Kind, re.Pattern[str]] = {
    Kind.DURATION: re.compile(
        rf"\b{_NUMBER}(?: to {_NUMBER})? {_UNIT}\b|\bat once\b|\bimmediately\b|{_MONTH}|\d\d:\d\d", re.I
    ),
    Kind.MONEY: re.compile(
        r"[£$€]\s?\d|\b\d+(?:\.\d+)? ?%|\bfree\b|\bno charge\b|\bprices?\b|\bnothing\b|\brefunds?\b", re.I
    ),
    Kind.TIME: re.compile(
        rf"\d\d?:\d\d|{_MONTH}|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|\b{_NUMBER} {_UNIT}\b|\bwhen\b"
        r"|\bafter\b|\bbefore\b|\bday\b|\buntil\b",
        re.I,
    ),
    Kind.NUMBER: re.compile(rf"\b{_NUMBER}\b|\d", re.I),
    Kind.PERMISSION: re.compile(
        r"\b(?:can|cannot|may|must|not|never|only|no|always|every|accepts?|possible|automatically|free|allowed|should|need)\b",
        re.I,
    ),
}


def kind_of(question: str) -> Kind:
    """The kind of answer a question asks for; OPEN when it cannot be told by its form."""
    plain = question.lower().replace("’", "'")
    return next((kind for kind, pattern in _ASKS if pattern.search(plain)), Kind.OPEN)


def answers_kind(kind: Kind, sentence: str) -> bool:
    """True when the sentence has something of the kind; every sentence has something of kind OPEN."""
    return kind is Kind.OPEN or bool(_HAS[kind].search(sentence))
