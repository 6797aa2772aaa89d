import { CallError } from "../../rpc/errors";
import type { WatchFrame } from "./model";
import type { Link } from "./reducer";

export interface WatchPort {
  watch(conversationId: string, fromOffset: number, signal: AbortSignal): AsyncIterable<WatchFrame>;
}

export interface Follower {
  /** The last offset that was taken in; the next stream begins after it. */
  lastOffset(): number;
  /** Takes a frame in; false when an event before it is missing, so that the stream must be resumed. */
  take(frame: WatchFrame): boolean;
  link(link: Link): void;
  /** The service no longer knows the offset: everything is told again from the start. */
  reset(): void;
}

/** Time, chance and the network, so that tests can do without them. */
export interface World {
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
  random(): number;
  online(): boolean;
  /** Settles when the network is back, or the signal aborts. */
  backOnline(signal: AbortSignal): Promise<void>;
}

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
/** The service sends heartbeats more often than this; silence means the connection died unnoticed. */
const SILENCE_MS = 45_000;
const FATAL: readonly CallError["kind"][] = ["missing", "denied", "invalid"];

/** Exponential with full jitter, so that a thousand pages do not come back in step. */
export function backoff(attempt: number, random: number): number {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return ceiling / 2 + (ceiling / 2) * random;
}

/** Follows a conversation until it has ended, cannot be had, or the signal aborts; resumes after every cut. */
export async function follow(
  port: WatchPort,
  conversationId: string,
  follower: Follower,
  signal: AbortSignal,
  world: World,
): Promise<void> {
  let attempt = 0;
  follower.link({ state: "connecting" });
  while (!signal.aborted) {
    const outcome = await readOnce(port, conversationId, follower, signal);
    if (signal.aborted) return;
    if (outcome.kind === "ended") return follower.link({ state: "ended" });
    if (outcome.kind === "fatal") return follower.link({ state: "failed", error: outcome.error });
    if (outcome.kind === "range") follower.reset();
    if (outcome.progressed) attempt = 0;
    if (!world.online()) {
      follower.link({ state: "offline" });
      await world.backOnline(signal);
      attempt = 0;
    } else if (outcome.kind === "lost" || !outcome.progressed) {
      follower.link({ state: "reconnecting" });
      await world.sleep(Math.max(backoff(attempt, world.random()), outcome.retryAfterSeconds * 1000), signal);
      attempt += 1;
    }
  }
}

interface Progress {
  /** True when at least one frame was taken in. */
  progressed: boolean;
  retryAfterSeconds: number;
}

type Outcome = Progress &
  // A stream ends with the access token that opened it; the next one is opened with another, at once.
  ({ kind: "ended" | "expired" | "gap" | "range" | "lost" } | { kind: "fatal"; error: CallError });

async function readOnce(
  port: WatchPort,
  conversationId: string,
  follower: Follower,
  outer: AbortSignal,
): Promise<Outcome> {
  const silence = new AbortController();
  let watchdog = setTimeout(() => silence.abort(), SILENCE_MS);
  const signal = AbortSignal.any([outer, silence.signal]);
  const so = { progressed: false, retryAfterSeconds: 0 };
  try {
    for await (const frame of port.watch(conversationId, follower.lastOffset(), signal)) {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => silence.abort(), SILENCE_MS);
      if (frame.frame === "ended") return { kind: "ended", ...so };
      if (!follower.take(frame)) return { kind: "gap", ...so };
      if (!so.progressed || frame.frame === "caught-up") follower.link({ state: "live" });
      so.progressed = true;
    }
    return { kind: "lost", ...so };
  } catch (cause) {
    const error = CallError.from(cause, "");
    if (error.kind === "range") return { kind: "range", ...so };
    if (FATAL.includes(error.kind)) return { kind: "fatal", error, ...so };
    if (error.kind === "unauthenticated") return { kind: "expired", ...so };
    return { kind: "lost", ...so, retryAfterSeconds: error.retryAfterSeconds };
  } finally {
    clearTimeout(watchdog);
  }
}

export const browserWorld: World = {
  sleep: (milliseconds, signal) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      const wake = () => {
        clearTimeout(timer);
        resolve();
      };
      signal.addEventListener("abort", wake, { once: true });
    }),
  random: Math.random,
  online: () => navigator.onLine,
  backOnline: (signal) =>
    new Promise((resolve) => {
      window.addEventListener("online", () => resolve(), { once: true, signal });
      signal.addEventListener("abort", () => resolve(), { once: true });
    }),
};
