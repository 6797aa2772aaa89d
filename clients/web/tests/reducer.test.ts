import { describe, expect, it } from "vitest";
import type { ChatEvent, Citation, Message } from "../src/features/chat/model";
import { type ChatAction, type ChatState, EMPTY, reduce } from "../src/features/chat/reducer";
import { CallError } from "../src/rpc/errors";

const AT = new Date("2026-03-01T12:00:00Z");
const CITATION: Citation = {
  articleId: "art_1",
  title: "Returns",
  heading: "When",
  passage: "45 days.",
  url: "/help/returns#when",
};

type Body = ChatEvent extends infer E
  ? E extends ChatEvent
    ? Omit<E, "offset" | "at" | "turnId">
    : never
  : never;

function event(offset: number, body: Body, turnId = ""): ChatEvent {
  return { ...body, offset, at: AT, turnId } as ChatEvent;
}

function message(id: string, author: Message["author"], text: string, turnId = ""): Message {
  return { id, author, text, userId: "", citations: [], turnId, rating: "none", at: AT };
}

function play(actions: readonly ChatAction[], from: ChatState = EMPTY): ChatState {
  return actions.reduce(reduce, from);
}

function events(...list: ChatEvent[]): ChatAction[] {
  return list.map((one) => ({ type: "event", event: one }));
}

const ANSWERED = [
  event(1, { kind: "message", message: message("m1", "customer", "How long?", "t1") }, "t1"),
  event(2, { kind: "turn-started", messageId: "m1" }, "t1"),
  event(3, { kind: "citation", number: 1, citation: CITATION }, "t1"),
  event(4, { kind: "delta", text: "45 " }, "t1"),
  event(5, { kind: "delta", text: "days." }, "t1"),
  event(6, { kind: "message", message: message("m2", "assistant", "45 days.", "t1") }, "t1"),
  event(7, { kind: "turn-finished" }, "t1"),
];

describe("a turn", () => {
  it("streams its text and sources, then becomes one message under the same key", () => {
    const writing = play(events(...ANSWERED.slice(0, 5)));
    expect(writing.turn).toMatchObject({ text: "45 days.", citations: [CITATION], settled: false });

    const settled = play(events(...ANSWERED.slice(5, 6)), writing);
    expect(settled.turn).toMatchObject({ text: "", settled: true });
    expect(settled.items.map((item) => item.key)).toEqual(["m1", "answer-t1"]);

    const done = play(events(...ANSWERED.slice(6)), settled);
    expect(done.turn).toBeUndefined();
    expect(done.lastOffset).toBe(7);
  });

  it("is void when it fails, and knows what had been asked", () => {
    const failed = play(
      events(
        ...ANSWERED.slice(0, 5),
        event(
          6,
          { kind: "turn-failed", reason: "MODEL_OVERLOADED", retryable: true, retryAfterSeconds: 4 },
          "t1",
        ),
      ),
    );
    expect(failed.turn).toBeUndefined();
    expect(failed.items.at(-1)).toMatchObject({
      kind: "failure",
      reason: "MODEL_OVERLOADED",
      question: "How long?",
      retryAt: AT.getTime() + 4000,
    });
    expect(JSON.stringify(failed.items)).not.toContain("45");
  });

  it("starts from nothing when another worker takes it up", () => {
    const again = play(
      events(
        ...ANSWERED.slice(0, 4),
        event(5, { kind: "turn-started", messageId: "m1" }, "t1"),
        event(6, { kind: "delta", text: "Within" }, "t1"),
      ),
    );
    expect(again.turn).toMatchObject({ text: "Within", citations: [] });
  });
});

describe("the log", () => {
  it("takes every event once, however often and in whatever pieces it is delivered", () => {
    const whole = play(events(...ANSWERED));
    for (let cut = 0; cut <= ANSWERED.length; cut++) {
      for (let back = 0; back <= cut; back++) {
        const resumed = play([
          ...events(...ANSWERED.slice(0, cut)),
          ...events(...ANSWERED.slice(cut - back)),
        ]);
        expect(resumed).toEqual(whole);
      }
    }
  });

  it("notices a missing event and takes nothing in until it was resumed", () => {
    const [first, , third] = ANSWERED;
    if (!first || !third) throw new Error("the list is too short");
    const gap = play(events(first, third));
    expect(gap).toMatchObject({ gap: true, lastOffset: 1 });
    const mended = play([{ type: "resumed" }, ...events(...ANSWERED.slice(1))], gap);
    expect(mended).toEqual(play(events(...ANSWERED)));
  });

  it("counts kinds it does not know", () => {
    expect(play(events(event(1, { kind: "unknown" })))).toMatchObject({ lastOffset: 1, items: [] });
  });

  it("keeps what is on its way when everything is told again", () => {
    const state = play([
      ...events(...ANSWERED),
      { type: "sending", requestId: "r1", author: "customer", text: "And?" },
      { type: "reset" },
    ]);
    expect(state).toMatchObject({ lastOffset: 0, items: [], outgoing: [{ requestId: "r1" }] });
  });
});

describe("a message of one's own", () => {
  const sending: ChatAction = { type: "sending", requestId: "r1", author: "customer", text: "How long?" };
  const sent: ChatAction = { type: "sent", requestId: "r1", messageId: "m1" };
  const [added] = events(...ANSWERED);
  if (!added) throw new Error("the list is too short");

  it("is shown once, whether the event or the response comes first", () => {
    for (const order of [
      [sending, added, sent],
      [sending, sent, added],
    ]) {
      const state = play(order);
      expect(state.outgoing).toEqual([]);
      expect(state.items).toHaveLength(1);
    }
  });

  it("stays on its way until the log shows it", () => {
    expect(play([sending, sent]).outgoing).toMatchObject([{ state: "sent", messageId: "m1" }]);
  });

  it("keeps its reason and time when it is refused, and can be sent again or withdrawn", () => {
    const error = new CallError("busy", {
      kind: "exhausted",
      reason: "MODEL_OVERLOADED",
      retryAfterSeconds: 8,
    });
    const refused = play([sending, { type: "refused", requestId: "r1", error, now: 1000 }]);
    expect(refused.outgoing).toMatchObject([{ state: "failed", error, retryAt: 9000 }]);
    expect(play([sending], refused).outgoing).toMatchObject([{ state: "sending", requestId: "r1" }]);
    expect(play([{ type: "withdrawn", requestId: "r1" }], refused).outgoing).toEqual([]);
  });

  it("is shown once to an agent, too, and never taken for the customer's", () => {
    const reply: ChatAction = { type: "sending", requestId: "r1", author: "agent", text: "How long?" };
    expect(play([reply, added]).outgoing).toHaveLength(1);
    const shown = events(event(1, { kind: "message", message: message("m9", "agent", "How long?") }));
    for (const order of [
      [reply, ...shown, { type: "sent", requestId: "r1", messageId: "m9" } as const],
      [reply, { type: "sent", requestId: "r1", messageId: "m9" } as const, ...shown],
    ]) {
      expect(play(order)).toMatchObject({ outgoing: [], items: [{ key: "m9" }] });
    }
  });

  it("tells apart two of the same words", () => {
    const twice = play([
      sending,
      { type: "sending", requestId: "r2", author: "customer", text: "How long?" },
      added,
    ]);
    expect(twice.outgoing).toMatchObject([{ requestId: "r2" }]);
  });
});

describe("what else happens", () => {
  it("proposals are settled, tickets linked, the responder changed, the conversation closed", () => {
    const state = play(
      events(
        event(1, { kind: "proposed", proposalId: "p1", subject: "Lost parcel" }, "t1"),
        event(2, { kind: "proposal-resolved", proposalId: "p1", accepted: true }, "t2"),
        event(3, { kind: "ticket", ticketId: "k1", number: 7, subject: "Lost parcel" }),
        event(4, { kind: "responder", responder: "human" }),
        event(5, { kind: "closed", expired: true }),
      ),
    );
    expect(state.items.map((item) => item.kind)).toEqual(["proposal", "ticket", "responder", "closed"]);
    expect(state.items[0]).toMatchObject({ standing: "accepted" });
    expect(state).toMatchObject({ responder: "human", closed: "expired" });
  });

  it("ratings replace each other", () => {
    const rated = play([
      ...events(...ANSWERED, event(8, { kind: "rated", messageId: "m2", rating: "up" })),
      { type: "rated", messageId: "m2", rating: "down" },
    ]);
    expect(rated.items[1]).toMatchObject({ message: { rating: "down" } });
  });

  it("typing fades, and ends with the message", () => {
    const typing = play([{ type: "typing", author: "agent", typing: true, now: 0 }]);
    expect(reduce(typing, { type: "typing-fades", now: 5_999 }).typing).toBeDefined();
    expect(reduce(typing, { type: "typing-fades", now: 6_000 }).typing).toBeUndefined();
    const written = play(
      events(event(1, { kind: "message", message: message("m1", "agent", "Hi") })),
      typing,
    );
    expect(written.typing).toBeUndefined();
  });
});
