"""How an answer is held against a question's expected facts."""

import re
from collections.abc import Sequence


def mentions(text: str, wanted: str) -> bool:
    """Whether ``text`` has ``wanted`` as whole words.

    Case and runs of white space do not matter. A number never matches inside a longer one: ``5 days`` is not
    in ``15 days`` and ``£6`` is not in ``£6.50``.
    """
    words = r"\s+".join(re.escape(word) for word in wanted.split())
    before = r"(?<!\w)(?<!\d[.,])" if wanted[:1].isalnum() else ""
    after = r"(?!\w)(?![.,:]\d)" if wanted[-1:].isalnum() else ""
    return re.search(before + words + after, text, re.IGNORECASE) is not None


def states_the_facts(answer: str, must_contain: Sequence[Sequence[str]], must_not_contain: Sequence[str]) -> bool:
    """Whether ``answer`` has one alternative of every group in ``must_contain`` and none of ``must_not_contain``."""
    return all(any(mentions(answer, alternative) for alternative in group) for group in must_contain) and not any(
        mentions(answer, wrong) for wrong in must_not_contain
    )
