import type { Transport } from "@connectrpc/connect";
import { SessionApi } from "../features/session/api";
import { SessionStore } from "../features/session/store";
import { TokenKeeper } from "../rpc/tokens";
import { authorized, type TransportFactory, traced } from "../rpc/transport";

/** A class of calls, as `ChatApi`; each page brings the ones it needs, so that the others are not loaded. */
export type Api<T> = new (transport: Transport) => T;

/** Everything behind the page, wired once. */
export class Backend {
  readonly session: SessionStore;
  readonly #transport: Transport;
  readonly #apis = new Map<Api<unknown>, unknown>();

  constructor(transport: TransportFactory) {
    const tokens: TokenKeeper = new TokenKeeper({
      redeem: (refreshToken) => sessionApi.redeem(refreshToken),
      storage: window.localStorage,
      locks: navigator.locks,
      now: Date.now,
    });
    this.#transport = transport([traced, authorized(tokens)]);
    const sessionApi = new SessionApi(transport([traced]), this.#transport);
    this.session = new SessionStore(sessionApi, tokens);
  }

  /** The one instance of a class of calls, for as long as the same person is signed in. */
  api<T>(kind: Api<T>): T {
    const made = (this.#apis.get(kind) as T | undefined) ?? new kind(this.#transport);
    this.#apis.set(kind, made);
    return made;
  }

  /** What was kept belongs to the person before. */
  forget(): void {
    this.#apis.clear();
  }
}
