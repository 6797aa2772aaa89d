"""How much worse than what serves a new version may be, and how much must be seen to say so."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class TooFew(StrEnum):
    """What is done where too little was seen to judge by."""

    # It goes on, and the history says that nothing was judged.
    PASS = "pass"  # noqa: S105 - no password
    # A share is kept until there is enough.
    HOLD = "hold"


class Limits(BaseModel):
    """The limits of the gates. In the shadow old and new are asked the same, golden questions and then what customers
    asked; while a share is served, each turn of a customer counts for the version that took part in it, from the first
    share on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Shadow and turns: the median time to the first token is at most so many times today's, and so much more.
    first_token_factor: float = Field(default=3.0, ge=1)
    first_token_slack_seconds: float = Field(default=1.0, ge=0)
    # Shadow and turns: the median of tokens a second is at least this share of today's.
    pace_factor: float = Field(default=0.5, ge=0, le=1)
    # Shadow and turns: the share that is grounded is at most so much below today's.
    grounded_slack: float = Field(default=0.2, ge=0, le=1)
    # Shadow: the log probability of right answers is at most so many times as far below zero. Another family's template
    # costs SmolLM2 half as much again.
    likelihood_factor: float = Field(default=1.3, ge=1)
    # Shadow: a million tokens cost at most so many times today's.
    cost_factor: float = Field(default=2.0, ge=0)
    # Requests that replicas may fail by their own fault, of all that they were sent.
    live_error_share: float = Field(default=0.02, ge=0, le=1)

    # Shadow: of 100 turns of customers so many are repeated by what is tried, for so long after the golden questions; 0
    # repeats none.
    shadow_percent: int = Field(default=25, ge=0, le=100)
    shadow_seconds: float = Field(default=10.0, ge=0)
    # Shadow: turns that must have been repeated before they are compared, and what is done with fewer.
    least_shadow_turns: int = Field(default=10, ge=1)
    few_shadow_turns: TooFew = TooFew.PASS
    # Turns: calls that failed, as the turns saw it, are at most so much more of all than today.
    failed_slack: float = Field(default=0.02, ge=0, le=1)
    # Turns that both versions must have had before they are compared, and what is done with fewer.
    least_turns: int = Field(default=10, ge=1)
    few_turns: TooFew = TooFew.PASS
    # Ratings: the share of answers that did not help is at most so much above today's.
    feedback_slack: float = Field(default=0.2, ge=0, le=1)
    # Ratings that both versions must have had, and what is done with fewer.
    least_ratings: int = Field(default=10, ge=1)
    few_ratings: TooFew = TooFew.PASS
    # A share, or the shadow, is held so much longer at most; then what is tried is taken back.
    hold_seconds: float = Field(default=3600.0, ge=0)
    # Shares of turns and ratings also differ by chance: only by more than so many standard errors does one count as
    # worse. It is judged again and again, so two are too few.
    standard_errors: float = Field(default=2.5, ge=0)
