import { describe, expect, it, vi } from "vitest";
import { CallError } from "../src/rpc/errors";
import { TokenKeeper, type TokenPair } from "../src/rpc/tokens";

const KEY = "deskmesh.session";

/** An auth service with rotation: each refresh token buys one pair; a spent one revokes the family. */
class Family {
  revoked = false;
  redeemed = 0;
  #live = "refresh-0";

  redeem = async (token: string): Promise<TokenPair> => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (token !== this.#live) this.revoked = true;
    if (this.revoked) throw new CallError("no", { kind: "unauthenticated", reason: "REFRESH_TOKEN_INVALID" });
    this.redeemed += 1;
    this.#live = `refresh-${this.redeemed}`;
    return { accessToken: `access-${this.redeemed}`, accessLifetimeSeconds: 600, refreshToken: this.#live };
  };
}

/** Web Locks of one browser: requests under a name run one after the other. */
function locks(): Pick<LockManager, "request"> {
  let tail: Promise<unknown> = Promise.resolve();
  const request = (_name: string, run: () => Promise<unknown>) => {
    tail = tail.then(run, run);
    return tail;
  };
  return { request: request as LockManager["request"] };
}

const FIRST: TokenPair = { accessToken: "access-0", accessLifetimeSeconds: 600, refreshToken: "refresh-0" };

describe("the tokens", () => {
  it("are fetched once, however many calls ask at the same time", async () => {
    const family = new Family();
    localStorage.setItem(KEY, JSON.stringify({ owner: "usr_1", refreshToken: "refresh-0" }));
    const keeper = new TokenKeeper({
      redeem: family.redeem,
      storage: localStorage,
      locks: locks(),
      now: Date.now,
    });
    const tokens = await Promise.all(Array.from({ length: 20 }, () => keeper.accessToken()));
    expect(new Set(tokens)).toEqual(new Set(["access-1"]));
    expect(family.redeemed).toBe(1);
  });

  it("survive many tabs: no refresh token is ever spent twice", async () => {
    const family = new Family();
    const shared = locks();
    localStorage.setItem(KEY, JSON.stringify({ owner: "usr_1", refreshToken: "refresh-0" }));
    const tabs = Array.from(
      { length: 8 },
      () => new TokenKeeper({ redeem: family.redeem, storage: localStorage, locks: shared, now: Date.now }),
    );
    await Promise.all(tabs.map((tab) => tab.accessToken()));
    expect(family).toMatchObject({ revoked: false, redeemed: 8 });
  });

  it("are renewed before they expire, and after a service refused one", async () => {
    const family = new Family();
    let now = 0;
    const keeper = new TokenKeeper({
      redeem: family.redeem,
      storage: localStorage,
      locks: locks(),
      now: () => now,
    });
    keeper.accept("usr_1", FIRST);
    expect(await keeper.accessToken()).toBe("access-0");
    now = 569_000;
    expect(await keeper.accessToken()).toBe("access-0");
    now = 571_000;
    expect(await keeper.accessToken()).toBe("access-1");
    keeper.reject("access-0");
    expect(await keeper.accessToken()).toBe("access-1");
    keeper.reject("access-1");
    expect(await keeper.accessToken()).toBe("access-2");
  });

  it("never leave the access token in storage", () => {
    const keeper = new TokenKeeper({
      redeem: new Family().redeem,
      storage: localStorage,
      locks: locks(),
      now: Date.now,
    });
    keeper.accept("usr_1", FIRST);
    expect(JSON.stringify(localStorage)).not.toContain("access-0");
  });

  it("are gone when the family was revoked, but kept when the service cannot be reached", async () => {
    const storage = localStorage;
    const onLoss = vi.fn();
    const fails = async (): Promise<TokenPair> => {
      throw new CallError("down", { kind: "unavailable" });
    };
    const cut = new TokenKeeper({ redeem: fails, storage, locks: undefined, now: () => 1e9 });
    cut.accept("usr_1", { ...FIRST, accessLifetimeSeconds: 0 });
    cut.onLoss = onLoss;
    await expect(cut.accessToken()).rejects.toMatchObject({ kind: "unavailable" });
    expect(cut.restorable).toBe(true);

    const family = new Family();
    family.revoked = true;
    const revoked = new TokenKeeper({ redeem: family.redeem, storage, locks: undefined, now: Date.now });
    revoked.onLoss = onLoss;
    expect(await revoked.accessToken()).toBeUndefined();
    expect(onLoss).toHaveBeenCalledExactlyOnceWith("revoked");
    expect(revoked.restorable).toBe(false);
  });

  it("notice that another tab signed out, or somebody else in", () => {
    const keeper = new TokenKeeper({
      redeem: new Family().redeem,
      storage: localStorage,
      locks: undefined,
      now: Date.now,
    });
    const onLoss = vi.fn();
    keeper.onLoss = onLoss;
    const happens = (newValue: string | null) =>
      window.dispatchEvent(new StorageEvent("storage", { key: KEY, newValue }));
    keeper.accept("usr_1", FIRST);
    happens(JSON.stringify({ owner: "usr_1", refreshToken: "refresh-1" }));
    expect(onLoss).not.toHaveBeenCalled();
    happens(null);
    keeper.accept("usr_1", FIRST);
    happens(JSON.stringify({ owner: "usr_2", refreshToken: "refresh-9" }));
    expect(onLoss.mock.calls).toEqual([["signed-out-elsewhere"], ["other-person"]]);
  });
});
