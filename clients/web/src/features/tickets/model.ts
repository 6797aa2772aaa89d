export const STATUSES = ["new", "open", "pending", "on-hold", "solved", "closed"] as const;
export type Status = (typeof STATUSES)[number];

export const PRIORITIES = ["urgent", "high", "normal", "low"] as const;
export type Priority = (typeof PRIORITIES)[number];

export const ORDERS = ["updated", "due", "newest", "oldest", "priority"] as const;
export type Order = (typeof ORDERS)[number];

export interface Ticket {
  readonly id: string;
  readonly number: number;
  readonly subject: string;
  readonly description: string;
  readonly status: Status;
  readonly priority: Priority;
  readonly handoff: boolean;
  readonly requesterId: string;
  /** Empty when nobody has it. */
  readonly assigneeId: string;
  /** Empty when it came from no conversation. */
  readonly conversationId: string;
  readonly etag: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** When it should be solved by; null when no time is set. */
  readonly dueAt: Date | null;
}

export interface TicketPage {
  readonly tickets: readonly Ticket[];
  readonly nextPageToken: string;
}

export interface TicketFilter {
  readonly statuses: readonly Status[];
  readonly priorities: readonly Priority[];
  /** A user identifier, "none" for tickets nobody has, empty for all. */
  readonly assigneeId: string;
  readonly order: Order;
}

/** What an agent changes at once; only what is given changes. */
export type TicketChange = Partial<Pick<Ticket, "status" | "priority" | "assigneeId" | "dueAt">>;

export interface Comment {
  readonly id: string;
  readonly authorId: string;
  readonly text: string;
  readonly internal: boolean;
  readonly at: Date;
}

export type TicketEvent = { readonly sequence: number; readonly actorId: string; readonly at: Date } & (
  | { readonly kind: "opened"; readonly status: Status; readonly priority: Priority }
  | { readonly kind: "changed"; readonly field: string; readonly before: string; readonly after: string }
  | { readonly kind: "commented"; readonly commentId: string; readonly internal: boolean }
);

export const STATUS_TITLES: Readonly<Record<Status, string>> = {
  new: "New",
  open: "Open",
  pending: "Pending",
  "on-hold": "On hold",
  solved: "Solved",
  closed: "Closed",
};

export const PRIORITY_TITLES: Readonly<Record<Priority, string>> = {
  urgent: "Urgent",
  high: "High",
  normal: "Normal",
  low: "Low",
};

export const ORDER_TITLES: Readonly<Record<Order, string>> = {
  updated: "Last updated",
  due: "Due first",
  newest: "Newest first",
  oldest: "Oldest first",
  priority: "Most urgent",
};

const NEXT: Readonly<Record<Status, readonly Status[]>> = {
  new: ["open", "solved"],
  open: ["pending", "on-hold", "solved"],
  pending: ["open", "on-hold", "solved"],
  "on-hold": ["open", "pending", "solved"],
  solved: ["open", "closed"],
  closed: [],
};

/** The statuses a person may choose, the present one among them. */
export function reachable(status: Status): readonly Status[] {
  const next = NEXT[status];
  return STATUSES.filter((one) => one === status || next.includes(one));
}

export function isSolved(status: Status): boolean {
  return status === "solved" || status === "closed";
}
