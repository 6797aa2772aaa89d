import { CallError } from "../../rpc/errors";
import type { Loss, TokenKeeper } from "../../rpc/tokens";
import type { SessionApi, SignedIn } from "./api";
import type { Credentials, NewAccount, Principal } from "./model";

export type SessionState =
  | { readonly status: "restoring" }
  | { readonly status: "unreachable"; readonly error: CallError }
  | { readonly status: "signed-out"; readonly loss?: Loss }
  | { readonly status: "signed-in"; readonly principal: Principal };

/** Who is signed in; React reads it with useSyncExternalStore. */
export class SessionStore {
  /** Called when the person changes, before anybody sees it: what was cached belongs to the one before. */
  onChange: () => void = () => {};
  #state: SessionState = { status: "restoring" };
  readonly #listeners = new Set<() => void>();

  constructor(
    private readonly api: SessionApi,
    private readonly tokens: TokenKeeper,
  ) {
    tokens.onLoss = (loss) => {
      if (loss === "other-person") void this.restore();
      else this.#set({ status: "signed-out", loss });
    };
  }

  snapshot = (): SessionState => this.#state;

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** True when somebody was signed in here before. */
  get restorable(): boolean {
    return this.tokens.restorable;
  }

  async restore(): Promise<void> {
    if (!this.tokens.restorable) return this.#set({ status: "signed-out" });
    this.#set({ status: "restoring" });
    try {
      this.#set({ status: "signed-in", principal: await this.api.whoAmI() });
    } catch (cause) {
      const error = CallError.from(cause, "");
      if (error.kind === "unauthenticated") {
        this.tokens.clear();
        this.#set({ status: "signed-out", loss: "revoked" });
      } else {
        this.#set({ status: "unreachable", error });
      }
    }
  }

  /** The token of a challenge when a second factor has to be proved, too; nothing once signed in. */
  async signIn(credentials: Credentials): Promise<string | undefined> {
    const signedIn = await this.api.signIn(credentials);
    if (typeof signedIn === "string") return signedIn;
    this.accept(signedIn);
    return undefined;
  }

  async signUp(account: NewAccount): Promise<void> {
    this.accept(await this.api.signUp(account));
  }

  /** Signs out here at once; the family is revoked in the background, because the person should not have to wait for it. */
  signOut(): void {
    const { refreshToken } = this.tokens;
    this.tokens.clear();
    this.#set({ status: "signed-out" });
    if (refreshToken) this.api.signOut(refreshToken).catch(() => {});
  }

  /** The same person proved anew who they are. */
  proved(accessToken: string, lifetimeSeconds: number): void {
    this.tokens.renewed(accessToken, lifetimeSeconds);
  }

  /** Somebody has proved who they are. */
  accept({ principal, tokens }: SignedIn): void {
    this.tokens.accept(principal.userId, tokens);
    this.#set({ status: "signed-in", principal });
  }

  #set(state: SessionState): void {
    const before = this.#state.status === "signed-in" ? this.#state.principal.userId : "";
    const after = state.status === "signed-in" ? state.principal.userId : "";
    this.#state = state;
    if (before !== after) this.onChange();
    for (const listener of this.#listeners) listener();
  }
}
