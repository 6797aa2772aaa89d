import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import {
  CommentVisibility,
  type Comment as PbComment,
  TicketPriority as PbPriority,
  TicketStatus as PbStatus,
  type Ticket as PbTicket,
  type TicketEvent as PbTicketEvent,
  TicketKind,
} from "../../gen/deskmesh/tickets/v1/ticket_pb";
import { TicketOrder as PbOrder, TicketService } from "../../gen/deskmesh/tickets/v1/ticket_service_pb";
import { startTrace } from "../../rpc/trace";
import { call } from "../../rpc/transport";
import { date, required } from "../../rpc/wire";
import { moment } from "../../ui/dates";
import type {
  Comment,
  Order,
  Priority,
  Status,
  Ticket,
  TicketChange,
  TicketEvent,
  TicketFilter,
  TicketPage,
} from "./model";

/** Tickets; a customer sees their own. */
export class TicketsApi {
  readonly #tickets: Client<typeof TicketService>;

  constructor(transport: Transport) {
    this.#tickets = createClient(TicketService, transport);
  }

  list(filter: TicketFilter, pageToken: string): Promise<TicketPage> {
    return call(startTrace(), async (options) => {
      const page = await this.#tickets.listTickets(
        {
          statuses: filter.statuses.map((status) => STATUS_OUT[status]),
          priorities: filter.priorities.map((priority) => PRIORITY_OUT[priority]),
          assigneeId: filter.assigneeId,
          order: ORDER_OUT[filter.order],
          pageSize: 50,
          pageToken,
        },
        options,
      );
      return { tickets: page.tickets.map(toTicket), nextPageToken: page.nextPageToken };
    });
  }

  get(ticketId: string): Promise<Ticket> {
    return call(startTrace(), async (options) =>
      toTicket(required((await this.#tickets.getTicket({ ticketId }, options)).ticket)),
    );
  }

  /** Fails with STALE_ETAG when the ticket changed since it was read. */
  update(ticket: Ticket, change: TicketChange): Promise<Ticket> {
    return call(startTrace(), async (options) => {
      const request = {
        ticketId: ticket.id,
        etag: ticket.etag,
        updateMask: { paths: Object.keys(change).map((field) => PATHS[field as keyof TicketChange]) },
        ...(change.status !== undefined && { status: STATUS_OUT[change.status] }),
        ...(change.priority !== undefined && { priority: PRIORITY_OUT[change.priority] }),
        ...(change.assigneeId !== undefined && { assigneeId: change.assigneeId }),
        // Named in the mask and not given, it is taken away.
        ...(change.dueAt && { dueAt: timestampFromDate(change.dueAt) }),
      };
      return toTicket(required((await this.#tickets.updateTicket(request, options)).ticket));
    });
  }

  comment(ticketId: string, requestId: string, text: string, internal: boolean): Promise<Comment> {
    const visibility = internal ? CommentVisibility.INTERNAL : CommentVisibility.PUBLIC;
    return call(startTrace(), async (options) => {
      const request = { requestId, ticketId, text, visibility };
      return toComment(required((await this.#tickets.addComment(request, options)).comment));
    });
  }

  async comments(ticketId: string): Promise<readonly Comment[]> {
    const trace = startTrace();
    const comments: Comment[] = [];
    let pageToken = "";
    do {
      const request = { ticketId, pageToken, pageSize: 200 };
      const page = await call(trace, (options) => this.#tickets.listComments(request, options));
      comments.push(...page.comments.map(toComment));
      pageToken = page.nextPageToken;
    } while (pageToken);
    return comments;
  }

  async history(ticketId: string): Promise<readonly TicketEvent[]> {
    const trace = startTrace();
    const events: TicketEvent[] = [];
    let pageToken = "";
    do {
      const request = { ticketId, pageToken, pageSize: 200 };
      const page = await call(trace, (options) => this.#tickets.listTicketEvents(request, options));
      events.push(...page.events.flatMap(toEvent));
      pageToken = page.nextPageToken;
    } while (pageToken);
    return events;
  }
}

const PATHS: Readonly<Record<keyof TicketChange, string>> = {
  status: "status",
  priority: "priority",
  assigneeId: "assignee_id",
  dueAt: "due_at",
};

const STATUS_OUT: Readonly<Record<Status, PbStatus>> = {
  new: PbStatus.NEW,
  open: PbStatus.OPEN,
  pending: PbStatus.PENDING,
  "on-hold": PbStatus.ON_HOLD,
  solved: PbStatus.SOLVED,
  closed: PbStatus.CLOSED,
};

const STATUS_IN: Readonly<Record<PbStatus, Status>> = {
  [PbStatus.UNSPECIFIED]: "new",
  [PbStatus.NEW]: "new",
  [PbStatus.OPEN]: "open",
  [PbStatus.PENDING]: "pending",
  [PbStatus.ON_HOLD]: "on-hold",
  [PbStatus.SOLVED]: "solved",
  [PbStatus.CLOSED]: "closed",
};

const PRIORITY_OUT: Readonly<Record<Priority, PbPriority>> = {
  low: PbPriority.LOW,
  normal: PbPriority.NORMAL,
  high: PbPriority.HIGH,
  urgent: PbPriority.URGENT,
};

const PRIORITY_IN: Readonly<Record<PbPriority, Priority>> = {
  [PbPriority.UNSPECIFIED]: "normal",
  [PbPriority.LOW]: "low",
  [PbPriority.NORMAL]: "normal",
  [PbPriority.HIGH]: "high",
  [PbPriority.URGENT]: "urgent",
};

const ORDER_OUT: Readonly<Record<Order, PbOrder>> = {
  updated: PbOrder.UPDATED_DESC,
  newest: PbOrder.CREATED_DESC,
  oldest: PbOrder.CREATED_ASC,
  priority: PbOrder.PRIORITY_DESC,
  due: PbOrder.DUE_ASC,
};

function toTicket(ticket: PbTicket): Ticket {
  return {
    id: ticket.id,
    number: Number(ticket.number),
    subject: ticket.subject,
    description: ticket.description,
    status: STATUS_IN[ticket.status],
    priority: PRIORITY_IN[ticket.priority],
    handoff: ticket.kind === TicketKind.HANDOFF,
    requesterId: ticket.requesterId,
    assigneeId: ticket.assigneeId,
    conversationId: ticket.conversationId,
    etag: ticket.etag,
    createdAt: date(ticket.createdAt),
    updatedAt: date(ticket.updatedAt ?? ticket.createdAt),
    dueAt: ticket.dueAt ? date(ticket.dueAt) : null,
  };
}

function toComment(comment: PbComment): Comment {
  return {
    id: comment.id,
    authorId: comment.authorId,
    text: comment.text,
    internal: comment.visibility === CommentVisibility.INTERNAL,
    at: date(comment.createdAt),
  };
}

function toEvent(entry: PbTicketEvent): TicketEvent[] {
  const base = { sequence: Number(entry.sequence), actorId: entry.actorId, at: date(entry.occurredAt) };
  const { event } = entry;
  switch (event.case) {
    case "opened":
      return [
        {
          ...base,
          kind: "opened",
          status: STATUS_IN[event.value.status],
          priority: PRIORITY_IN[event.value.priority],
        },
      ];
    case "fieldChanged": {
      const { field, before, after } = event.value;
      return [
        {
          ...base,
          kind: "changed",
          field,
          before: valueTitle(field, before),
          after: valueTitle(field, after),
        },
      ];
    }
    case "commentAdded": {
      const { commentId, visibility } = event.value;
      return [{ ...base, kind: "commented", commentId, internal: visibility === CommentVisibility.INTERNAL }];
    }
    default:
      return [];
  }
}

/** "TICKET_STATUS_ON_HOLD" → "On hold", times as people write them; other values stay as they are. */
function valueTitle(field: string, value: string): string {
  if (field === "due_at" && value) return moment(new Date(value));
  if (field !== "status" && field !== "priority") return value;
  const words = value
    .replace(/^TICKET_(STATUS|PRIORITY)_/, "")
    .replaceAll("_", " ")
    .toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
