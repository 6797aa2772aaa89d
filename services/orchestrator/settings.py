"""What the orchestrator is told from outside."""

from pydantic import Field

from services.common.settings import ServiceSettings


class OrchestratorSettings(ServiceSettings):
    """Read from `DESKMESH_*`."""

    sessions_address: str
    tickets_address: str
    knowledge_address: str
    inference_address: str
    usage_address: str

    # Turns this process works on at a time, and turns of all processes that may wait before messages are refused.
    concurrent_turns: int = Field(default=4, ge=1)
    maximum_waiting_turns: int = Field(default=64, ge=1)
    turn_seconds: float = Field(default=60.0, gt=0)
    # Turns that are repeated at a time, after their end, for a version of a model in the shadow; none while more than
    # half of `concurrent_turns` are at work. 0: this process repeats none.
    shadow_turns: int = Field(default=1, ge=0)
    # Most that one call of a model may cost, prompt and longest answer, in the currency of the inference application's
    # file: dearer models are left out. No ceiling if unset.
    maximum_call_cost: float | None = Field(default=None, ge=0)
    # Turns an organization may begin in this process while the usage service does not answer; they are counted later.
    offline_turns: int = Field(default=50, ge=0)
    # What a turn used is told to the ledger at once; what it has not confirmed by then is sent again.
    usage_confirm_seconds: float = Field(default=10.0, gt=0)
    # How often usage that the ledger has not confirmed is looked for.
    usage_poll_seconds: float = Field(default=2.0, gt=0)
    # A turn whose worker says nothing for so long is taken up by another.
    lease_seconds: float = Field(default=6.0, gt=0)
