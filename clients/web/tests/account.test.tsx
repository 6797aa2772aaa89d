import { fireEvent, render, screen } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeServices } from "../dev/fake/services";
import { App } from "../src/app/App";

function open(path: string, services = new FakeServices()) {
  window.history.replaceState(null, "", path);
  render(<App transport={services.transport} />);
}

async function fill(label: string, value: string) {
  fireEvent.change(await screen.findByLabelText(label), { target: { value } });
}

const press = async (name: string) => fireEvent.click(await screen.findByRole("button", { name }));

beforeEach(() => localStorage.clear());

describe("links in letters", () => {
  it("verify an address once the button is pressed, and leave no token in the address", async () => {
    open("/verify-email#good");
    await press("Verify");
    expect(await screen.findByText("Your e-mail address is verified.")).toBeTruthy();
    expect(window.location.hash).toBe("");
  });

  it("say when they are too old", async () => {
    open("/verify-email#old");
    await press("Verify");
    expect((await screen.findByRole("alert")).textContent).toContain("used or too old");
  });

  it("lead from a forgotten password to a new one", async () => {
    open("/forgot-password");
    await fill("E-mail", "robin@customers.example");
    await press("Send the link");
    expect(await screen.findByText(/If there is an account with this address/)).toBeTruthy();
  });

  it("set a new password", async () => {
    open("/reset-password#good");
    await fill("New password", "a long enough phrase");
    await press("Set the password");
    expect(await screen.findByText("Your password is set")).toBeTruthy();
  });
});

describe("an invitation", () => {
  it("makes an account for who has none, and signs in", async () => {
    open("/accept-invitation#good");
    await press("Join");
    expect(await screen.findAllByText(/Enter your/)).toHaveLength(2);
    await fill("Your name", "Robin");
    await fill("Password", "a long enough phrase");
    await press("Join");
    expect(await screen.findByRole("navigation")).toBeTruthy();
    expect(window.location.hash).toBe("");
  });

  it("is accepted by who signs in on the way", async () => {
    open("/accept-invitation#good");
    fireEvent.click(await screen.findByRole("link", { name: "Sign in" }));
    await fill("E-mail", "robin@customers.example");
    await fill("Password", "correct horse");
    await press("Sign in");
    await press("Accept the invitation");
    expect(await screen.findByRole("navigation")).toBeTruthy();
  });

  it("says when it is too old", async () => {
    open("/accept-invitation#old");
    await fill("Your name", "Robin");
    await fill("Password", "a long enough phrase");
    await press("Join");
    expect((await screen.findByRole("alert")).textContent).toContain("used or too old");
  });
});

describe("a second factor", () => {
  it("is asked for after the password and signs in", async () => {
    open("/help");
    await fill("E-mail", "robin@customers.example");
    await fill("Password", "second factor");
    await press("Sign in");
    await fill("Code", "000000");
    await press("Sign in");
    expect((await screen.findByRole("alert")).textContent).toContain("That code didn't match");
    await fill("Code", "123456");
    await press("Sign in");
    expect(await screen.findByRole("navigation")).toBeTruthy();
  });
});

describe("the security page", () => {
  it("asks who is there before it sets up an app, and shows the recovery codes", async () => {
    open("/security");
    await fill("E-mail", "robin@customers.example");
    await fill("Password", "correct horse");
    await press("Sign in");
    await press("Set up an app");
    await fill("Password", "wrong");
    await press("Confirm");
    expect((await screen.findByRole("alert")).textContent).toContain("That didn't match");
    await fill("Password", "correct horse");
    await press("Confirm");
    expect(await screen.findByText("JBSWY3DPEHPK3PXP")).toBeTruthy();
    await fill("Code", "123456");
    await press("Confirm");
    expect(await screen.findByText("AAAA-BBBB-CCCC-DDDD")).toBeTruthy();
    expect(await screen.findByText(/An app is set up, and 10 recovery codes are left/)).toBeTruthy();
  });

  it("lists the programs that were let in, until they are removed", async () => {
    open("/security");
    await fill("E-mail", "robin@customers.example");
    await fill("Password", "correct horse");
    await press("Sign in");
    expect(await screen.findByText("The shop")).toBeTruthy();
    await press("Remove The shop");
    await expect.poll(() => screen.queryByText("The shop")).toBeNull();
  });

  it("lists who signs in as the person at the organization's own provider, until they are unlinked", async () => {
    const services = new FakeServices();
    services.acmeOf = "fernwick";
    open("/security", services);
    await fill("E-mail", "robin@customers.example");
    await fill("Password", "correct horse");
    await press("Sign in");
    expect(await screen.findByText("eve-at-acme")).toBeTruthy();
    await press("Unlink eve-at-acme");
    await expect.poll(() => screen.queryByText("eve-at-acme")).toBeNull();
    expect(screen.getByRole("button", { name: "Link with Acme" })).toBeTruthy();
  });
});
