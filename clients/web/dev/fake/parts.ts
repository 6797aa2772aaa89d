import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { type Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb";

export function failure(code: Code, reason: string, message: string, retryAfterSeconds = 0): ConnectError {
  const info = { desc: ErrorInfoSchema, value: { reason, domain: "deskmesh" } };
  const retry = { desc: RetryInfoSchema, value: { retryDelay: { seconds: BigInt(retryAfterSeconds) } } };
  return new ConnectError(message, code, undefined, retryAfterSeconds ? [info, retry] : [info]);
}

export function ago(minutes: number) {
  return timestampFromDate(new Date(Date.now() - minutes * 60_000));
}
