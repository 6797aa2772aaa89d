import { type Client, createClient, type Transport } from "@connectrpc/connect";
import type { IdentityLink } from "../../gen/deskmesh/auth/v1/identity_provider_pb";
import { IdentityProviderService } from "../../gen/deskmesh/auth/v1/identity_provider_service_pb";
import { startTrace } from "../../rpc/trace";
import { call } from "../../rpc/transport";
import { type SignedIn, toSignedIn } from "./api";

/** An attempt that goes on in another place; this browser keeps its token until it comes back. */
export interface Attempt {
  readonly token: string;
  /** Where to go afterwards. */
  readonly from: string;
  /** True when an account is linked, and nobody signs in. */
  readonly link: boolean;
}

const KEPT_AS = "deskmesh.provider-attempt";

/** Signing in by a provider of the organization's own. */
export class ProviderApi {
  readonly #providers: Client<typeof IdentityProviderService>;

  constructor(transport: Transport) {
    this.#providers = createClient(IdentityProviderService, transport);
  }

  /** What the provider is called; empty without one. */
  name(organizationSlug: string): Promise<string> {
    return call(
      startTrace(),
      async (options) => (await this.#providers.getSignInOptions({ organizationSlug }, options)).providerName,
    );
  }

  /** Where to send the browser. */
  begin(organizationSlug: string, from: string): Promise<string> {
    return call(startTrace(), async (options) => {
      const began = await this.#providers.beginProviderSignIn({ organizationSlug }, options);
      keep({ token: began.attemptToken, from, link: false });
      return began.authorizationUrl;
    });
  }

  /** Where to send the browser to link the account of who is signed in. */
  beginLink(from: string): Promise<string> {
    return call(startTrace(), async (options) => {
      const began = await this.#providers.beginIdentityLink({}, options);
      keep({ token: began.attemptToken, from, link: true });
      return began.authorizationUrl;
    });
  }

  finish(attemptToken: string, answer: string): Promise<SignedIn> {
    return call(startTrace(), async (options) =>
      toSignedIn(await this.#providers.finishProviderSignIn({ attemptToken, answer }, options)),
    );
  }

  finishLink(attemptToken: string, answer: string): Promise<void> {
    return call(
      startTrace(),
      async (options) => void (await this.#providers.finishIdentityLink({ attemptToken, answer }, options)),
    );
  }

  /** The identities that sign in as the person. */
  links(): Promise<readonly IdentityLink[]> {
    return call(
      startTrace(),
      async (options) => (await this.#providers.listIdentityLinks({}, options)).identityLinks,
    );
  }

  unlink({ issuer, subject }: IdentityLink): Promise<void> {
    return call(
      startTrace(),
      async (options) => void (await this.#providers.removeIdentityLink({ issuer, subject }, options)),
    );
  }
}

function keep(attempt: Attempt): void {
  sessionStorage.setItem(KEPT_AS, JSON.stringify(attempt));
}

/** The attempt of this browser, if there is one. */
export function keptAttempt(): Attempt | undefined {
  const kept = sessionStorage.getItem(KEPT_AS);
  return kept ? (JSON.parse(kept) as Attempt) : undefined;
}

/** It is answered once. */
export function forgetAttempt(): void {
  sessionStorage.removeItem(KEPT_AS);
}
