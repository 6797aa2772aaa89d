import { type Client, createClient, type Transport } from "@connectrpc/connect";
import type { Membership } from "../../gen/deskmesh/auth/v1/organization_pb";
import { OrganizationService } from "../../gen/deskmesh/auth/v1/organization_service_pb";
import { Role as PbRole } from "../../gen/deskmesh/auth/v1/user_pb";
import { startTrace } from "../../rpc/trace";
import { call } from "../../rpc/transport";

export interface Person {
  readonly id: string;
  readonly name: string;
  readonly email: string;
}

const STAFF = [PbRole.AGENT, PbRole.SUPERVISOR, PbRole.ADMIN, PbRole.OWNER];

/** The people of the organization; only staff may ask. */
export class PeopleApi {
  readonly #organizations: Client<typeof OrganizationService>;

  constructor(transport: Transport) {
    this.#organizations = createClient(OrganizationService, transport);
  }

  /** Everybody who can be given a ticket, by name. */
  async staff(): Promise<readonly Person[]> {
    const trace = startTrace();
    const pages = await Promise.all(
      STAFF.map((role) =>
        call(trace, (options) => this.#organizations.listMembers({ role, pageSize: 200 }, options)),
      ),
    );
    const people = pages.flatMap((page) => page.members.map(toPerson));
    const unique = [...new Map(people.map((person) => [person.id, person])).values()];
    return unique.sort((a, b) => a.name.localeCompare(b.name));
  }

  /** By identifier; unknown ones are missing. At most 200 identifiers. */
  byId(userIds: readonly string[]): Promise<ReadonlyMap<string, Person>> {
    return call(startTrace(), async (options) => {
      const { members } = await this.#organizations.batchGetMembers({ userIds: [...userIds] }, options);
      return new Map(members.map(toPerson).map((person) => [person.id, person]));
    });
  }
}

function toPerson({ user }: Membership): Person {
  return { id: user?.id ?? "", name: user?.displayName ?? "", email: user?.email ?? "" };
}
