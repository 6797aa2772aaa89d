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

/** Long enough to scroll, with everything that Markdown can hold. */
const EVERYTHING: FakeAnswer = {
  text: `${["Delivery", "Returns", "Payment", "Repairs", "Sizes", "Gift cards"]
    .map(
      (topic) =>
        `### ${topic}\n\nEverything about ${topic.toLowerCase()} in a few sentences, so that it takes a while to write and the page has to follow what comes. Whoever reads along should see one calm flow of words, **without a jump** and without a flash. [1]\n\n- the first of three points\n- the second, with \`code\` in it\n- the third, which is a little longer than the others so that it breaks into a second line on a phone\n`,
    )
    .join(
      "\n",
    )}\n| What | Costs |\n| --- | ---: |\n| Standard | £3.95 |\n| Express | £6.95 |\n\nThat is all. [2]`,
  citations: RETURNS.citations,
};

export function answerTo(question: string): FakeAnswer {
  if (/everything/i.test(question)) return EVERYTHING;
  return /gift/i.test(question) ? GIFT_CARDS : RETURNS;
}
