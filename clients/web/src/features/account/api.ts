import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { AccountService } from "../../gen/deskmesh/auth/v1/account_service_pb";
import { MfaService } from "../../gen/deskmesh/auth/v1/mfa_service_pb";
import { startTrace } from "../../rpc/trace";
import { call } from "../../rpc/transport";
import { type SignedIn, toSignedIn } from "../session/api";

/** What people do with their own account. */
export class AccountApi {
  readonly #accounts: Client<typeof AccountService>;
  readonly #mfa: Client<typeof MfaService>;

  constructor(transport: Transport) {
    this.#accounts = createClient(AccountService, transport);
    this.#mfa = createClient(MfaService, transport);
  }

  verifyEmail(token: string): Promise<void> {
    return call(startTrace(), async (options) => void (await this.#accounts.verifyEmail({ token }, options)));
  }

  requestPasswordReset(email: string): Promise<void> {
    return call(
      startTrace(),
      async (options) => void (await this.#accounts.requestPasswordReset({ email }, options)),
    );
  }

  resetPassword(token: string, newPassword: string): Promise<void> {
    return call(
      startTrace(),
      async (options) => void (await this.#accounts.resetPassword({ token, newPassword }, options)),
    );
  }

  /** Six digits are of the authenticator app, anything else is a recovery code. */
  completeSignIn(challengeToken: string, code: string): Promise<SignedIn> {
    const kind = /^[0-9]{6}$/.test(code)
      ? ({ case: "totp", value: code } as const)
      : ({ case: "recovery", value: code } as const);
    return call(startTrace(), async (options) =>
      toSignedIn(await this.#mfa.completeSignIn({ challengeToken, code: { kind } }, options)),
    );
  }
}
