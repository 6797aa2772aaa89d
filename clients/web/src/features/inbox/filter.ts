import {
  ORDERS,
  type Order,
  PRIORITIES,
  type Priority,
  STATUSES,
  type Status,
  type TicketFilter,
} from "../tickets/model";

const UNSOLVED: readonly Status[] = ["new", "open", "pending", "on-hold"];

/** The views of the sidebar, and what an address such as "/inbox?view=mine&priority=urgent,high" narrows them to. */
export function filterOf(params: URLSearchParams, me: string): TicketFilter {
  const view = params.get("view") ?? "open";
  const statuses = listed(params, "status", STATUSES);
  return {
    statuses: statuses.length > 0 ? statuses : view === "done" ? ["solved", "closed"] : UNSOLVED,
    priorities: listed(params, "priority", PRIORITIES),
    assigneeId: params.get("assignee") ?? (view === "mine" ? me : view === "unassigned" ? "none" : ""),
    order: ORDERS.find((order) => order === params.get("order")) ?? "updated",
  };
}

export interface Narrowing {
  status?: readonly Status[];
  priority?: readonly Priority[];
  order?: Order;
  assignee?: string;
}

/** The address with some filters changed; an empty one goes away. */
export function narrowed(params: URLSearchParams, change: Narrowing): URLSearchParams {
  const next = new URLSearchParams(params);
  for (const [name, value] of Object.entries(change)) {
    const text = Array.isArray(value) ? value.join(",") : String(value);
    if (text) next.set(name, text);
    else next.delete(name);
  }
  return next;
}

export function listed<T extends string>(
  params: URLSearchParams,
  name: string,
  known: readonly T[],
): readonly T[] {
  const named = (params.get(name) ?? "").split(",");
  return known.filter((one) => named.includes(one));
}

export const VIEW_TITLES: Readonly<Record<string, string>> = {
  open: "All open",
  mine: "Mine",
  unassigned: "Unassigned",
  done: "Solved",
};
