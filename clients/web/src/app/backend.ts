import { ChatApi } from "../features/chat/api";
import { LiveConversation } from "../features/chat/liveConversation";
import { HelpApi } from "../features/help/api";
import { PeopleApi } from "../features/people/api";
import { SessionApi } from "../features/session/api";
import { SessionStore } from "../features/session/store";
import { TicketsApi } from "../features/tickets/api";
import { TokenKeeper } from "../rpc/tokens";
import { authorized, type TransportFactory, traced } from "../rpc/transport";

/** Everything behind the page, wired once. */
export interface Backend {
  readonly session: SessionStore;
  readonly chat: ChatApi;
  readonly tickets: TicketsApi;
  readonly help: HelpApi;
  readonly people: PeopleApi;
  /** The customer's conversations that were opened; each is kept, so that coming back shows it at once. */
  readonly conversations: ConversationShelf;
}

export class ConversationShelf {
  readonly #open = new Map<string, LiveConversation>();
  readonly #drafts = new Map<string, LiveConversation>();

  constructor(private readonly chat: ChatApi) {}

  /** A conversation as the customer sees it. */
  open(id: string): LiveConversation {
    const kept = this.#open.get(id) ?? new LiveConversation(this.chat, "customer", id);
    this.#open.set(id, kept);
    return kept;
  }

  /** A conversation that its first message will create; one for each visit to the empty page. */
  draft(visit: string): LiveConversation {
    const kept = this.#drafts.get(visit) ?? new LiveConversation(this.chat, "customer");
    this.#drafts.set(visit, kept);
    return kept;
  }

  /** A draft has become a conversation: its address shows the same one. */
  keep(conversation: LiveConversation): void {
    this.#open.set(conversation.id, conversation);
  }

  clear(): void {
    this.#open.clear();
    this.#drafts.clear();
  }
}

export function createBackend(transport: TransportFactory): Backend {
  const open = transport([traced]);
  const tokens: TokenKeeper = new TokenKeeper({
    redeem: (refreshToken) => sessionApi.redeem(refreshToken),
    storage: window.localStorage,
    locks: navigator.locks,
    now: Date.now,
  });
  const signedIn = transport([traced, authorized(tokens)]);
  const sessionApi = new SessionApi(open, signedIn);
  const chat = new ChatApi(signedIn);
  return {
    session: new SessionStore(sessionApi, tokens),
    chat,
    tickets: new TicketsApi(signedIn),
    help: new HelpApi(signedIn),
    people: new PeopleApi(signedIn),
    conversations: new ConversationShelf(chat),
  };
}
