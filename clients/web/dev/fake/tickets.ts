import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate, timestampNow } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import {
  type Comment,
  CommentSchema,
  CommentVisibility,
  type Ticket,
  type TicketEvent,
  TicketEventSchema,
  TicketKind,
  TicketPriority,
  TicketSchema,
  TicketStatus,
} from "../../src/gen/deskmesh/tickets/v1/ticket_pb";
import {
  type ListTicketsRequest,
  TicketOrder,
  type UpdateTicketRequest,
} from "../../src/gen/deskmesh/tickets/v1/ticket_service_pb";
import { ago, failure } from "./parts";

const SUBJECTS: readonly [string, TicketStatus, TicketPriority, string, string, number][] = [
  ["Parcel marked delivered, but not here", TicketStatus.NEW, TicketPriority.HIGH, "usr_robin", "", 4],
  [
    "Wants to talk to a person about a torn jacket",
    TicketStatus.OPEN,
    TicketPriority.URGENT,
    "usr_noor",
    "usr_mara",
    23,
  ],
  [
    "Refund has not arrived after two weeks",
    TicketStatus.OPEN,
    TicketPriority.NORMAL,
    "usr_noor",
    "usr_mara",
    95,
  ],
  [
    "Invoice with company name needed",
    TicketStatus.PENDING,
    TicketPriority.LOW,
    "usr_robin",
    "usr_jonas",
    1500,
  ],
  [
    "Boots too small, exchange for half a size up",
    TicketStatus.ON_HOLD,
    TicketPriority.NORMAL,
    "usr_robin",
    "",
    4300,
  ],
  ["Gift card code not accepted", TicketStatus.SOLVED, TicketPriority.NORMAL, "usr_noor", "usr_mara", 8700],
  ["Change of delivery address", TicketStatus.CLOSED, TicketPriority.LOW, "usr_robin", "usr_jonas", 20000],
];

export class FakeTickets {
  readonly #tickets: Ticket[] = [];
  readonly #comments: Comment[] = [];
  readonly #events = new Map<string, TicketEvent[]>();
  #count = 0;

  constructor() {
    for (const [index, [subject, status, priority, requesterId, assigneeId, minutes]] of SUBJECTS.entries()) {
      const ticket = create(TicketSchema, {
        id: `tkt_${index + 1}`,
        number: BigInt(1042 - index),
        subject,
        description:
          index === 0 ? "The tracking page says it was handed over on Tuesday, but nobody here has it." : "",
        status,
        priority,
        requesterId,
        assigneeId,
        conversationId: index < 2 ? "cnv_1" : "",
        kind: index === 1 ? TicketKind.HANDOFF : TicketKind.REQUEST,
        etag: `v${++this.#count}`,
        createdAt: ago(minutes + 60),
        updatedAt: ago(minutes),
        // The third one is overdue by three hours, the others are due later and later.
        dueAt: ago(index === 2 ? 180 : -300 * (index + 1)),
      });
      this.#tickets.push(ticket);
      const opened = { status: TicketStatus.NEW, priority };
      this.#record(ticket.id, {
        actorId: requesterId,
        occurredAt: ago(minutes + 60),
        event: { case: "opened", value: opened },
      });
      if (assigneeId) {
        const value = { field: "assignee_id", before: "", after: assigneeId };
        this.#record(ticket.id, {
          actorId: "usr_jonas",
          occurredAt: ago(minutes),
          event: { case: "fieldChanged", value },
        });
      }
    }
    this.comment(
      "tkt_1",
      "The carrier's photo shows another door. I've asked them for the driver's notes.",
      CommentVisibility.INTERNAL,
      "usr_jonas",
    );
    this.comment(
      "tkt_1",
      "We've asked the carrier where it is and will write to you tomorrow.",
      CommentVisibility.PUBLIC,
      "usr_mara",
    );
  }

  list(request: ListTicketsRequest, me: string): Ticket[] {
    const { statuses, priorities, assigneeId, order } = request;
    const staff = me === "usr_mara" || me === "usr_jonas";
    const found = this.#tickets.filter(
      (ticket) =>
        (staff || ticket.requesterId === me) &&
        (statuses.length === 0 || statuses.includes(ticket.status)) &&
        (priorities.length === 0 || priorities.includes(ticket.priority)) &&
        (!assigneeId || ticket.assigneeId === (assigneeId === "none" ? "" : assigneeId)),
    );
    if (order === TicketOrder.DUE_ASC) return found.sort((a, b) => dueSeconds(a) - dueSeconds(b));
    if (order === TicketOrder.PRIORITY_DESC) return found.sort((a, b) => b.priority - a.priority);
    return order === TicketOrder.CREATED_ASC ? found.reverse() : found;
  }

  get(id: string): Ticket {
    const found = this.#tickets.find((ticket) => ticket.id === id);
    if (!found) throw failure(Code.NotFound, "TICKET_NOT_FOUND", "no such ticket");
    return { ...found };
  }

  update(request: UpdateTicketRequest, me: string): Ticket {
    const ticket = this.#tickets.find(({ id }) => id === request.ticketId);
    if (!ticket) throw failure(Code.NotFound, "TICKET_NOT_FOUND", "no such ticket");
    if (request.etag !== ticket.etag) throw failure(Code.Aborted, "STALE_ETAG", "changed");
    const paths = request.updateMask?.paths ?? [];
    const change = (field: string, before: string, after: string) =>
      this.#record(ticket.id, {
        actorId: me,
        event: { case: "fieldChanged", value: { field, before, after } },
      });
    if (paths.includes("status")) {
      change(
        "status",
        `TICKET_STATUS_${TicketStatus[ticket.status]}`,
        `TICKET_STATUS_${TicketStatus[request.status]}`,
      );
      ticket.status = request.status;
    }
    if (paths.includes("priority")) {
      change(
        "priority",
        `TICKET_PRIORITY_${TicketPriority[ticket.priority]}`,
        `TICKET_PRIORITY_${TicketPriority[request.priority]}`,
      );
      ticket.priority = request.priority;
    }
    if (paths.includes("assignee_id")) {
      change("assignee_id", ticket.assigneeId, request.assigneeId);
      ticket.assigneeId = request.assigneeId;
    }
    if (paths.includes("due_at")) {
      change("due_at", momentText(ticket.dueAt), momentText(request.dueAt));
      if (request.dueAt) ticket.dueAt = request.dueAt;
      else delete ticket.dueAt;
    }
    this.touch(ticket.id);
    return { ...ticket };
  }

  /** Changes the version, as when somebody else was first. */
  touch(id: string): void {
    const ticket = this.#tickets.find((one) => one.id === id);
    if (!ticket) return;
    ticket.etag = `v${++this.#count}`;
    ticket.updatedAt = timestampNow();
  }

  comment(ticketId: string, text: string, visibility: CommentVisibility, authorId: string) {
    const id = `cmt_${++this.#count}`;
    const comment = create(CommentSchema, {
      id,
      ticketId,
      authorId,
      text,
      visibility,
      createdAt: timestampNow(),
    });
    this.#comments.push(comment);
    this.#record(ticketId, {
      actorId: authorId,
      event: { case: "commentAdded", value: { commentId: id, visibility } },
    });
    this.touch(ticketId);
    return { comment, ticket: this.get(ticketId) };
  }

  comments(ticketId: string, me: string): Comment[] {
    const staff = me === "usr_mara" || me === "usr_jonas";
    return this.#comments.filter(
      (comment) =>
        comment.ticketId === ticketId && (staff || comment.visibility === CommentVisibility.PUBLIC),
    );
  }

  history(ticketId: string): TicketEvent[] {
    return this.#events.get(ticketId) ?? [];
  }

  #record(ticketId: string, event: MessageInitShape<typeof TicketEventSchema>): void {
    const events = this.#events.get(ticketId) ?? [];
    events.push(
      create(TicketEventSchema, {
        occurredAt: timestampNow(),
        ...event,
        sequence: BigInt(events.length + 1),
      }),
    );
    this.#events.set(ticketId, events);
  }
}

function dueSeconds(ticket: Ticket): number {
  return ticket.dueAt ? Number(ticket.dueAt.seconds) : Number.POSITIVE_INFINITY;
}

function momentText(at: Timestamp | undefined): string {
  return at ? timestampDate(at).toISOString() : "";
}
