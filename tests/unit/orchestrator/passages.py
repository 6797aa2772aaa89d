"""A few passages for tests of the answering core."""

from services.orchestrator.answering.passages import Passage


def passage(identifier: str, text: str, *, title: str = "Delivery", heading: str = "Cost", rank: int = 1) -> Passage:
    """A passage of an article of its own."""
    return Passage(
        id=identifier,
        article_id=f"art_{identifier}",
        article_title=title,
        article_version=1,
        heading=heading,
        text=text,
        url=f"/help/{identifier}",
        similarity=0.5,
        rank=rank,
    )
