"""Makes the demo organization at the first start: its people, with random passwords, and its help articles.

`python -m laptop.seed`, against the running stack and through its edge like everybody else. It may be
interrupted at any point and run again.
"""

import asyncio
import json
import logging
import secrets
import sys
from pathlib import Path

from pydantic import BaseModel

from deskmesh.auth.v1 import account_service_pb2, auth_service_pb2, organization_service_pb2, user_pb2
from deskmesh.knowledge.v1.ingest_service_pb2 import DOCUMENT_OUTCOME_SKIPPED
from deskmesh_client import Client, DeskmeshError
from deskmesh_client.errors import AlreadyExists, CredentialsInvalid, NotNow
from laptop import mailbox
from laptop.pki import write_atomically
from laptop.settings import PROJECT_ROOT, StackSettings
from services.common.logs import configure_logging

ARTICLES = PROJECT_ROOT / "demo" / "articles"
ORGANIZATION_SLUG = "fernwick"
ORGANIZATION_NAME = "Fernwick Outfitters"
PASSWORD_BYTES = 12
LETTER_SECONDS = 10.0

log = logging.getLogger(__name__)


class Person(BaseModel):
    """Somebody of the demo organization."""

    role: str
    display_name: str
    email: str
    password: str


class Demo(BaseModel):
    """What `secrets/demo.json` holds; `complete` once people and articles are all there."""

    organization: str
    users: list[Person]
    complete: bool = False

    def person(self, role: str) -> Person:
        return next(user for user in self.users if user.role == role)


class DemoWithoutPasswords(Exception):
    """The database knows the demo people, but their passwords are lost."""


def new_demo() -> Demo:
    """The demo people with new passwords."""
    people = (("owner", "Olive Marsh"), ("agent", "Ash Rowan"), ("customer", "Casey Finch"))
    return Demo(
        organization=ORGANIZATION_SLUG,
        users=[
            Person(
                role=role,
                display_name=name,
                email=f"{name.split()[0].lower()}@fernwick.example",
                password=secrets.token_urlsafe(PASSWORD_BYTES),
            )
            for role, name in people
        ],
    )


def load(file: Path) -> Demo | None:
    """The demo as it was written; None before the first start."""
    return Demo.model_validate_json(file.read_bytes()) if file.exists() else None


def save(file: Path, demo: Demo) -> None:
    """Keep it for this user alone."""
    write_atomically(file, json.dumps(demo.model_dump(), indent=2).encode(), mode=0o600)


async def seed(settings: StackSettings) -> None:
    """Bring the demo organization about. Raises DeskmeshError or DemoWithoutPasswords."""
    file = settings.paths.demo_secrets
    demo = load(file) or new_demo()
    # Before anybody is made with them: an interrupted start goes on with the same passwords.
    save(file, demo)
    async with Client(f"localhost:{settings.edge_port}", ca_file=settings.paths.ca_certificate) as client:
        known = await _sign_in_owner(client, demo.person("owner"))
        if known and demo.complete:
            return
        await _add_agent(client, demo.person("agent"))
        await _import_articles(client)
    async with Client(f"localhost:{settings.edge_port}", ca_file=settings.paths.ca_certificate) as client:
        await _sign_up_customer(client, demo.person("customer"))
        for person in demo.users:
            await _verify_address(client, person, settings.paths.mail)
    save(file, demo.model_copy(update={"complete": True}))


async def _sign_in_owner(client: Client, owner: Person) -> bool:
    """Sign in as the owner, who is made with the organization if need be; True if they were there already."""
    try:
        await client.sign_in(owner.email, owner.password, ORGANIZATION_SLUG)
    except CredentialsInvalid:
        organization = auth_service_pb2.NewOrganization(slug=ORGANIZATION_SLUG, name=ORGANIZATION_NAME)
        try:
            await client.auth.SignUp(
                auth_service_pb2.SignUpRequest(
                    email=owner.email,
                    password=owner.password,
                    display_name=owner.display_name,
                    new_organization=organization,
                )
            )
        except AlreadyExists as error:
            raise DemoWithoutPasswords(
                "The demo organization exists but secrets/demo.json, which held its passwords, is lost; "
                "bring the file back, or remove the state folder to begin anew."
            ) from error
        await client.sign_in(owner.email, owner.password, ORGANIZATION_SLUG)
        return False
    return True


async def _add_agent(client: Client, agent: Person) -> None:
    try:
        await client.members.AddMember(
            organization_service_pb2.AddMemberRequest(
                request_id=f"demo-{secrets.token_hex(8)}",
                email=agent.email,
                display_name=agent.display_name,
                password=agent.password,
                roles=[user_pb2.ROLE_AGENT],
            )
        )
    except AlreadyExists:
        log.info("the demo agent is there already")


async def _sign_up_customer(client: Client, customer: Person) -> None:
    try:
        await client.sign_up_customer(customer.email, customer.password, customer.display_name, ORGANIZATION_SLUG)
    except AlreadyExists:
        log.info("the demo customer is there already")


def _letters(folder: Path, person: Person) -> list[mailbox.Letter]:
    return [one for one in mailbox.read(folder) if one.to == person.email and one.token]


async def _verify_address(client: Client, person: Person, folder: Path) -> None:
    """Follow the newest link in the person's letters, which may still be on their way."""
    try:
        async with asyncio.timeout(LETTER_SECONDS):
            while not (letters := _letters(folder, person)):  # noqa: ASYNC110 - another process writes them
                await asyncio.sleep(0.1)
        await client.accounts.VerifyEmail(account_service_pb2.VerifyEmailRequest(token=letters[0].token))
    except (TimeoutError, NotNow):
        log.warning("the address of the demo %s is not verified", person.role)


async def _import_articles(client: Client) -> None:
    async for result in client.import_folder(ARTICLES):
        if result.outcome == DOCUMENT_OUTCOME_SKIPPED:
            log.warning("%s was skipped: %s", result.path, result.skipped_because)
        else:
            log.info("%s: %d passages", result.path, result.passages)


def main() -> int:
    settings = StackSettings()
    configure_logging("seed", settings.log_level)
    try:
        asyncio.run(seed(settings))
    except (DeskmeshError, DemoWithoutPasswords) as error:
        log.error("the demo organization could not be made: %s", error)  # noqa: TRY400 - the message says it all
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
