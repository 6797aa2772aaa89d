"""What can go wrong with models, as callers are told."""

from services.common.errors import AlreadyExists, Conflict, NotFound, PreconditionFailed


class ModelNotFound(NotFound):
    """The registry does not know it in this environment."""

    reason = "MODEL_NOT_FOUND"
    message = "There is no such model in this environment."
    resource_type = "model"


class ModelExists(AlreadyExists):
    """Each environment has a name once."""

    reason = "MODEL_EXISTS"
    message = "The environment has a model of this name already."


class ModelNotEnabled(PreconditionFailed):
    """What is disabled where it comes from is not promoted."""

    reason = "MODEL_NOT_ENABLED"
    message = "The model is disabled where it comes from; enable it first."


class StaleEtag(Conflict):
    """Somebody else changed the model since it was read."""

    message = "The model changed since it was read; read it again."
