import { useEffect, useState } from "react";
import { clock, day, dayAndYear, full, longDay, weekday } from "./dates";

const MINUTE = 60_000;
const DAY_MS = 86_400_000;

/** As short as the distance allows: "now", "5m", "14:05", "Tue", "3 Mar", "3 Mar 2024". */
export function shortTime(at: Date, now: Date): string {
  const ago = now.getTime() - at.getTime();
  if (ago < MINUTE) return "now";
  if (ago < 60 * MINUTE) return `${Math.floor(ago / MINUTE)}m`;
  if (at.toDateString() === now.toDateString()) return clock(at);
  if (ago < 6 * DAY_MS) return weekday(at);
  return at.getFullYear() === now.getFullYear() ? day(at) : dayAndYear(at);
}

export function dayTitle(at: Date, now: Date): string {
  if (at.toDateString() === now.toDateString()) return "Today";
  if (at.toDateString() === new Date(now.getTime() - DAY_MS).toDateString()) return "Yesterday";
  return at.getFullYear() === now.getFullYear() ? longDay(at) : dayAndYear(at);
}

function useMinute(): Date {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), MINUTE);
    return () => clearInterval(timer);
  }, []);
  return now;
}

/** A moment, short and kept fresh; the whole of it in the tooltip. */
export function Ago({ at }: { at: Date }) {
  const now = useMinute();
  return (
    <time dateTime={at.toISOString()} title={full(at)}>
      {shortTime(at, now)}
    </time>
  );
}

/** A span as "20m", "5h" or "3d". */
export function span(milliseconds: number): string {
  const minutes = Math.floor(Math.abs(milliseconds) / MINUTE);
  if (minutes < 60) return `${minutes}m`;
  return minutes < 2 * 24 * 60 ? `${Math.floor(minutes / 60)}h` : `${Math.floor(minutes / (24 * 60))}d`;
}

/** What is left until a moment: "due in 5h", then "overdue 5h" with the class `late`. */
export function Until({ at, late }: { at: Date; late: string | undefined }) {
  const left = at.getTime() - useMinute().getTime();
  return (
    <time dateTime={at.toISOString()} title={full(at)} className={left < 0 ? late : undefined}>
      {left < 0 ? `overdue ${span(left)}` : `due in ${span(left)}`}
    </time>
  );
}

/** A moment as an input of the type datetime-local has it, in the person's time zone. */
export function inputValue(at: Date): string {
  return new Date(at.getTime() - at.getTimezoneOffset() * MINUTE).toISOString().slice(0, 16);
}

export function Clock({ at }: { at: Date }) {
  return (
    <time dateTime={at.toISOString()} title={full(at)}>
      {clock(at)}
    </time>
  );
}

export function Day({ at }: { at: Date }) {
  return <time dateTime={at.toISOString()}>{dayAndYear(at)}</time>;
}
