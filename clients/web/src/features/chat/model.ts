/** What the chat is made of, in the page's own words; `api.ts` makes it from the stubs. */

export type Author = "customer" | "assistant" | "agent" | "system";
export type Rating = "none" | "up" | "down";
export type Responder = "assistant" | "human";

/** A passage that an answer rests on. */
export interface Citation {
  readonly articleId: string;
  readonly title: string;
  readonly heading: string;
  readonly passage: string;
  /** Relative to the page, as "/help/returns-policy#condition". */
  readonly url: string;
}

export interface Message {
  readonly id: string;
  readonly author: Author;
  readonly userId: string;
  readonly text: string;
  readonly citations: readonly Citation[];
  /** Empty for messages of people, except the one that began a turn. */
  readonly turnId: string;
  readonly rating: Rating;
  readonly at: Date;
}

export type ConversationStanding = "open" | "closed" | "expired";

export interface Conversation {
  readonly id: string;
  readonly customerId: string;
  readonly title: string;
  readonly standing: ConversationStanding;
  readonly responder: Responder;
  readonly lastActivityAt: Date;
}

type Happening =
  | { readonly kind: "message"; readonly message: Message }
  | { readonly kind: "turn-started"; readonly messageId: string }
  | { readonly kind: "delta"; readonly text: string }
  | { readonly kind: "citation"; readonly number: number; readonly citation: Citation }
  | { readonly kind: "proposed"; readonly proposalId: string; readonly subject: string }
  | { readonly kind: "proposal-resolved"; readonly proposalId: string; readonly accepted: boolean }
  | { readonly kind: "turn-finished" }
  | {
      readonly kind: "turn-failed";
      readonly reason: string;
      readonly retryable: boolean;
      readonly retryAfterSeconds: number;
    }
  | { readonly kind: "ticket"; readonly ticketId: string; readonly number: number; readonly subject: string }
  | { readonly kind: "responder"; readonly responder: Responder }
  | { readonly kind: "rated"; readonly messageId: string; readonly rating: Rating }
  | { readonly kind: "closed"; readonly expired: boolean }
  /** A kind this page does not know yet; its offset counts all the same. */
  | { readonly kind: "unknown" };

/** One entry of the conversation's log; offsets run from 1 without gaps. */
export type ChatEvent = Happening & { readonly offset: number; readonly at: Date; readonly turnId: string };

export type WatchFrame =
  | { readonly frame: "event"; readonly event: ChatEvent }
  | { readonly frame: "caught-up" }
  | { readonly frame: "typing"; readonly author: Author; readonly userId: string; readonly typing: boolean }
  | { readonly frame: "heartbeat" }
  | { readonly frame: "ended" };
