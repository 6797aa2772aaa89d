"""What retrieval hands to the answering core."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """The text under one heading of a published article, and how it was found.

    `similarity` is the cosine of question and passage, -1 to 1; `text_rank` and `vector_rank` count from 1, 0 when that
    way did not find it. `rank` is the place in the fused order, from 1.
    """

    id: str
    article_id: str
    article_title: str
    article_version: int
    heading: str
    text: str
    url: str
    similarity: float
    rank: int
    text_rank: int = 0
    vector_rank: int = 0


@dataclass(frozen=True, slots=True)
class Sentence:
    """One quotable sentence; `text` stands in its passage verbatim, apart from white space.

    `position` counts the passage's sentences from 0, `paragraph` its paragraphs, items of lists and rows of tables.
    """

    text: str
    passage: Passage
    position: int
    paragraph: int

    @property
    def key(self) -> tuple[str, int]:
        """Identifies the sentence among all of a question's candidates."""
        return self.passage.id, self.position
