import { type CallOptions, createContextValues, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { CallError } from "./errors";
import type { TokenKeeper } from "./tokens";
import { startTrace, type Trace, traceKey, traceparent } from "./trace";

const UNARY_TIMEOUT_MS = 20_000;

/** Makes a transport with these interceptors; tests and development pass one that needs no server. */
export type TransportFactory = (interceptors: Interceptor[]) => Transport;

/** gRPC-Web to the origin that served the page: the edge. */
export const edgeTransport: TransportFactory = (interceptors) =>
  createGrpcWebTransport({
    baseUrl: window.location.origin,
    interceptors,
    defaultTimeoutMs: UNARY_TIMEOUT_MS,
  });

/** Every call carries the trace of the action that caused it. */
export const traced: Interceptor = (next) => (request) => {
  request.header.set("traceparent", traceparent(request.contextValues.get(traceKey) ?? startTrace()));
  return next(request);
};

/** Calls carry the access token; one that a service refuses is renewed and the call made once more. */
export function authorized(tokens: TokenKeeper): Interceptor {
  return (next) => async (request) => {
    const token = await tokens.accessToken();
    if (token) request.header.set("authorization", `Bearer ${token}`);
    try {
      const response = await next(request);
      return response.stream
        ? { ...response, message: watchingFor(response.message, () => token && tokens.reject(token)) }
        : response;
    } catch (error) {
      if (!token || !refused(error)) throw error;
      tokens.reject(token);
      const renewed = await tokens.accessToken();
      if (!renewed) throw error;
      request.header.set("authorization", `Bearer ${renewed}`);
      return next(request);
    }
  };
}

/** Whether it was the token that was refused, and not a password or code in the request. */
function refused(error: unknown): boolean {
  const { kind, reason } = CallError.from(error, "");
  return kind === "unauthenticated" && (reason === "" || reason.startsWith("TOKEN_"));
}

/** A stream that was refused cannot be repeated here: its reader resumes it, with another token. */
async function* watchingFor<T>(messages: AsyncIterable<T>, onRefused: () => void): AsyncGenerator<T, void> {
  try {
    yield* messages;
  } catch (error) {
    if (refused(error)) onRefused();
    throw error;
  }
}

/** Runs a unary call within a trace; failures become CallError. */
export async function call<T>(trace: Trace, run: (options: CallOptions) => Promise<T>): Promise<T> {
  try {
    return await run({ contextValues: createContextValues().set(traceKey, trace) });
  } catch (error) {
    throw CallError.from(error, trace.id);
  }
}

/** Runs a server stream within a trace and without a time limit; failures become CallError. */
export async function* stream<T>(
  trace: Trace,
  signal: AbortSignal,
  run: (options: CallOptions) => AsyncIterable<T>,
): AsyncGenerator<T, void> {
  const contextValues = createContextValues().set(traceKey, trace);
  try {
    yield* run({ contextValues, signal, timeoutMs: 0 });
  } catch (error) {
    throw CallError.from(error, trace.id);
  }
}
