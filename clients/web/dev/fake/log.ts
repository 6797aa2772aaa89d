import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import {
  type WatchResponse,
  WatchResponseSchema,
} from "../../src/gen/deskmesh/sessions/v1/conversation_service_pb";
import { type ConversationEvent, ConversationEventSchema } from "../../src/gen/deskmesh/sessions/v1/event_pb";

import { failure } from "./parts";

type EventInit = NonNullable<MessageInitShape<typeof ConversationEventSchema>["event"]>;

/** The events of one conversation, and the streams that read them. */
export class FakeLog {
  readonly events: ConversationEvent[] = [];
  ended = false;
  readonly #readers = new Set<(frame: WatchResponse | undefined) => void>();

  append(event: EventInit, turnId = ""): ConversationEvent {
    const offset = BigInt(this.events.length + 1);
    const entry = create(ConversationEventSchema, { offset, occurredAt: timestampNow(), turnId, event });
    this.events.push(entry);
    this.tell(create(WatchResponseSchema, { frame: { case: "event", value: entry } }));
    return entry;
  }

  tell(frame: WatchResponse): void {
    for (const reader of this.#readers) reader(frame);
  }

  /** Breaks every stream, as a process that dies does. */
  cut(): void {
    for (const reader of this.#readers) reader(undefined);
  }

  async *watch(fromOffset: bigint, signal: AbortSignal): AsyncGenerator<WatchResponse> {
    const queue: (WatchResponse | undefined)[] = this.events
      .slice(Number(fromOffset))
      .map((value) => create(WatchResponseSchema, { frame: { case: "event", value } }));
    queue.push(create(WatchResponseSchema, { frame: { case: "caughtUp", value: {} } }));
    let wake = () => {};
    const reader = (frame: WatchResponse | undefined) => {
      queue.push(frame);
      wake();
    };
    this.#readers.add(reader);
    signal.addEventListener("abort", () => wake(), { once: true });
    try {
      while (!signal.aborted) {
        if (queue.length > 0) {
          const frame = queue.shift();
          if (!frame) throw failure(Code.Unavailable, "DEPENDENCY_UNAVAILABLE", "cut");
          yield frame;
        } else if (this.ended)
          return yield create(WatchResponseSchema, { frame: { case: "ended", value: {} } });
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      this.#readers.delete(reader);
    }
  }
}
