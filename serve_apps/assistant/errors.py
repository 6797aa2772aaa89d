"""What can go wrong between a request and its tokens, and is the caller's to know."""

from services.common.errors import Exhausted, InvalidInput, NotFound, PreconditionFailed, Unavailable

# About what a small model needs to start.
STARTING_RETRY_SECONDS = 30.0


class ModelNotFound(NotFound):
    """No model of that name, or none that can do what is asked."""

    reason = "MODEL_NOT_FOUND"
    message = "There is no such model."
    resource_type = "model"


class ModelOverloaded(Exhausted):
    """The queue is full."""

    reason = "MODEL_OVERLOADED"
    message = "The model is busy; try again shortly."


class ModelAsleep(ModelOverloaded):
    """No replica is kept while nobody asks; one is started for the request."""

    message = "The model is being started; try again shortly."

    def __init__(self, model: str) -> None:
        super().__init__(retry_after_seconds=STARTING_RETRY_SECONDS)
        self.model = model


class ModelUnavailable(Unavailable):
    """No replica can answer now."""

    reason = "MODEL_UNAVAILABLE"
    message = "The model is not ready; try again shortly."


class PromptTooLong(InvalidInput):
    """Prompt and answer do not fit the context."""

    reason = "PROMPT_TOO_LONG"

    def __init__(self, prompt_tokens: int, completion_tokens: int, context_length: int) -> None:
        super().__init__(
            f"The prompt has {prompt_tokens} tokens and {completion_tokens} are reserved for the answer; "
            f"the model takes {context_length} together.",
            metadata={
                "prompt_tokens": str(prompt_tokens),
                "completion_tokens": str(completion_tokens),
                "context_length": str(context_length),
            },
        )


class PromptQuarantined(PreconditionFailed):
    """The prompt has ended two engines, and is not given to a third."""

    reason = "PROMPT_QUARANTINED"
    message = "This request cannot be answered: the model failed on it twice."


class ToolCallInvalid(PreconditionFailed):
    """The model called a tool with arguments that do not fit, twice."""

    reason = "TOOL_CALL_INVALID"
    message = "The model's call of a tool does not fit its schema; ask again, with more tokens for the answer."
