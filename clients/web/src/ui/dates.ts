/** Made when it is first used: each takes milliseconds, and a page that just starts shows no time. */
function format(options: Intl.DateTimeFormatOptions): (at: Date) => string {
  let made: Intl.DateTimeFormat | undefined;
  return (at) => {
    made ??= new Intl.DateTimeFormat(undefined, options);
    return made.format(at);
  };
}

export const clock = format({ hour: "2-digit", minute: "2-digit" });
export const weekday = format({ weekday: "short" });
export const day = format({ day: "numeric", month: "short" });
export const dayAndYear = format({ day: "numeric", month: "short", year: "numeric" });
export const longDay = format({ weekday: "long", day: "numeric", month: "long" });
export const full = format({ dateStyle: "full", timeStyle: "short" });
/** The day and the minute: "3 Mar 2024, 14:05". */
export const moment = format({ dateStyle: "medium", timeStyle: "short" });
