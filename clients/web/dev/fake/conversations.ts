import { create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import {
  type ProposalReply,
  SendMessageResponseSchema,
} from "../../src/gen/deskmesh/orchestrator/v1/orchestrator_service_pb";
import { TurnSchema } from "../../src/gen/deskmesh/orchestrator/v1/turn_pb";
import {
  type Conversation,
  ConversationSchema,
  ConversationState,
  Responder,
} from "../../src/gen/deskmesh/sessions/v1/conversation_pb";
import {
  Author,
  type Message,
  MessageSchema,
  type Rating,
} from "../../src/gen/deskmesh/sessions/v1/message_pb";
import { answerTo, type FakeAnswer, type FakeCitation } from "./answers";
import { ARTICLES } from "./articles";
import { FakeLog } from "./log";
import { failure } from "./parts";

interface FakeConversation {
  readonly record: Conversation;
  readonly log: FakeLog;
}

/** Conversations and the turns on them. "person", "ticket", "fail" in a question lead to those states. */
export class FakeConversations {
  /** Milliseconds between pieces of an answer; 0 writes it in one go. */
  pace = 45;
  readonly #all = new Map<string, FakeConversation>();
  readonly #running = new Set<string>();
  #count = 0;

  create(customerId: string): FakeConversation {
    const id = `cnv_${++this.#count}`;
    const record = create(ConversationSchema, {
      id,
      customerId,
      state: ConversationState.OPEN,
      responder: Responder.ASSISTANT,
      createdAt: timestampNow(),
      lastActivityAt: timestampNow(),
    });
    const made = { record, log: new FakeLog() };
    this.#all.set(id, made);
    return made;
  }

  get(id: string): FakeConversation {
    const found = this.#all.get(id);
    if (!found) throw failure(Code.NotFound, "CONVERSATION_NOT_FOUND", "no such conversation");
    return found;
  }

  list(): Conversation[] {
    return [...this.#all.values()].map(({ record }) => record).reverse();
  }

  close(id: string, expired: boolean): Conversation {
    const { record, log } = this.get(id);
    record.state = expired ? ConversationState.EXPIRED : ConversationState.CLOSED;
    log.append({
      case: "conversationClosed",
      value: { $typeName: "deskmesh.sessions.v1.ConversationClosed", expired },
    });
    log.ended = true;
    return record;
  }

  message(
    id: string,
    author: Author,
    text: string,
    userId = "",
    turnId = "",
    citations: readonly FakeCitation[] = [],
  ): Message {
    const { record, log } = this.get(id);
    const message = create(MessageSchema, {
      id: `msg_${++this.#count}`,
      conversationId: id,
      author,
      text,
      userId,
      turnId,
      citations: citations.map(toCitation),
      createdAt: timestampNow(),
    });
    record.title ||= text.slice(0, 80);
    record.lastActivityAt = timestampNow();
    log.append(
      { case: "messageAdded", value: { $typeName: "deskmesh.sessions.v1.MessageAdded", message } },
      turnId,
    );
    return message;
  }

  rate(messageId: string, rating: Rating): Message {
    for (const { log } of this.#all.values()) {
      for (const { event } of log.events) {
        if (event.case !== "messageAdded" || event.value.message?.id !== messageId) continue;
        log.append({
          case: "messageRated",
          value: { $typeName: "deskmesh.sessions.v1.MessageRated", messageId, rating },
        });
        return event.value.message;
      }
    }
    throw failure(Code.NotFound, "MESSAGE_NOT_FOUND", "no such message");
  }

  setResponder(id: string, responder: Responder): Conversation {
    const { record, log } = this.get(id);
    record.responder = responder;
    log.append({
      case: "responderChanged",
      value: { $typeName: "deskmesh.sessions.v1.ResponderChanged", responder },
    });
    return record;
  }

  ask(id: string, text: string, userId: string, reply: ProposalReply | undefined) {
    const { record } = this.get(id);
    const turnId = `trn_${++this.#count}`;
    const message = this.message(id, Author.CUSTOMER, text, userId, turnId);
    if (record.responder === Responder.HUMAN) return create(SendMessageResponseSchema, { message });
    this.#running.add(turnId);
    void this.#turn(id, turnId, message, reply);
    return create(SendMessageResponseSchema, { message, turn: { id: turnId } });
  }

  cancel(turnId: string) {
    this.#running.delete(turnId);
    return create(TurnSchema, { id: turnId });
  }

  async #turn(
    id: string,
    turnId: string,
    question: Message,
    reply: ProposalReply | undefined,
  ): Promise<void> {
    const { log } = this.get(id);
    const messageId = question.id;
    log.append(
      { case: "turnStarted", value: { $typeName: "deskmesh.sessions.v1.TurnStarted", messageId } },
      turnId,
    );
    await this.#pause(12);
    if (reply) return this.#settle(id, turnId, reply);
    if (/fail/i.test(question.text)) return this.#fail(log, turnId, "MODEL_OVERLOADED", 5);
    if (/person/i.test(question.text)) {
      await this.#write(id, turnId, {
        text: "Of course. I've asked the team to take over; somebody will answer here.",
        citations: [],
      });
      this.setResponder(id, Responder.HUMAN);
    } else if (/ticket/i.test(question.text)) {
      await this.#write(id, turnId, {
        text: "I can open a ticket for that, so that the team looks into it. Shall I?",
        citations: [],
      });
      log.append(
        {
          case: "actionProposed",
          value: {
            $typeName: "deskmesh.sessions.v1.ActionProposed",
            proposalId: `prp_${turnId}`,
            action: {
              case: "ticket",
              value: {
                $typeName: "deskmesh.sessions.v1.ProposedTicket",
                subject: "Parcel marked delivered, but not here",
              },
            },
          },
        },
        turnId,
      );
    } else {
      await this.#write(id, turnId, answerTo(question.text));
    }
    this.#finish(log, turnId);
  }

  async #settle(id: string, turnId: string, { proposalId, accepted }: ProposalReply): Promise<void> {
    const { log } = this.get(id);
    log.append(
      {
        case: "proposalResolved",
        value: { $typeName: "deskmesh.sessions.v1.ProposalResolved", proposalId, accepted },
      },
      turnId,
    );
    if (accepted) {
      log.append(
        {
          case: "ticketLinked",
          value: {
            $typeName: "deskmesh.sessions.v1.TicketLinked",
            ticketId: "tkt_1",
            ticketNumber: 1042n,
            subject: "Parcel marked delivered, but not here",
          },
        },
        turnId,
      );
    }
    const text = accepted ? "Done. We'll answer within one working day." : "All right, I won't.";
    await this.#write(id, turnId, { text, citations: [] });
    this.#finish(log, turnId);
  }

  async #write(id: string, turnId: string, answer: FakeAnswer): Promise<void> {
    const { log } = this.get(id);
    for (const [index, citation] of answer.citations.entries()) {
      log.append(
        {
          case: "citationAdded",
          value: {
            $typeName: "deskmesh.sessions.v1.CitationAdded",
            number: index + 1,
            citation: toCitation(citation),
          },
        },
        turnId,
      );
    }
    for (const text of answer.text.match(/\S+\s*|\s+/g) ?? []) {
      if (!this.#running.has(turnId)) return this.#fail(log, turnId, "TURN_CANCELLED", 0);
      log.append(
        { case: "answerDelta", value: { $typeName: "deskmesh.sessions.v1.AnswerDelta", text } },
        turnId,
      );
      await this.#pause(1);
    }
    this.message(id, Author.ASSISTANT, answer.text, "", turnId, answer.citations);
  }

  #finish(log: FakeLog, turnId: string): void {
    if (!this.#running.delete(turnId)) return;
    const value = {
      $typeName: "deskmesh.sessions.v1.TurnFinished",
      messageId: "",
      decision: "answer",
    } as const;
    log.append({ case: "turnFinished", value }, turnId);
  }

  #fail(log: FakeLog, turnId: string, reason: string, retryAfterSeconds: number): void {
    this.#running.delete(turnId);
    const retryable = reason !== "TURN_CANCELLED";
    const value = {
      $typeName: "deskmesh.sessions.v1.TurnFailed",
      reason,
      retryable,
      retryAfterSeconds,
    } as const;
    log.append({ case: "turnFailed", value }, turnId);
  }

  #pause(steps: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, this.pace * steps));
  }
}

function toCitation({ slug, heading }: FakeCitation) {
  const found = ARTICLES.find(({ article }) => article.slug === slug);
  const passage = found?.passages.find((one) => one.heading === heading);
  return {
    $typeName: "deskmesh.sessions.v1.Citation" as const,
    articleId: found?.article.id ?? "",
    title: found?.article.published?.title ?? "",
    passage: passage?.text ?? "",
    url: passage?.url ?? `/help/${slug}`,
    passageId: passage?.id ?? "",
    articleVersion: 1,
    heading,
  };
}
