"""Beginning a deployment, going back, and looking at what was deployed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.common import pagination
from services.common.clock import Clock
from services.common.context import IdempotencyKey
from services.common.ids import new_id
from services.models.errors import DeploymentInProgress, DeploymentNotFound, NothingToRollBack, TargetInvalid
from services.models.ports import Applications, UnitOfWorkFactory
from services.models.rollouts import DEFAULT_STEPS, Rollout, roll_back

DEFAULT_PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class Deploy:
    """A target's file to roll out; empty steps ask for the usual ones."""

    key: IdempotencyKey
    file: str
    text: str
    actor: str
    reason: str
    steps: tuple[int, ...] = ()
    tenants: tuple[str, ...] = ()
    check_only: bool = False


@dataclass(frozen=True, slots=True)
class GoBack:
    """A wish to go back."""

    key: IdempotencyKey
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeploymentPage:
    """Deployments, the identifier of the current one, and the token of what follows; empty at the end."""

    rollouts: Sequence[Rollout]
    current: str
    next_page_token: str


class Deployments:
    """The use cases; `changed` is called after each change, so that it is acted upon at once."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        applications: Applications,
        clock: Clock,
        environment: str,
        changed: Callable[[], None],
    ) -> None:
        self._unit_of_work = unit_of_work
        self._applications = applications
        self._clock = clock
        self._environment = environment
        self._changed = changed

    async def deploy(self, command: Deploy) -> tuple[Rollout | None, Sequence[str]]:
        """Check a file and begin to roll it out; returns the rollout, None after a mere check, and remarks.

        Raises TargetInvalid, DeploymentInProgress, RequestIdReused, RemoteError.
        """
        if list(command.steps) != sorted(set(command.steps)):
            raise TargetInvalid(["steps: they must grow"])
        checked = await self._applications.check(command.file, command.text)
        if checked.problems:
            raise TargetInvalid(checked.problems)
        if command.check_only:
            return None, checked.notes
        running = await self._applications.running()
        now = self._clock()
        rollout = Rollout(
            id=new_id("dep"),
            environment=self._environment,
            base=running.base,
            file=command.file,
            text=command.text,
            actor=command.actor,
            reason=command.reason,
            created_at=now,
            updated_at=now,
            steps=command.steps or DEFAULT_STEPS,
            tenants=command.tenants,
            # Adapters and routing are not of a version: there is nothing to hold against what serves.
            direct=checked.versions == running.versions,
            versions=checked.versions,
            notes=tuple(checked.notes),
        )
        return await self._begin(command.key, rollout), checked.notes

    async def go_back(self, command: GoBack) -> Rollout:
        """Take back what is under way, else bring back what served before. Raises NothingToRollBack, RemoteError."""
        why = f"by hand: {command.reason}" if command.reason else "by hand"
        async with self._unit_of_work() as work:
            under_way = await work.rollouts.under_way()
            if under_way is not None:
                taken_back = roll_back(under_way, why, self._clock())
                if not await work.rollouts.save(taken_back):
                    raise DeploymentInProgress(message="It has just moved on; try again.")
                await work.commit()
        if under_way is not None:
            self._changed()
            return taken_back
        base = (await self._applications.running()).base
        async with self._unit_of_work() as work:
            served = await work.rollouts.promoted(base, 2)
        if len(served) < 2:
            raise NothingToRollBack
        now = self._clock()
        earlier = served[1]
        rollout = Rollout(
            id=new_id("dep"),
            environment=self._environment,
            base=base,
            file=earlier.file,
            text=earlier.text,
            actor=command.actor,
            reason=command.reason or f"back to {earlier.id}",
            created_at=now,
            updated_at=now,
            direct=True,
            versions=earlier.versions,
            notes=(f"back to {earlier.id}",),
        )
        return await self._begin(command.key, rollout)

    async def get(self, rollout_id: str) -> tuple[Rollout, str]:
        """One, or the current one if the identifier is empty; and which is current. Raises DeploymentNotFound."""
        async with self._unit_of_work() as work:
            page = await work.rollouts.page("", 200)
            current = _current(page)
            if not (rollout_id or current):
                raise DeploymentNotFound
            return await work.rollouts.get(rollout_id or current), current

    async def list(self, page_size: int, page_token: str) -> DeploymentPage:
        """A page, newest first. Raises InvalidPageToken."""
        filters: pagination.Filters = {"list": "deployments"}
        after = str(pagination.decode(page_token, filters).get("id")) if page_token else ""
        size = page_size or DEFAULT_PAGE_SIZE
        async with self._unit_of_work() as work:
            found = await work.rollouts.page(after, size + 1)
            current = _current(await work.rollouts.page("", 200))
        more = len(found) > size
        token = pagination.encode({"id": found[size - 1].id}, filters) if more else ""
        return DeploymentPage(found[:size], current, token)

    async def _begin(self, key: IdempotencyKey, rollout: Rollout) -> Rollout:
        async with self._unit_of_work() as work:
            if begun := await work.requests.claim(key, rollout.id):
                return await work.rollouts.get(begun)
            await work.rollouts.add(rollout)
            await work.commit()
        self._changed()
        return rollout


def _current(newest: Sequence[Rollout]) -> str:
    promoted = [one for one in newest if one.percent == 100]
    return max(promoted, key=lambda one: one.updated_at).id if promoted else ""
