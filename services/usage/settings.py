"""What the usage service is told from outside, besides what every service is."""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.common.settings import ServiceSettings
from services.usage.domain import ANY_MODEL

LARGEST_PRICE = 10**12


class ModelPrice(BaseModel):
    """Millionths of the currency's unit, for a million tokens or for an hour of the model's work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: int = Field(default=0, ge=0, le=LARGEST_PRICE)
    cached_prompt: int = Field(default=0, ge=0, le=LARGEST_PRICE)
    completion: int = Field(default=0, ge=0, le=LARGEST_PRICE)
    hour: int = Field(default=0, ge=0, le=LARGEST_PRICE)


class UsageSettings(ServiceSettings):
    """Read once from `DESKMESH_*`."""

    # ISO 4217 code of everything that is paid and budgeted.
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$")
    # Price of each model, as JSON; "*" is for models that are not named.
    prices: Mapping[str, ModelPrice] = {
        ANY_MODEL: ModelPrice(prompt=150_000, cached_prompt=75_000, completion=600_000),
    }
    # What work of a kind is taken to use before there is enough of it to learn from.
    unknown_prompt_tokens: int = Field(default=1_000, ge=1)
    unknown_completion_tokens: int = Field(default=200, ge=0)
    # How far spending and reservations together may exceed a limit, in percent of it, when many begin at once.
    overshoot_percent: int = Field(default=10, ge=0, le=100)

    # How often reservations whose lease ended are looked for, and after how long ended ones are forgotten.
    reap_seconds: float = Field(default=5.0, gt=0)
    reservation_days: float = Field(default=7.0, gt=0)
    # Streams whose other consumer died are taken over after it.
    takeover_seconds: float = Field(default=15.0, gt=0)

    @model_validator(mode="after")
    def _has_a_price_for_any_model(self) -> Self:
        if ANY_MODEL not in self.prices:
            raise ValueError(f'prices must have one for "{ANY_MODEL}"')
        return self
