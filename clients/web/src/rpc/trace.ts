import { createContextKey } from "@connectrpc/connect";

/** One action of a person; every call that it causes carries the same trace, as W3C Trace Context. */
export interface Trace {
  /** 32 lower-case hexadecimal digits. */
  readonly id: string;
}

export const traceKey = createContextKey<Trace | undefined>(undefined, {
  description: "trace of the action",
});

export function startTrace(): Trace {
  return { id: randomHex(16) };
}

/** The header's value, with a span of its own for the call. */
export function traceparent(trace: Trace): string {
  return `00-${trace.id}-${randomHex(8)}-01`;
}

function randomHex(bytes: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
