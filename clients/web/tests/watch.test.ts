import { describe, expect, it } from "vitest";
import type { ChatEvent, WatchFrame } from "../src/features/chat/model";
import { type ChatState, EMPTY, type Link, reduce } from "../src/features/chat/reducer";
import { backoff, type Follower, follow, type WatchPort, type World } from "../src/features/chat/watch";
import { CallError } from "../src/rpc/errors";

type Script = readonly (WatchFrame | CallError)[];

const ENDED: WatchFrame = { frame: "ended" };
const CUT = new CallError("cut", { kind: "unavailable" });

function delta(offset: number, text: string): WatchFrame {
  const event: ChatEvent = { kind: "delta", text, offset, at: new Date(0), turnId: "t1" };
  return { frame: "event", event };
}

/** A service that answers each stream with the next script and remembers where it was asked to begin. */
function service(...scripts: Script[]): WatchPort & { offsets: number[] } {
  const offsets: number[] = [];
  return {
    offsets,
    async *watch(_id, fromOffset) {
      offsets.push(fromOffset);
      for (const step of scripts[offsets.length - 1] ?? [ENDED]) {
        if (step instanceof CallError) throw step;
        yield step;
      }
    },
  };
}

function reader() {
  let state: ChatState = EMPTY;
  const links: Link["state"][] = [];
  const follower: Follower = {
    lastOffset: () => {
      state = reduce(state, { type: "resumed" });
      return state.lastOffset;
    },
    take: (frame) => {
      if (frame.frame === "event") state = reduce(state, { type: "event", event: frame.event });
      return !state.gap;
    },
    link: (link) => links.push(link.state),
    reset: () => {
      state = reduce(state, { type: "reset" });
    },
  };
  return { follower, links, text: () => state.turn?.text };
}

function world(overrides: Partial<World> = {}): World & { slept: number[] } {
  const slept: number[] = [];
  return {
    slept,
    sleep: async (milliseconds) => void slept.push(milliseconds),
    random: () => 1,
    online: () => true,
    backOnline: async () => {},
    ...overrides,
  };
}

const run = (
  port: WatchPort,
  follower: Follower,
  surroundings: World,
  signal = new AbortController().signal,
) => follow(port, "cnv_1", follower, signal, surroundings);

describe("following a conversation", () => {
  it("resumes after a cut with the last offset, and nothing is lost or repeated", async () => {
    const port = service(
      [delta(1, "a"), delta(2, "b"), CUT],
      [delta(2, "b"), delta(3, "c")],
      [delta(4, "d"), ENDED],
    );
    const { follower, links, text } = reader();
    await run(port, follower, world());
    expect(port.offsets).toEqual([0, 2, 3]);
    expect(text()).toBe("abcd");
    expect(links).toEqual(["connecting", "live", "reconnecting", "live", "reconnecting", "live", "ended"]);
  });

  it("asks again at once for what a stream left out", async () => {
    const port = service([delta(1, "a"), delta(3, "c")], [delta(2, "b"), delta(3, "c"), ENDED]);
    const { follower, text } = reader();
    const surroundings = world();
    await run(port, follower, surroundings);
    expect(port.offsets).toEqual([0, 1]);
    expect(text()).toBe("abc");
    expect(surroundings.slept).toEqual([]);
  });

  it("outlives the access token that opened a stream, without a pause", async () => {
    const ended = new CallError("expired", { kind: "unauthenticated", reason: "TOKEN_EXPIRED" });
    const port = service([delta(1, "a"), ended], [delta(2, "b"), ENDED]);
    const { follower, links, text } = reader();
    const surroundings = world();
    await run(port, follower, surroundings);
    expect(port.offsets).toEqual([0, 1]);
    expect(text()).toBe("ab");
    expect(surroundings.slept).toEqual([]);
    expect(links).toEqual(["connecting", "live", "live", "ended"]);
  });

  it("waits longer each time, and as long as the service asks for", async () => {
    const busy = new CallError("slow", { kind: "exhausted", retryAfterSeconds: 60 });
    const surroundings = world();
    await run(service([CUT], [CUT], [CUT], [busy]), reader().follower, surroundings);
    expect(surroundings.slept).toEqual([500, 1000, 2000, 60_000]);
  });

  it("begins anew when the service does not know the offset", async () => {
    const port = service(
      [delta(1, "a"), CUT],
      [new CallError("range", { kind: "range" })],
      [delta(1, "x"), ENDED],
    );
    const { follower, text } = reader();
    await run(port, follower, world());
    expect(port.offsets).toEqual([0, 1, 0]);
    expect(text()).toBe("x");
  });

  it("gives up on a conversation that cannot be had", async () => {
    const { follower, links } = reader();
    await run(service([new CallError("no", { kind: "missing" })]), follower, world());
    expect(links).toEqual(["connecting", "failed"]);
  });

  it("waits for the network instead of trying without one", async () => {
    let online = false;
    const surroundings = world({
      online: () => online,
      backOnline: async () => {
        online = true;
      },
    });
    const { follower, links } = reader();
    await run(service([CUT], [ENDED]), follower, surroundings);
    expect(links).toEqual(["connecting", "offline", "ended"]);
    expect(surroundings.slept).toEqual([]);
  });

  it("stops when nobody looks any more", async () => {
    const stop = new AbortController();
    const port = service([delta(1, "a"), CUT]);
    const { follower, links } = reader();
    await run(port, follower, world({ sleep: async () => stop.abort() }), stop.signal);
    expect(port.offsets).toEqual([0]);
    expect(links.at(-1)).toBe("reconnecting");
  });
});

describe("backoff", () => {
  it("doubles up to a limit and never falls below half", () => {
    expect([0, 1, 2, 10].map((attempt) => backoff(attempt, 1))).toEqual([500, 1000, 2000, 15_000]);
    expect(backoff(10, 0)).toBe(7_500);
  });
});
