import { act, render, screen } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { Bubble } from "../src/features/chat/MessageView";
import type { Message, Rating } from "../src/features/chat/model";

const ANSWER: Message = {
  id: "msg_1",
  author: "assistant",
  userId: "",
  text: "Within 45 days.",
  turnId: "trn_1",
  citations: [],
  rating: "none",
  at: new Date(0),
};

/** An answer whose rating the service has taken only when `settle` is called. */
function answer(rating: Rating = "none") {
  const sent: Rating[] = [];
  let settle = () => {};
  const onRate = (_: string, chosen: Rating) => {
    sent.push(chosen);
    return new Promise<void>((resolve) => {
      settle = resolve;
    });
  };
  const drawn = (now: Rating) => (
    <Bubble
      message={{ ...ANSWER, rating: now }}
      mine={false}
      name="Assistant"
      grouped={false}
      onCite={() => {}}
      onRate={onRate}
    />
  );
  const { rerender } = render(drawn(rating));
  return {
    sent,
    settle: (now: Rating) =>
      act(async () => {
        rerender(drawn(now));
        settle();
      }),
  };
}

const helped = () => screen.getByRole("button", { name: "This helped" });
const press = () => act(async () => helped().click());

describe("a rating", () => {
  it("shows as pressed at once and is thanked for when the service has it", async () => {
    const { sent, settle } = answer();
    await press();
    expect(helped().getAttribute("aria-pressed")).toBe("true");
    expect(screen.queryByText("Thanks for telling us")).toBeNull();
    await settle("up");
    expect(sent).toEqual(["up"]);
    expect(screen.getByText("Thanks for telling us")).toBeTruthy();
  });

  it("is as before when the service refused it", async () => {
    const { settle } = answer();
    await press();
    await settle("none");
    expect(helped().getAttribute("aria-pressed")).toBe("false");
    expect(screen.queryByText("Thanks for telling us")).toBeNull();
  });

  it("is taken back by a second press", async () => {
    const { sent, settle } = answer("up");
    await press();
    await settle("none");
    expect(sent).toEqual(["none"]);
    expect(helped().getAttribute("aria-pressed")).toBe("false");
  });

  it("is sent once, however often it is pressed before the service has it", async () => {
    const { sent } = answer();
    await press();
    await press();
    expect(sent).toEqual(["up"]);
  });
});
