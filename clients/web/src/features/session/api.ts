import { type Client, createClient, type Transport } from "@connectrpc/connect";
import {
  AuthService,
  type Principal as PbPrincipal,
  type Tokens,
} from "../../gen/deskmesh/auth/v1/auth_service_pb";
import { Role as PbRole } from "../../gen/deskmesh/auth/v1/user_pb";
import type { TokenPair } from "../../rpc/tokens";
import { startTrace } from "../../rpc/trace";
import { call } from "../../rpc/transport";
import { required, seconds } from "../../rpc/wire";
import type { Credentials, NewAccount, Principal, Role } from "./model";

export interface SignedIn {
  readonly principal: Principal;
  readonly tokens: TokenPair;
}

/** Signing in and up. `open` carries no access token; `authorized` does. */
export class SessionApi {
  readonly #open: Client<typeof AuthService>;
  readonly #authorized: Client<typeof AuthService>;

  constructor(open: Transport, authorized: Transport) {
    this.#open = createClient(AuthService, open);
    this.#authorized = createClient(AuthService, authorized);
  }

  /** Signs in, or returns the token of the challenge that a second factor has to answer. */
  signIn({ email, password, organization }: Credentials): Promise<SignedIn | string> {
    return call(startTrace(), async (options) => {
      const request = { email, password, organizationSlug: organization };
      const response = await this.#open.signIn(request, options);
      return response.challenge ? response.challenge.token : toSignedIn(response);
    });
  }

  signUp({ email, password, name, organization }: NewAccount): Promise<SignedIn> {
    return call(startTrace(), async (options) => {
      const membership = { case: "joinOrganizationSlug", value: organization } as const;
      return toSignedIn(await this.#open.signUp({ email, password, displayName: name, membership }, options));
    });
  }

  redeem = (refreshToken: string): Promise<TokenPair> =>
    call(startTrace(), async (options) =>
      toPair(required((await this.#open.refreshToken({ refreshToken }, options)).tokens)),
    );

  signOut(refreshToken: string): Promise<void> {
    return call(startTrace(), async (options) => void (await this.#open.signOut({ refreshToken }, options)));
  }

  whoAmI(): Promise<Principal> {
    return call(startTrace(), async (options) =>
      toPrincipal(required((await this.#authorized.whoAmI({}, options)).principal)),
    );
  }
}

export function toSignedIn(response: {
  principal?: PbPrincipal | undefined;
  tokens?: Tokens | undefined;
}): SignedIn {
  return { principal: toPrincipal(required(response.principal)), tokens: toPair(required(response.tokens)) };
}

function toPair(tokens: Tokens): TokenPair {
  return {
    accessToken: tokens.accessToken,
    accessLifetimeSeconds: seconds(tokens.accessTokenLifetime),
    refreshToken: tokens.refreshToken,
  };
}

const ROLES: Readonly<Record<PbRole, Role | undefined>> = {
  [PbRole.UNSPECIFIED]: undefined,
  [PbRole.CUSTOMER]: "customer",
  [PbRole.AGENT]: "agent",
  [PbRole.SUPERVISOR]: "supervisor",
  [PbRole.ADMIN]: "admin",
  [PbRole.OWNER]: "owner",
  // Neither has pages of its own here; what they may do the permissions tell.
  [PbRole.ML_ENGINEER]: undefined,
  [PbRole.BILLING]: undefined,
};

export function toRoles(roles: readonly PbRole[]): Role[] {
  return roles.map((role) => ROLES[role]).filter((role) => role !== undefined);
}

function toPrincipal(principal: PbPrincipal): Principal {
  const user = required(principal.user);
  const organization = required(principal.organization);
  return {
    userId: user.id,
    name: user.displayName,
    email: user.email,
    organization: { id: organization.id, slug: organization.slug, name: organization.name },
    roles: toRoles(principal.roles),
  };
}
