import {
  AlarmClock,
  CircleCheck,
  CircleCheckBig,
  CircleDashed,
  CircleDot,
  CirclePause,
  Clock3,
  Signal,
  SignalHigh,
  SignalLow,
  SquareDot,
} from "lucide-react";
import { Until } from "../../ui/When";
import styles from "./marks.module.css";
import { isSolved, PRIORITY_TITLES, type Priority, STATUS_TITLES, type Status, type Ticket } from "./model";

const STATUS_ICONS = {
  new: CircleDashed,
  open: CircleDot,
  pending: Clock3,
  "on-hold": CirclePause,
  solved: CircleCheck,
  closed: CircleCheckBig,
} as const;

const PRIORITY_ICONS = { urgent: SquareDot, high: Signal, normal: SignalHigh, low: SignalLow } as const;

/** Each status has a shape of its own, so that colour is never the only sign. */
export function StatusIcon({ status, size = 16 }: { status: Status; size?: number }) {
  const Icon = STATUS_ICONS[status];
  return <Icon size={size} className={styles.status} data-status={status} aria-hidden />;
}

export function PriorityIcon({ priority, size = 16 }: { priority: Priority; size?: number }) {
  const Icon = PRIORITY_ICONS[priority];
  return <Icon size={size} className={styles.priority} data-priority={priority} aria-hidden />;
}

export function StatusBadge({ status }: { status: Status }) {
  return (
    <span className={styles.badge}>
      <StatusIcon status={status} size={14} />
      {STATUS_TITLES[status]}
    </span>
  );
}

export function PriorityBadge({ priority }: { priority: Priority }) {
  return (
    <span className={styles.badge}>
      <PriorityIcon priority={priority} size={14} />
      {PRIORITY_TITLES[priority]}
    </span>
  );
}

/** How long until the ticket should be solved; nothing once it is, or when no time is set. */
export function DueMark({ ticket }: { ticket: Ticket }) {
  if (!ticket.dueAt || isSolved(ticket.status)) return null;
  return (
    <span className={styles.due}>
      <AlarmClock size={12} aria-hidden />
      <Until at={ticket.dueAt} late={styles.overdue} />
    </span>
  );
}
