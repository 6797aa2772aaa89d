import { fireEvent, render, screen } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeServices } from "../dev/fake/services";
import { App } from "../src/app/App";

function open(path: string) {
  window.history.replaceState(null, "", path);
  return render(<App transport={new FakeServices().transport} />);
}

const press = async (name: string) => fireEvent.click(await screen.findByRole("button", { name }));

async function begin() {
  const page = open("/sign-in?shop=acme");
  await press("Continue with Acme");
  await expect.poll(() => window.location.hash).toBe("#at-acme");
  page.unmount();
}

beforeEach(() => {
  localStorage.clear();
  sessionStorage.clear();
});

describe("an organization's own sign-in", () => {
  it("is not offered where there is none", async () => {
    open("/sign-in");
    await screen.findByRole("button", { name: "Sign in" });
    expect(screen.queryByText(/Continue with/)).toBeNull();
  });

  it("leads there and back, and leaves nothing behind", async () => {
    await begin();
    open("/sign-in/callback?code=good&state=s");
    expect(await screen.findByRole("navigation")).toBeTruthy();
    expect(window.location.search).toBe("");
    expect(sessionStorage.length).toBe(0);
  });

  it("says why somebody is not let in", async () => {
    await begin();
    open("/sign-in/callback?error=access_denied&state=s");
    expect((await screen.findByRole("alert")).textContent).toContain("You already have an account");
    expect(screen.getByRole("link", { name: "Sign in" })).toBeTruthy();
  });

  it("takes no answer to what was not begun here", async () => {
    open("/sign-in/callback?code=good&state=s");
    expect(await screen.findByText("This sign-in was not begun in this window.")).toBeTruthy();
  });
});
