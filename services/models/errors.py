"""What can go wrong with models, as callers are told."""

from collections.abc import Sequence

from services.common.errors import AlreadyExists, Conflict, InvalidInput, NotFound, PreconditionFailed


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


class DeploymentNotFound(NotFound):
    """There is none of this identifier."""

    reason = "DEPLOYMENT_NOT_FOUND"
    message = "There is no such deployment."
    resource_type = "deployment"


class DeploymentInProgress(PreconditionFailed):
    """One at a time, so that it is known what a measurement is of."""

    reason = "DEPLOYMENT_IN_PROGRESS"
    message = "Another deployment is under way; wait for it or roll it back."


class NothingToRollBack(PreconditionFailed):
    """Nothing served before what serves now, on what the platform was started with."""

    reason = "NOTHING_TO_ROLL_BACK"
    message = "There is nothing to go back to."


class TargetInvalid(InvalidInput):
    """Each problem with file, line and field."""

    reason = "TARGET_INVALID"
    message = "The target cannot be deployed."

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(violations=[("text", problem) for problem in problems])
