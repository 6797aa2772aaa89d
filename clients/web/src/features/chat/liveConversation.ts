import { CallError } from "../../rpc/errors";
import { startTrace, type Trace } from "../../rpc/trace";
import type { ChatApi } from "./api";
import type { Rating, WatchFrame } from "./model";
import { type ChatAction, type ChatState, EMPTY, reduce, TYPING_FADES_MS } from "./reducer";
import { browserWorld, follow } from "./watch";

const TYPING_REPEATS_MS = 3_000;

type Perspective = "customer" | "agent";

/**
 * One conversation as a page sees it: follows the stream while somebody looks, and does what the person does.
 * React reads it with useSyncExternalStore. Without an identifier it is a draft that the first message creates.
 */
export class LiveConversation {
  /** Called once when a draft has become a conversation. */
  onCreated: (conversationId: string) => void = () => {};
  /** Stays the same when a draft becomes a conversation. */
  readonly key = crypto.randomUUID();
  #id: string;
  #state: ChatState = EMPTY;
  readonly #listeners = new Set<() => void>();
  readonly #createRequestId = crypto.randomUUID();
  #watching: AbortController | undefined;
  #viewers = 0;
  #frame = 0;
  #typingSentAt = 0;

  constructor(
    private readonly api: ChatApi,
    private readonly perspective: Perspective,
    id = "",
  ) {
    this.#id = id;
  }

  get id(): string {
    return this.#id;
  }

  snapshot = (): ChatState => this.#state;

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Follows the stream until the returned function has been called as often as this one. */
  view(): () => void {
    this.#viewers += 1;
    this.#follow();
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#viewers -= 1;
      // A page that is drawn anew leaves and comes back at once; that is no reason to cut the stream.
      setTimeout(() => this.#viewers === 0 && this.#stop(), 0);
    };
  }

  /** Sends at once or as a retry of `requestId`; the state tells how it went. */
  async send(
    text: string,
    requestId: string = crypto.randomUUID(),
    proposal?: { id: string; accepted: boolean },
  ): Promise<void> {
    this.#dispatch({ type: "sending", requestId, author: this.perspective, text });
    const trace = startTrace();
    try {
      const conversationId = this.#id || (await this.#create(trace));
      const message = { requestId, conversationId, text, proposal };
      const messageId =
        this.perspective === "agent"
          ? await this.api.reply(message, trace)
          : await this.api.send(message, trace);
      this.#dispatch({ type: "sent", requestId, messageId });
    } catch (cause) {
      const error = CallError.from(cause, trace.id);
      this.#dispatch({ type: "refused", requestId, error, now: Date.now() });
    }
    this.#typingSentAt = 0;
  }

  withdraw(requestId: string): void {
    this.#dispatch({ type: "withdrawn", requestId });
  }

  async stopTurn(): Promise<void> {
    const { turn } = this.#state;
    if (turn) await this.api.cancelTurn(turn.id);
  }

  /** The state says so once the service has it: a page left before then would have thanked for what was lost. */
  async rate(messageId: string, rating: Rating): Promise<void> {
    await this.api.rate(messageId, rating);
    this.#dispatch({ type: "rated", messageId, rating });
  }

  /** Tells the others, at most every few seconds; when it could not be told, the next key tries again. */
  typing(typing: boolean): void {
    if (!this.#id || this.#state.closed) return;
    const now = Date.now();
    if (typing ? now - this.#typingSentAt < TYPING_REPEATS_MS : this.#typingSentAt === 0) return;
    this.#typingSentAt = typing ? now : 0;
    this.api.setTyping(this.#id, typing).catch(() => {
      this.#typingSentAt = 0;
    });
  }

  reconnect(): void {
    this.#stop();
    this.#follow();
  }

  async #create(trace: Trace): Promise<string> {
    const conversation = await this.api.create(this.#createRequestId, trace);
    if (this.#id) return this.#id;
    this.#id = conversation.id;
    this.onCreated(conversation.id);
    this.#follow();
    return this.#id;
  }

  #follow(): void {
    if (!this.#id || this.#viewers === 0 || this.#watching) return;
    const watching = new AbortController();
    this.#watching = watching;
    const follower = {
      lastOffset: () => {
        this.#dispatch({ type: "resumed" });
        return this.#state.lastOffset;
      },
      take: (frame: WatchFrame) => this.#take(frame),
      link: (link: ChatState["link"]) => this.#dispatch({ type: "link", link }),
      reset: () => this.#dispatch({ type: "reset" }),
    };
    void follow(this.api, this.#id, follower, watching.signal, browserWorld);
  }

  #stop(): void {
    this.#watching?.abort();
    this.#watching = undefined;
  }

  #take(frame: WatchFrame): boolean {
    if (frame.frame === "event") this.#dispatch({ type: "event", event: frame.event });
    if (frame.frame === "caught-up") this.#dispatch({ type: "caught-up" });
    if (frame.frame === "typing" && frame.author !== this.perspective) {
      const now = Date.now();
      this.#dispatch({ type: "typing", author: frame.author, typing: frame.typing, now });
      setTimeout(() => this.#dispatch({ type: "typing-fades", now: Date.now() }), TYPING_FADES_MS + 50);
    }
    return !this.#state.gap;
  }

  #dispatch(action: ChatAction): void {
    const next = reduce(this.#state, action);
    if (next === this.#state) return;
    this.#state = next;
    // Thousands of kept events arrive in one go: one drawing a frame is enough. A hidden page draws no frames.
    if (action.type !== "event" || document.hidden) this.#tell();
    else this.#frame ||= requestAnimationFrame(() => this.#tell());
  }

  #tell(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    for (const listener of this.#listeners) listener();
  }
}
