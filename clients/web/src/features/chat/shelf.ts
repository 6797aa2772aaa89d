import type { Transport } from "@connectrpc/connect";
import { ChatApi } from "./api";
import { LiveConversation } from "./liveConversation";

/** The customer's conversations that were opened; each is kept, so that coming back shows it at once. */
export class ConversationShelf {
  readonly #chat: ChatApi;
  readonly #open = new Map<string, LiveConversation>();
  readonly #drafts = new Map<string, LiveConversation>();

  constructor(transport: Transport) {
    this.#chat = new ChatApi(transport);
  }

  open(id: string): LiveConversation {
    const kept = this.#open.get(id) ?? new LiveConversation(this.#chat, "customer", id);
    this.#open.set(id, kept);
    return kept;
  }

  /** A conversation that its first message will create; one for each visit to the empty page. */
  draft(visit: string): LiveConversation {
    const kept = this.#drafts.get(visit) ?? new LiveConversation(this.#chat, "customer");
    this.#drafts.set(visit, kept);
    return kept;
  }

  /** A draft has become a conversation: its address shows the same one. */
  keep(conversation: LiveConversation): void {
    this.#open.set(conversation.id, conversation);
  }
}
