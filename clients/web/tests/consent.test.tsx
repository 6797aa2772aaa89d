import { fireEvent, render, screen } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeServices } from "../dev/fake/services";
import { App } from "../src/app/App";

function open(path: string) {
  window.history.replaceState(null, "", path);
  render(<App transport={new FakeServices().transport} />);
}

async function fill(label: string, value: string) {
  fireEvent.change(await screen.findByLabelText(label), { target: { value } });
}

const press = async (name: string) => fireEvent.click(await screen.findByRole("button", { name }));

async function signIn() {
  await fill("E-mail", "robin@customers.example");
  await fill("Password", "a long enough phrase");
  await press("Sign in");
}

beforeEach(() => localStorage.clear());

describe("a program that asks to be let in", () => {
  it("is named, with what it wants, after signing in, and gets its answer", async () => {
    open("/consent?client_id=shop&state=s");
    await signIn();
    expect(await screen.findByText("Let “The shop” in?")).toBeTruthy();
    expect(screen.getByText("Do everything you can do in Deskmesh")).toBeTruthy();
    expect(screen.getByText("You go on to shop.example.")).toBeTruthy();
    await press("Let it in");
    await expect.poll(() => window.location.hash).toBe("#code=c");
  });

  it("is let in only by somebody who confirms who they are, after a while", async () => {
    open("/consent?client_id=shop&long_ago");
    await signIn();
    await press("Let it in");
    expect(await screen.findByText("Confirm that it is you")).toBeTruthy();
    await fill("Password", "wrong");
    await press("Confirm");
    expect(await screen.findByRole("alert")).toBeTruthy();
    expect(window.location.hash).toBe("");
    await fill("Password", "a long enough phrase");
    await press("Confirm");
    await expect.poll(() => window.location.hash).toBe("#code=c");
  });

  it("is told when somebody says no", async () => {
    open("/consent?client_id=shop");
    await signIn();
    await press("No");
    await expect.poll(() => window.location.hash).toBe("#error=access_denied");
  });

  it("goes nowhere when it asks for nonsense", async () => {
    open("/consent?nonsense");
    await signIn();
    expect(await screen.findByText("That doesn't work")).toBeTruthy();
    expect(screen.queryByRole("button", { name: "Let it in" })).toBeNull();
  });
});

describe("a device", () => {
  it("is let in by the code it shows, once that is the right one", async () => {
    open("/device");
    await signIn();
    await press("Go on");
    expect(await screen.findByText("Enter the code.")).toBeTruthy();
    await fill("Code", "WRONG");
    await press("Go on");
    expect((await screen.findByRole("alert")).textContent).toContain("That code didn't match");
    await fill("Code", "WDJB-MJHT");
    await press("Go on");
    await press("Let it in");
    expect(await screen.findByText("It is let in")).toBeTruthy();
  });

  it("brings its code along, and stays out if somebody says no", async () => {
    open("/device?user_code=WDJB-MJHT");
    await signIn();
    await press("Go on");
    await press("No");
    expect(await screen.findByText("It stays out")).toBeTruthy();
  });
});
