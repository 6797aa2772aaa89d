import { type Duration, type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import { CallError } from "./errors";

/** Well-known types in the page's own; an unset time is the epoch. */
export function date(timestamp: Timestamp | undefined): Date {
  return timestamp ? timestampDate(timestamp) : new Date(0);
}

export function seconds(duration: Duration | undefined): number {
  return duration ? Number(duration.seconds) + duration.nanos / 1e9 : 0;
}

/** For fields that the contract promises; throws CallError when one is missing all the same. */
export function required<T>(value: T | undefined): T {
  if (value === undefined)
    throw new CallError("the response lacks a part it must have", { kind: "internal" });
  return value;
}
