import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb";

/** What kind of failure it is, for code that must act on it. The words for people are in `problems.ts`. */
export type Kind =
  | "invalid"
  | "unauthenticated"
  | "denied"
  | "missing"
  | "conflict"
  | "exhausted"
  | "unavailable"
  | "cancelled"
  | "range"
  | "internal";

export interface Violation {
  readonly field: string;
  readonly description: string;
}

interface Facts {
  kind: Kind;
  reason: string;
  traceId: string;
  retryAfterSeconds: number;
  violations: readonly Violation[];
}

/** A failed call: its reason from `deskmesh.common.v1.ErrorReason` (without the prefix) and the trace that finds it in the logs. */
export class CallError extends Error {
  override readonly name = "CallError";
  readonly kind: Kind;
  /** Empty when the failure never reached a service. */
  readonly reason: string;
  readonly traceId: string;
  /** 0 when the service named no time. */
  readonly retryAfterSeconds: number;
  readonly violations: readonly Violation[];

  constructor(message: string, facts: Partial<Facts> & { kind: Kind }) {
    super(message);
    this.kind = facts.kind;
    this.reason = facts.reason ?? "";
    this.traceId = facts.traceId ?? "";
    this.retryAfterSeconds = facts.retryAfterSeconds ?? 0;
    this.violations = facts.violations ?? [];
  }

  static from(cause: unknown, traceId: string): CallError {
    if (cause instanceof CallError) return cause;
    const error = ConnectError.from(cause);
    // Renewing the access token failed before the call itself went out.
    if (error.cause instanceof CallError) return error.cause;
    const [info] = error.findDetails(ErrorInfoSchema);
    const [retry] = error.findDetails(RetryInfoSchema);
    const [bad] = error.findDetails(BadRequestSchema);
    return new CallError(error.rawMessage, {
      kind: kindOf(error),
      reason: info?.reason ?? "",
      traceId,
      retryAfterSeconds: retry?.retryDelay
        ? Number(retry.retryDelay.seconds) + retry.retryDelay.nanos / 1e9
        : 0,
      violations: bad?.fieldViolations.map(({ field, description }) => ({ field, description })) ?? [],
    });
  }
}

const KINDS: Partial<Record<Code, Kind>> = {
  [Code.InvalidArgument]: "invalid",
  [Code.Unauthenticated]: "unauthenticated",
  [Code.PermissionDenied]: "denied",
  [Code.NotFound]: "missing",
  [Code.AlreadyExists]: "conflict",
  [Code.Aborted]: "conflict",
  [Code.FailedPrecondition]: "conflict",
  [Code.ResourceExhausted]: "exhausted",
  [Code.Unavailable]: "unavailable",
  [Code.DeadlineExceeded]: "unavailable",
  [Code.Canceled]: "cancelled",
  [Code.OutOfRange]: "range",
};

function kindOf(error: ConnectError): Kind {
  // fetch() itself failed: no name, no route, refused or cut. connect-web reports it as an unknown error.
  if (error.cause instanceof TypeError) return "unavailable";
  return KINDS[error.code] ?? "internal";
}
