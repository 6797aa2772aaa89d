import { cleanup, configure } from "@testing-library/react";
import { afterEach } from "vitest";

// jsdom draws nothing and has no media: what the page asks of them is answered plainly.
window.matchMedia ??= (query) =>
  ({
    matches: query.includes("min-width"),
    media: query,
    addEventListener() {},
    removeEventListener() {},
  }) as never;
Element.prototype.scrollTo ??= () => {};
Element.prototype.scrollIntoView ??= () => {};
globalThis.CSS ??= { escape: (text: string) => text } as never;

// Pages are loaded when they are first shown; on a busy machine that takes a while.
configure({ asyncUtilTimeout: 15_000, getElementError: (message) => new Error(message ?? "") });

afterEach(() => {
  cleanup();
  localStorage.clear();
});
