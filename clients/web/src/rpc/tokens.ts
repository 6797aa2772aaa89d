import { CallError } from "./errors";

export interface TokenPair {
  readonly accessToken: string;
  readonly accessLifetimeSeconds: number;
  readonly refreshToken: string;
}

interface Stored {
  readonly owner: string;
  readonly refreshToken: string;
}

/** Why the person is no longer signed in here. */
export type Loss = "revoked" | "signed-out-elsewhere" | "other-person";

interface Parts {
  redeem(refreshToken: string): Promise<TokenPair>;
  storage: Storage;
  locks: Pick<LockManager, "request"> | undefined;
  now(): number;
}

const KEY = "deskmesh.session";
const LOCK = "deskmesh.refresh";
const EARLY_MS = 30_000;

/**
 * Keeps the two tokens and trades them in time.
 *
 * The access token lives in memory only. The refresh token has to outlive a reload, and gRPC-Web knows no cookies, so it
 * lies in localStorage: shared by all tabs on purpose. Each redemption spends it and presenting a spent one revokes the
 * whole family, so a copy per tab (sessionStorage is cloned when a tab is duplicated) would sign people out. A Web Lock
 * lets one tab at a time read, redeem and store it. What script could steal is kept out by the page's policy (own
 * scripts only, none inline) and by sanitised Markdown.
 */
export class TokenKeeper {
  onLoss: (loss: Loss) => void = () => {};
  #access: { token: string; goodUntil: number } | undefined;
  #refreshing: Promise<string | undefined> | undefined;
  #owner = "";

  constructor(private readonly parts: Parts) {
    globalThis.addEventListener?.("storage", (event) => this.#onStorage(event));
  }

  /** True when a refresh token is there, so that a session may be restored. */
  get restorable(): boolean {
    return this.#read() !== undefined;
  }

  get refreshToken(): string | undefined {
    return this.#read()?.refreshToken;
  }

  accept(owner: string, pair: TokenPair): void {
    this.#owner = owner;
    this.#write(owner, pair);
  }

  /** A token with at least half a minute to live; undefined when nobody is signed in. Throws CallError when it cannot be renewed now. */
  async accessToken(): Promise<string | undefined> {
    if (this.#access && this.parts.now() < this.#access.goodUntil) return this.#access.token;
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** Takes another access token of the same sign-in. */
  renewed(token: string, lifetimeSeconds: number): void {
    const lifetime = lifetimeSeconds * 1000;
    // A quarter of a very short life is early enough.
    this.#access = { token, goodUntil: this.parts.now() + lifetime - Math.min(EARLY_MS, lifetime / 4) };
  }

  /** Forgets an access token that a service refused; another one fetched meanwhile stays. */
  reject(token: string): void {
    if (this.#access?.token === token) this.#access = undefined;
  }

  clear(): void {
    this.#access = undefined;
    this.#owner = "";
    this.parts.storage.removeItem(KEY);
  }

  async #refresh(): Promise<string | undefined> {
    const trade = async () => {
      const stored = this.#read();
      if (!stored) return undefined;
      try {
        const pair = await this.parts.redeem(stored.refreshToken);
        this.#owner = stored.owner;
        this.#write(stored.owner, pair);
        return pair.accessToken;
      } catch (error) {
        if (error instanceof CallError && error.kind === "unauthenticated") {
          this.clear();
          this.onLoss("revoked");
          return undefined;
        }
        throw error;
      }
    };
    return this.parts.locks ? this.parts.locks.request(LOCK, trade) : trade();
  }

  #write(owner: string, pair: TokenPair): void {
    this.renewed(pair.accessToken, pair.accessLifetimeSeconds);
    this.parts.storage.setItem(
      KEY,
      JSON.stringify({ owner, refreshToken: pair.refreshToken } satisfies Stored),
    );
  }

  #read(): Stored | undefined {
    const text = this.parts.storage.getItem(KEY);
    return text ? parse(text) : undefined;
  }

  #onStorage(event: StorageEvent): void {
    if (event.key !== KEY || !this.#owner) return;
    const stored = event.newValue ? parse(event.newValue) : undefined;
    if (stored?.owner === this.#owner) return;
    this.#access = undefined;
    this.#owner = "";
    this.onLoss(stored ? "other-person" : "signed-out-elsewhere");
  }
}

function parse(text: string): Stored | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    const { owner, refreshToken } = value as Partial<Stored>;
    return typeof owner === "string" && typeof refreshToken === "string"
      ? { owner, refreshToken }
      : undefined;
  } catch {
    return undefined;
  }
}
