import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { AccountService } from "../../gen/deskmesh/auth/v1/account_service_pb";
import { MfaService } from "../../gen/deskmesh/auth/v1/mfa_service_pb";
import { PasskeyService } from "../../gen/deskmesh/auth/v1/passkey_service_pb";
import { startTrace } from "../../rpc/trace";
import { call } from "../../rpc/transport";
import { required, seconds } from "../../rpc/wire";
import { type SignedIn, toSignedIn } from "../session/api";

/** How an account is secured. */
export interface Security {
  readonly emailVerified: boolean;
  readonly appEnabled: boolean;
  readonly codesLeft: number;
  readonly passkeys: readonly { readonly id: string; readonly name: string }[];
}

/** What people do with their own account. */
export class AccountApi {
  readonly #accounts: Client<typeof AccountService>;
  readonly #mfa: Client<typeof MfaService>;
  readonly #passkeys: Client<typeof PasskeyService>;

  constructor(transport: Transport) {
    this.#accounts = createClient(AccountService, transport);
    this.#mfa = createClient(MfaService, transport);
    this.#passkeys = createClient(PasskeyService, transport);
  }

  security(): Promise<Security> {
    return call(startTrace(), async (options) => {
      const [account, keys] = await Promise.all([
        this.#accounts.getAccount({}, options),
        this.#passkeys.listPasskeys({}, options),
      ]);
      return {
        emailVerified: account.emailVerifiedAt !== undefined,
        appEnabled: account.totpEnabled,
        codesLeft: account.recoveryCodesLeft,
        passkeys: keys.passkeys.map(({ id, name }) => ({ id, name })),
      };
    });
  }

  sendVerification(): Promise<void> {
    return call(startTrace(), async (options) => void (await this.#accounts.sendVerification({}, options)));
  }

  signOutEverywhere(): Promise<void> {
    return call(startTrace(), async (options) => void (await this.#accounts.signOutEverywhere({}, options)));
  }

  /** An access token that tells of the fresh proof, and its seconds. */
  stepUp(password: string, code: string): Promise<{ token: string; seconds: number }> {
    return call(startTrace(), async (options) => {
      const proof = code ? { password, code: { kind: kindOf(code) } } : { password };
      const { accessToken } = await this.#mfa.stepUp(proof, options);
      const { value, lifetime } = required(accessToken);
      return { token: value, seconds: seconds(lifetime) };
    });
  }

  /** The secret of an authenticator app. */
  beginApp(): Promise<{ secret: string; uri: string }> {
    return call(startTrace(), async (options) => {
      const { secret, uri } = await this.#mfa.beginTotp({}, options);
      return { secret, uri };
    });
  }

  /** Recovery codes, shown this once. */
  confirmApp(code: string): Promise<string[]> {
    return call(
      startTrace(),
      async (options) => (await this.#mfa.confirmTotp({ code }, options)).recoveryCodes,
    );
  }

  removeApp(): Promise<void> {
    return call(startTrace(), async (options) => void (await this.#mfa.disableTotp({}, options)));
  }

  replaceCodes(): Promise<string[]> {
    return call(
      startTrace(),
      async (options) => (await this.#mfa.replaceRecoveryCodes({}, options)).recoveryCodes,
    );
  }

  beginPasskey(): Promise<Attempt> {
    return call(startTrace(), async (options) => this.#passkeys.beginPasskeyRegistration({}, options));
  }

  finishPasskey({ challengeToken }: Attempt, credentialJson: string, name: string): Promise<void> {
    return call(
      startTrace(),
      async (options) =>
        void (await this.#passkeys.finishPasskeyRegistration(
          { challengeToken, credentialJson, name },
          options,
        )),
    );
  }

  removePasskey(id: string): Promise<void> {
    return call(startTrace(), async (options) => void (await this.#passkeys.removePasskey({ id }, options)));
  }

  beginPasskeySignIn(): Promise<Attempt> {
    return call(startTrace(), async (options) => this.#passkeys.beginPasskeySignIn({}, options));
  }

  finishPasskeySignIn(
    { challengeToken }: Attempt,
    credentialJson: string,
    organizationSlug: string,
  ): Promise<SignedIn> {
    return call(startTrace(), async (options) =>
      toSignedIn(
        await this.#passkeys.finishPasskeySignIn(
          { challengeToken, credentialJson, organizationSlug },
          options,
        ),
      ),
    );
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
    return call(startTrace(), async (options) =>
      toSignedIn(await this.#mfa.completeSignIn({ challengeToken, code: { kind: kindOf(code) } }, options)),
    );
  }
}

/** What a browser needs for a passkey, and the name of the attempt. */
export interface Attempt {
  readonly optionsJson: string;
  readonly challengeToken: string;
}

function kindOf(code: string) {
  return /^[0-9]{6}$/.test(code)
    ? ({ case: "totp", value: code } as const)
    : ({ case: "recovery", value: code } as const);
}
