/** What the stand-in of the assistant says. It shows each state of the page; it knows nothing. */

export interface FakeCitation {
  readonly slug: string;
  readonly heading: string;
}

export interface FakeAnswer {
  readonly text: string;
  readonly citations: readonly FakeCitation[];
}

export const RETURNS: FakeAnswer = {
  text: "You can return full-price items **within 45 days of delivery**. The return period starts on the day on which the last parcel of an order is delivered. [1]\n\nReturned items must be:\n\n- unworn and unwashed\n- complete with their labels\n\nTrying clothes on at home is fine. [2]",
  citations: [
    { slug: "returns-policy", heading: "How long customers have to return" },
    { slug: "returns-policy", heading: "Condition of returned items" },
  ],
};

export const GIFT_CARDS: FakeAnswer = {
  text: "Gift cards cannot be returned or exchanged for money. [1]",
  citations: [{ slug: "returns-policy", heading: "Items that cannot be returned" }],
};

export function answerTo(question: string): FakeAnswer {
  return /gift/i.test(question) ? GIFT_CARDS : RETURNS;
}
