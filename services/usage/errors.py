"""What can go wrong with budgets, as callers are told."""

from services.common.errors import AlreadyExists, Conflict, Exhausted, InvalidInput, NotFound


class BudgetExceeded(Exhausted):
    """A budget that applies has nothing left. `quota` names it; how much it was is for those who may read budgets."""

    reason = "BUDGET_EXCEEDED"
    message = "A budget that applies has nothing left."


class BudgetNotFound(NotFound):
    """There is none, or it is another tenant's."""

    reason = "BUDGET_NOT_FOUND"
    message = "There is no such budget."
    resource_type = "budget"


class BudgetExists(AlreadyExists):
    """One budget of a kind."""

    reason = "BUDGET_EXISTS"
    message = "There is a budget of this scope, subject and period already; change that one."


class NotATeam(InvalidInput):
    """Members were given for a budget of another scope."""

    def __init__(self) -> None:
        super().__init__(violations=[("member_ids", "only the budget of a TEAM has members")])


class StaleEtag(Conflict):
    """Somebody else changed the budget since it was read."""

    message = "The budget changed since it was read; read it again."


class ReservationNotFound(NotFound):
    """There is none, or it has ended."""

    reason = "RESERVATION_NOT_FOUND"
    message = "There is no such reservation, or it has ended."
    resource_type = "reservation"
