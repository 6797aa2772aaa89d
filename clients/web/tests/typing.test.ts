import { beforeEach, describe, expect, it, vi } from "vitest";
import type { ChatApi } from "../src/features/chat/api";
import { LiveConversation } from "../src/features/chat/liveConversation";

describe("that a person is typing", () => {
  beforeEach(() => void vi.useFakeTimers({ now: 1_000_000 }));

  /** A conversation whose service refuses as often as said; `told` gathers what it was told. */
  function conversation({ refusals }: { refusals: number }) {
    const told: boolean[] = [];
    const setTyping = async (_: string, typing: boolean) => {
      told.push(typing);
      if (told.length <= refusals) throw new Error("refused");
    };
    return { told, live: new LiveConversation({ setTyping } as unknown as ChatApi, "agent", "cnv_1") };
  }

  it("is told once in three seconds", async () => {
    const { told, live } = conversation({ refusals: 0 });
    for (let key = 0; key < 40; key += 1) {
      live.typing(true);
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(told).toEqual([true, true]);
  });

  it("is told again with the next key after a refusal", async () => {
    const { told, live } = conversation({ refusals: 1 });
    for (let key = 0; key < 3; key += 1) {
      live.typing(true);
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(told).toEqual([true, true]);
  });
});
