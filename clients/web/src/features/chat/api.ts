import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { OrchestratorService } from "../../gen/deskmesh/orchestrator/v1/orchestrator_service_pb";
import {
  type Conversation as PbConversation,
  Responder as PbResponder,
  ConversationState as PbState,
} from "../../gen/deskmesh/sessions/v1/conversation_pb";
import {
  ConversationService,
  type WatchResponse,
} from "../../gen/deskmesh/sessions/v1/conversation_service_pb";
import type { ConversationEvent } from "../../gen/deskmesh/sessions/v1/event_pb";
import {
  Author as PbAuthor,
  type Citation as PbCitation,
  type Message as PbMessage,
  Rating as PbRating,
} from "../../gen/deskmesh/sessions/v1/message_pb";
import { startTrace, type Trace } from "../../rpc/trace";
import { call, stream } from "../../rpc/transport";
import { date, required } from "../../rpc/wire";
import type {
  Author,
  ChatEvent,
  Citation,
  Conversation,
  ConversationStanding,
  Message,
  Rating,
  Responder,
  WatchFrame,
} from "./model";

export interface ConversationPage {
  readonly conversations: readonly Conversation[];
  readonly nextPageToken: string;
}

export interface OutgoingMessage {
  readonly requestId: string;
  readonly conversationId: string;
  readonly text: string;
  readonly proposal?: { readonly id: string; readonly accepted: boolean } | undefined;
}

/** Conversations: their list, their live stream, and what people do in them. */
export class ChatApi {
  readonly #conversations: Client<typeof ConversationService>;
  readonly #orchestrator: Client<typeof OrchestratorService>;

  constructor(transport: Transport) {
    this.#conversations = createClient(ConversationService, transport);
    this.#orchestrator = createClient(OrchestratorService, transport);
  }

  list(pageToken: string): Promise<ConversationPage> {
    return call(startTrace(), async (options) => {
      const page = await this.#conversations.listConversations({ pageToken, pageSize: 30 }, options);
      return { conversations: page.conversations.map(toConversation), nextPageToken: page.nextPageToken };
    });
  }

  create(requestId: string, trace: Trace): Promise<Conversation> {
    return call(trace, async (options) =>
      toConversation(
        required((await this.#conversations.createConversation({ requestId }, options)).conversation),
      ),
    );
  }

  get(conversationId: string): Promise<Conversation> {
    return call(startTrace(), async (options) =>
      toConversation(
        required((await this.#conversations.getConversation({ conversationId }, options)).conversation),
      ),
    );
  }

  close(conversationId: string): Promise<void> {
    return call(startTrace(), async (options) => {
      await this.#conversations.closeConversation({ conversationId }, options);
    });
  }

  /** Sends as the customer; resolves with the identifier of the kept message. */
  send({ requestId, conversationId, text, proposal }: OutgoingMessage, trace: Trace): Promise<string> {
    return call(trace, async (options) => {
      const proposalReply = proposal && { proposalId: proposal.id, accepted: proposal.accepted };
      const request = { requestId, conversationId, text, ...(proposalReply && { proposalReply }) };
      return required((await this.#orchestrator.sendMessage(request, options)).message).id;
    });
  }

  /** Sends as an agent; resolves with the identifier of the kept message. */
  reply({ requestId, conversationId, text }: OutgoingMessage, trace: Trace): Promise<string> {
    return call(trace, async (options) => {
      const request = { requestId, conversationId, text, author: PbAuthor.AGENT };
      return required((await this.#conversations.appendMessage(request, options)).message).id;
    });
  }

  cancelTurn(turnId: string): Promise<void> {
    return call(startTrace(), async (options) => {
      await this.#orchestrator.cancelTurn({ turnId }, options);
    });
  }

  rate(messageId: string, rating: Rating): Promise<void> {
    return call(startTrace(), async (options) => {
      await this.#conversations.rateMessage({ messageId, rating: RATING_OUT[rating] }, options);
    });
  }

  setTyping(conversationId: string, typing: boolean): Promise<void> {
    return call(startTrace(), async (options) => {
      await this.#conversations.setTyping({ conversationId, typing }, options);
    });
  }

  setResponder(conversationId: string, responder: Responder): Promise<void> {
    const value = responder === "human" ? PbResponder.HUMAN : PbResponder.ASSISTANT;
    return call(startTrace(), async (options) => {
      await this.#conversations.setResponder({ conversationId, responder: value }, options);
    });
  }

  async *watch(
    conversationId: string,
    fromOffset: number,
    signal: AbortSignal,
  ): AsyncGenerator<WatchFrame, void> {
    const request = { conversationId, fromOffset: BigInt(fromOffset) };
    const responses = stream(startTrace(), signal, (options) => this.#conversations.watch(request, options));
    for await (const response of responses) yield toFrame(response);
  }
}

function toFrame({ frame }: WatchResponse): WatchFrame {
  switch (frame.case) {
    case "event":
      return { frame: "event", event: toEvent(frame.value) };
    case "caughtUp":
      return { frame: "caught-up" };
    case "typing": {
      const { author, userId, typing } = frame.value;
      return { frame: "typing", author: AUTHORS[author], userId, typing };
    }
    case "ended":
      return { frame: "ended" };
    default:
      return { frame: "heartbeat" };
  }
}

/** Turns an entry of the log into the page's words; kinds that this page does not know stay "unknown". */
export function toEvent(entry: ConversationEvent): ChatEvent {
  const base = { offset: Number(entry.offset), at: date(entry.occurredAt), turnId: entry.turnId };
  const { event } = entry;
  switch (event.case) {
    case "messageAdded":
      return { ...base, kind: "message", message: toMessage(required(event.value.message)) };
    case "turnStarted":
      return { ...base, kind: "turn-started", messageId: event.value.messageId };
    case "answerDelta":
      return { ...base, kind: "delta", text: event.value.text };
    case "citationAdded":
      return {
        ...base,
        kind: "citation",
        number: event.value.number,
        citation: toCitation(required(event.value.citation)),
      };
    case "actionProposed":
      return {
        ...base,
        kind: "proposed",
        proposalId: event.value.proposalId,
        subject: event.value.action.value?.subject ?? "",
      };
    case "proposalResolved":
      return {
        ...base,
        kind: "proposal-resolved",
        proposalId: event.value.proposalId,
        accepted: event.value.accepted,
      };
    case "turnFinished":
      return { ...base, kind: "turn-finished" };
    case "turnFailed": {
      const { reason, retryable, retryAfterSeconds } = event.value;
      return { ...base, kind: "turn-failed", reason, retryable, retryAfterSeconds };
    }
    case "ticketLinked": {
      const { ticketId, ticketNumber, subject } = event.value;
      return { ...base, kind: "ticket", ticketId, number: Number(ticketNumber), subject };
    }
    case "responderChanged":
      return { ...base, kind: "responder", responder: toResponder(event.value.responder) };
    case "messageRated":
      return {
        ...base,
        kind: "rated",
        messageId: event.value.messageId,
        rating: RATINGS[event.value.rating],
      };
    case "conversationClosed":
      return { ...base, kind: "closed", expired: event.value.expired };
    default:
      return { ...base, kind: "unknown" };
  }
}

const AUTHORS: Readonly<Record<PbAuthor, Author>> = {
  [PbAuthor.UNSPECIFIED]: "system",
  [PbAuthor.CUSTOMER]: "customer",
  [PbAuthor.ASSISTANT]: "assistant",
  [PbAuthor.AGENT]: "agent",
  [PbAuthor.SYSTEM]: "system",
};

const RATINGS: Readonly<Record<PbRating, Rating>> = {
  [PbRating.UNSPECIFIED]: "none",
  [PbRating.UP]: "up",
  [PbRating.DOWN]: "down",
};

const RATING_OUT: Readonly<Record<Rating, PbRating>> = {
  none: PbRating.UNSPECIFIED,
  up: PbRating.UP,
  down: PbRating.DOWN,
};

const STANDINGS: Readonly<Record<PbState, ConversationStanding>> = {
  [PbState.UNSPECIFIED]: "open",
  [PbState.OPEN]: "open",
  [PbState.CLOSED]: "closed",
  [PbState.EXPIRED]: "expired",
};

function toResponder(responder: PbResponder): Responder {
  return responder === PbResponder.HUMAN ? "human" : "assistant";
}

function toConversation(conversation: PbConversation): Conversation {
  return {
    id: conversation.id,
    customerId: conversation.customerId,
    title: conversation.title,
    standing: STANDINGS[conversation.state],
    responder: toResponder(conversation.responder),
    lastActivityAt: date(conversation.lastActivityAt ?? conversation.createdAt),
  };
}

function toMessage(message: PbMessage): Message {
  return {
    id: message.id,
    author: AUTHORS[message.author],
    userId: message.userId,
    text: message.text,
    citations: message.citations.map(toCitation),
    turnId: message.turnId,
    rating: RATINGS[message.rating],
    at: date(message.createdAt),
  };
}

function toCitation({ articleId, title, heading, passage, url }: PbCitation): Citation {
  return { articleId, title, heading, passage, url };
}
