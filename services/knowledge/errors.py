"""The failures a caller of this service is told about."""

from services.common.errors import AlreadyExists, InvalidInput, NotFound, PreconditionFailed


class ArticleNotFound(NotFound):
    """No such article, or none that this caller may see."""

    reason = "ARTICLE_NOT_FOUND"
    message = "There is no such article."
    resource_type = "deskmesh.knowledge.v1.Article"


class ArticleSlugTaken(AlreadyExists):
    """Another article of the organization has the slug in this locale."""

    reason = "ARTICLE_SLUG_TAKEN"
    message = "Another article has this slug; choose a different one."


class NothingToPublish(PreconditionFailed):
    """The article has no draft."""

    reason = "NOTHING_TO_PUBLISH"
    message = "The article has no draft to publish."


class EmptyArticle(InvalidInput):
    """Nothing readable is left of the Markdown."""

    message = "The article has no text to show."

    def __init__(self) -> None:
        super().__init__(violations=[("markdown", self.message)])


class TooManyPassages(InvalidInput):
    """The text falls into more parts than one article should have."""

    def __init__(self, limit: int) -> None:
        message = f"The article falls into more than {limit} passages; split it."
        super().__init__(message, violations=[("markdown", message)])


class TooTangled(InvalidInput):
    """The Markdown would keep the parser busy for too long."""

    def __init__(self, why: str) -> None:
        super().__init__(why, violations=[("markdown", why)])
