import type { CallError } from "../../rpc/errors";
import type { Author, ChatEvent, Citation, Message, Rating, Responder } from "./model";

/** How the live stream stands. */
export type Link =
  | { readonly state: "idle" | "connecting" | "live" | "reconnecting" | "offline" | "ended" }
  | { readonly state: "failed"; readonly error: CallError };

/** A line of the conversation, in the order of the log. */
export type Item =
  | { readonly kind: "message"; readonly key: string; readonly message: Message }
  | {
      readonly kind: "failure";
      readonly key: string;
      readonly reason: string;
      readonly retryable: boolean;
      readonly retryAt: number;
      /** What the customer had asked, to ask it again. */
      readonly question: string;
    }
  | {
      readonly kind: "proposal";
      readonly key: string;
      readonly proposalId: string;
      readonly subject: string;
      readonly standing: "open" | "accepted" | "declined";
    }
  | {
      readonly kind: "ticket";
      readonly key: string;
      readonly ticketId: string;
      readonly number: number;
      readonly subject: string;
    }
  | { readonly kind: "responder"; readonly key: string; readonly responder: Responder }
  | { readonly kind: "closed"; readonly key: string; readonly expired: boolean };

/** The answer being written. */
export interface LiveTurn {
  readonly id: string;
  readonly messageId: string;
  readonly text: string;
  readonly citations: readonly Citation[];
  /** True once the whole message stands among the items; only the end of the turn is still to come. */
  readonly settled: boolean;
}

/** A message of this person that the log does not show yet. */
export interface Outgoing {
  readonly requestId: string;
  readonly author: Author;
  readonly text: string;
  readonly state: "sending" | "sent" | "failed";
  /** Known once the service has acknowledged it. */
  readonly messageId: string;
  readonly error?: CallError;
  readonly retryAt: number;
}

export interface ChatState {
  readonly lastOffset: number;
  readonly items: readonly Item[];
  readonly turn: LiveTurn | undefined;
  readonly outgoing: readonly Outgoing[];
  readonly responder: Responder;
  readonly closed: "closed" | "expired" | undefined;
  readonly typing: { readonly author: Author; readonly until: number } | undefined;
  readonly caughtUp: boolean;
  readonly link: Link;
  /** An event was missing: what follows is ignored until the stream has been resumed from lastOffset. */
  readonly gap: boolean;
}

export type ChatAction =
  | { readonly type: "event"; readonly event: ChatEvent }
  | { readonly type: "caught-up" }
  | { readonly type: "typing"; readonly author: Author; readonly typing: boolean; readonly now: number }
  | { readonly type: "typing-fades"; readonly now: number }
  | { readonly type: "link"; readonly link: Link }
  | { readonly type: "resumed" }
  | { readonly type: "reset" }
  | { readonly type: "sending"; readonly requestId: string; readonly author: Author; readonly text: string }
  | { readonly type: "sent"; readonly requestId: string; readonly messageId: string }
  | { readonly type: "refused"; readonly requestId: string; readonly error: CallError; readonly now: number }
  | { readonly type: "withdrawn"; readonly requestId: string }
  | { readonly type: "rated"; readonly messageId: string; readonly rating: Rating };

export const TYPING_FADES_MS = 6_000;

export const EMPTY: ChatState = {
  lastOffset: 0,
  items: [],
  turn: undefined,
  outgoing: [],
  responder: "assistant",
  closed: undefined,
  typing: undefined,
  caughtUp: false,
  link: { state: "idle" },
  gap: false,
};

/** Pure: the same actions give the same state, however often an event is delivered. */
export function reduce(state: ChatState, action: ChatAction): ChatState {
  switch (action.type) {
    case "event":
      return receive(state, action.event);
    case "caught-up":
      return { ...state, caughtUp: true };
    case "typing":
      return {
        ...state,
        typing: action.typing ? { author: action.author, until: action.now + TYPING_FADES_MS } : undefined,
      };
    case "typing-fades":
      return state.typing && state.typing.until <= action.now ? { ...state, typing: undefined } : state;
    case "link":
      return { ...state, link: action.link };
    case "resumed":
      return { ...state, gap: false };
    case "reset":
      return { ...EMPTY, outgoing: state.outgoing, link: state.link };
    case "sending":
      return {
        ...state,
        outgoing: [...without(state, action.requestId), fresh(action)],
      };
    case "sent":
      return holds(state, action.messageId)
        ? { ...state, outgoing: without(state, action.requestId) }
        : amend(state, action.requestId, { state: "sent", messageId: action.messageId });
    case "refused":
      return amend(state, action.requestId, {
        state: "failed",
        error: action.error,
        retryAt: action.now + action.error.retryAfterSeconds * 1000,
      });
    case "withdrawn":
      return { ...state, outgoing: without(state, action.requestId) };
    case "rated":
      return rate(state, action.messageId, action.rating);
  }
}

function receive(state: ChatState, event: ChatEvent): ChatState {
  if (event.offset <= state.lastOffset) return state;
  if (event.offset !== state.lastOffset + 1) return { ...state, gap: true };
  return apply({ ...state, lastOffset: event.offset }, event);
}

function apply(state: ChatState, event: ChatEvent): ChatState {
  const key = `event-${event.offset}`;
  switch (event.kind) {
    case "message":
      return addMessage(state, event.message);
    case "turn-started":
      // A turn that another worker took up starts again; what the first one wrote is void.
      return {
        ...state,
        turn: { id: event.turnId, messageId: event.messageId, text: "", citations: [], settled: false },
      };
    case "delta": {
      const turn = liveTurn(state, event.turnId);
      return { ...state, turn: { ...turn, text: turn.text + event.text } };
    }
    case "citation": {
      const turn = liveTurn(state, event.turnId);
      const citations = [...turn.citations];
      citations[event.number - 1] = event.citation;
      return { ...state, turn: { ...turn, citations } };
    }
    case "proposed": {
      const { proposalId, subject } = event;
      return append(state, { kind: "proposal", key, proposalId, subject, standing: "open" });
    }
    case "proposal-resolved":
      return resolve(state, event.proposalId, event.accepted ? "accepted" : "declined");
    case "turn-finished":
      return endTurn(state, event.turnId);
    case "turn-failed": {
      const question = questionOf(state, event.turnId);
      const { reason, retryable } = event;
      const retryAt = event.at.getTime() + event.retryAfterSeconds * 1000;
      return append(endTurn(state, event.turnId), {
        kind: "failure",
        key,
        reason,
        retryable,
        retryAt,
        question,
      });
    }
    case "ticket": {
      const { ticketId, number, subject } = event;
      return append(state, { kind: "ticket", key, ticketId, number, subject });
    }
    case "responder":
      return append(
        { ...state, responder: event.responder },
        { kind: "responder", key, responder: event.responder },
      );
    case "rated":
      return rate(state, event.messageId, event.rating);
    case "closed":
      return append(
        { ...state, closed: event.expired ? "expired" : "closed", turn: undefined },
        { kind: "closed", key, expired: event.expired },
      );
    case "unknown":
      return state;
  }
}

function addMessage(state: ChatState, message: Message): ChatState {
  const key = messageKey(message);
  const added = append(state, { kind: "message", key, message });
  const typing = state.typing?.author === message.author ? undefined : state.typing;
  const answers =
    message.author === "assistant" && state.turn !== undefined && state.turn.id === message.turnId;
  return {
    ...added,
    typing,
    outgoing: delivered(state.outgoing, message),
    turn: answers ? { ...liveTurn(state, message.turnId), text: "", settled: true } : state.turn,
  };
}

/** The streamed answer and the message it becomes share a key, so that nothing jumps when one replaces the other. */
export function answerKey(turnId: string): string {
  return `answer-${turnId}`;
}

function messageKey(message: Message): string {
  return message.author === "assistant" && message.turnId ? answerKey(message.turnId) : message.id;
}

/** The event may outrun the response to SendMessage, which alone knows the identifier; then the text decides. */
function delivered(outgoing: readonly Outgoing[], message: Message): readonly Outgoing[] {
  const known = outgoing.findIndex((one) => one.messageId === message.id);
  const index =
    known >= 0
      ? known
      : outgoing.findIndex(
          (one) => !one.messageId && one.author === message.author && one.text === message.text,
        );
  return index < 0 ? outgoing : outgoing.toSpliced(index, 1);
}

function liveTurn(state: ChatState, turnId: string): LiveTurn {
  if (state.turn?.id === turnId) return state.turn;
  return { id: turnId, messageId: "", text: "", citations: [], settled: false };
}

function endTurn(state: ChatState, turnId: string): ChatState {
  return state.turn?.id === turnId ? { ...state, turn: undefined } : state;
}

function questionOf(state: ChatState, turnId: string): string {
  const asked = state.turn?.id === turnId ? state.turn.messageId : "";
  const match = state.items.findLast(
    (item) =>
      item.kind === "message" &&
      item.message.author === "customer" &&
      (item.message.id === asked || item.message.turnId === turnId),
  );
  return match?.kind === "message" ? match.message.text : "";
}

function append(state: ChatState, item: Item): ChatState {
  return { ...state, items: [...state.items, item] };
}

function resolve(state: ChatState, proposalId: string, standing: "accepted" | "declined"): ChatState {
  const items = state.items.map((item) =>
    item.kind === "proposal" && item.proposalId === proposalId ? { ...item, standing } : item,
  );
  return { ...state, items };
}

function rate(state: ChatState, messageId: string, rating: Rating): ChatState {
  const items = state.items.map((item) =>
    item.kind === "message" && item.message.id === messageId
      ? { ...item, message: { ...item.message, rating } }
      : item,
  );
  return { ...state, items };
}

function holds(state: ChatState, messageId: string): boolean {
  return state.items.some((item) => item.kind === "message" && item.message.id === messageId);
}

function fresh({ requestId, author, text }: Omit<Outgoing, "state" | "messageId" | "retryAt">): Outgoing {
  return { requestId, author, text, state: "sending", messageId: "", retryAt: 0 };
}

function without(state: ChatState, requestId: string): readonly Outgoing[] {
  return state.outgoing.filter((one) => one.requestId !== requestId);
}

function amend(state: ChatState, requestId: string, change: Partial<Outgoing>): ChatState {
  const outgoing = state.outgoing.map((one) => (one.requestId === requestId ? { ...one, ...change } : one));
  return { ...state, outgoing };
}
