import { render, screen } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { Markdown } from "../src/ui/Markdown";
import { safeAddress } from "../src/ui/markdown";

function show(text: string, onCite?: (number: number) => void) {
  return render(<Markdown text={text} onCite={onCite} />).container;
}

describe("Markdown", () => {
  it("turns markers into buttons that open the source", () => {
    const onCite = vi.fn();
    show("Within 45 days. [1] Not [this](https://a.example) nor `a[2]`.", onCite);
    screen.getByRole("button", { name: "Source 1" }).click();
    expect(onCite).toHaveBeenCalledExactlyOnceWith(1);
    expect(screen.getAllByRole("button")).toHaveLength(1);
    expect(screen.getByRole("link")).toHaveProperty("href", "https://a.example/");
  });

  it("draws what is written piece by piece as what is written at once", () => {
    const text = "See [the terms][t].\n\n- one\n- two [1]\n\n[t]: https://a.example/terms\n\nDone.";
    const onCite = () => {};
    const { container, rerender } = render(<Markdown text="" onCite={onCite} streaming />);
    for (let end = 0; end <= text.length; end++)
      rerender(<Markdown text={text.slice(0, end)} onCite={onCite} streaming />);
    rerender(<Markdown text={text} onCite={onCite} />);
    expect(container.innerHTML).toBe(show(text, onCite).innerHTML);
    expect(container.querySelector("a")).toHaveProperty("href", "https://a.example/terms");
  });

  it("shows markup as characters and makes no element of it", () => {
    const page = show(
      '<img src=x onerror=alert(1)> <script>alert(1)</script>\n\n<iframe src="//evil.example"></iframe>',
      () => {},
    );
    expect(page.querySelector("img, script, iframe")).toBeNull();
    expect(page.textContent).toContain("onerror");
  });

  it("makes no link of an address that could do something", () => {
    const page = show(
      "[a](javascript:alert(1)) [b](data:text/html,x) [c](//evil.example) ![d](https://evil.example/x.png)",
    );
    expect(page.querySelector("a, img")).toBeNull();
    expect(page.textContent).toBe("a b c d");
  });

  it("keeps lists, tables, emphasis and entities", () => {
    const page = show("1. **one**\n2. two &amp; three\n\n| a | b |\n|---|---|\n| 1 | 2 |");
    expect(page.querySelectorAll("ol > li")).toHaveLength(2);
    expect(page.querySelectorAll("td")).toHaveLength(2);
    expect(page.textContent).toContain("two & three");
  });
});

describe("safeAddress", () => {
  it.each(["https://a.example", "mailto:a@b.example", "/help/returns#x", "#x"])(
    "lets %s through",
    (address) => {
      expect(safeAddress(address)).toBe(address);
    },
  );
  it.each([
    "javascript:alert(1)",
    " javascript:alert(1)",
    "//evil.example",
    "/\\evil.example",
    "vbscript:x",
    "blob:x",
  ])("stops %s", (address) => {
    expect(safeAddress(address)).toBeUndefined();
  });
});
