import { fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeServices } from "../dev/fake/services";
import { App } from "../src/app/App";

let services: FakeServices;

async function open(path: string, email = "robin@customers.example") {
  window.history.replaceState(null, "", path);
  services = new FakeServices();
  services.conversations.pace = 1;
  render(<App transport={services.transport} />);
  fireEvent.change(await screen.findByLabelText("E-mail"), { target: { value: email } });
  fireEvent.change(screen.getByLabelText("Password"), { target: { value: "correct horse" } });
  fireEvent.click(screen.getByRole("button", { name: "Sign in" }));
}

async function say(text: string) {
  const box = await screen.findByRole("textbox", { name: "Message" });
  fireEvent.change(box, { target: { value: text } });
  fireEvent.keyDown(box, { key: "Enter" });
}

beforeEach(() => localStorage.clear());

describe("signing in", () => {
  it("says why it failed, and what is missing", async () => {
    window.history.replaceState(null, "", "/sign-in");
    render(<App transport={new FakeServices().transport} />);
    fireEvent.click(await screen.findByRole("button", { name: "Sign in" }));
    expect(screen.getByText("Enter your e-mail address.")).toBeTruthy();
    fireEvent.change(screen.getByLabelText("E-mail"), { target: { value: "robin@customers.example" } });
    fireEvent.change(screen.getByLabelText("Password"), { target: { value: "wrong" } });
    fireEvent.click(screen.getByRole("button", { name: "Sign in" }));
    const alert = await screen.findByRole("alert");
    expect(alert.textContent).toContain("That didn't match");
    expect(alert.textContent).toMatch(/Reference: [0-9a-f]{8}/);
  });

  it("leads back to the page that was asked for", async () => {
    await open("/help/returns-policy");
    expect(await screen.findByRole("heading", { level: 1, name: /return/i })).toBeTruthy();
    expect(window.location.pathname).toBe("/help/returns-policy");
  });
});

describe("the chat", () => {
  it("streams a cited answer, opens the source, and keeps the conversation", async () => {
    await open("/chat");
    await say("How long do I have to return a jacket?");
    await screen.findByRole("button", { name: "This helped" });
    expect(window.location.pathname).toBe("/chat/cnv_1");
    expect(screen.getAllByText("How long do I have to return a jacket?", { selector: "p" })).toHaveLength(1);
    fireEvent.click(screen.getByRole("button", { name: "Source 2" }));
    const panel = await screen.findByLabelText("Source");
    expect(await within(panel).findByText("Condition of returned items")).toBeTruthy();
    expect(await screen.findByRole("link", { name: /How long do I have/ })).toBeTruthy();
  });

  it("opens a ticket once the customer has confirmed", async () => {
    await open("/chat");
    await say("Please open a ticket");
    fireEvent.click(await screen.findByRole("button", { name: "Open ticket" }));
    const ticket = await screen.findByRole("link", { name: /Ticket #1042/ });
    expect(ticket.getAttribute("href")).toBe("/tickets/tkt_1");
  });

  it("shows a busy service with its time, and keeps the words", async () => {
    await open("/chat");
    await say("busy?");
    const alert = await screen.findByRole("alert");
    expect(alert.textContent).toMatch(/Not sent: We're busy right now.*Try again in \d s/);
    expect(within(alert).getByRole("button", { name: "Try again" })).toHaveProperty("disabled", true);
  });

  it("stops an answer", async () => {
    await open("/chat");
    services.conversations.pace = 30;
    await say("How long do I have to return a jacket?");
    fireEvent.click(await screen.findByRole("button", { name: "Stop the answer" }));
    expect(await screen.findByText("The answer was stopped.")).toBeTruthy();
    expect(screen.queryByRole("button", { name: "This helped" })).toBeNull();
  });

  it("marks where one is, and begins anew when asked to", async () => {
    await open("/chat");
    await say("How long do I have to return a jacket?");
    await screen.findByRole("button", { name: "This helped" });
    const kept = await screen.findByRole("link", { name: /How long do I have/ });
    expect(kept.getAttribute("aria-current")).toBe("page");
    fireEvent.click(screen.getByRole("link", { name: "New conversation" }));
    expect(await screen.findByRole("heading", { name: /how can we help/ })).toBeTruthy();
    expect(kept.getAttribute("aria-current")).toBeNull();
    fireEvent.click(kept);
    await screen.findByRole("button", { name: "This helped" });
    fireEvent.click(screen.getByRole("link", { name: "My tickets" }));
    expect(await screen.findByRole("heading", { level: 1, name: "My tickets" })).toBeTruthy();
  });

  it("closes with the conversation", async () => {
    await open("/chat");
    await say("How long do I have to return a jacket?");
    await screen.findByRole("button", { name: "This helped" });
    services.conversations.close("cnv_1", true);
    expect(await screen.findByRole("link", { name: "Start a new one" })).toBeTruthy();
  });
});

describe("the inbox", () => {
  it("shows a stale change for what it is, and the newest version", async () => {
    await open("/inbox/tkt_1", "mara@fernwick.example");
    await screen.findByRole("button", { name: "Priority: High" });
    services.tickets.touch("tkt_1");
    const trigger = screen.getByRole("button", { name: "Priority: High" });
    fireEvent.keyDown(trigger, { key: "Enter" });
    fireEvent.click(await screen.findByRole("menuitemradio", { name: "Urgent" }));
    expect(await screen.findByText("Someone changed this first")).toBeTruthy();
    await waitFor(() => screen.getByRole("button", { name: "Priority: High" }));
  });

  it("has what is due first at the top, says what is overdue, and takes over another time", async () => {
    await open("/inbox/tkt_3?order=due", "mara@fernwick.example");
    const box = await screen.findByLabelText("Due");
    await waitFor(() => expect(screen.getAllByText("overdue 3h")).toHaveLength(2));
    const [first] = within(screen.getByRole("region", { name: "Tickets" })).getAllByRole("link");
    expect(first?.getAttribute("href")).toBe("/inbox/tkt_3?order=due");
    fireEvent.change(box, { target: { value: "2030-01-02T10:00" } });
    fireEvent.blur(box);
    await waitFor(() => expect(screen.queryByText("overdue 3h")).toBeNull());
    expect(await screen.findByText(/changed the due time from/)).toBeTruthy();
    expect(box).toHaveProperty("value", "2030-01-02T10:00");
    fireEvent.change(box, { target: { value: "" } });
    fireEvent.blur(box);
    expect(await screen.findByText("nothing")).toBeTruthy();
  });

  it("walks the list by keys", async () => {
    await open("/inbox", "mara@fernwick.example");
    await screen.findByText("Refund has not arrived after two weeks");
    fireEvent.keyDown(document.body, { key: "j" });
    await waitFor(() => expect(window.location.pathname).toBe("/inbox/tkt_1"));
    fireEvent.keyDown(document.body, { key: "j" });
    await waitFor(() => expect(window.location.pathname).toBe("/inbox/tkt_2"));
    fireEvent.keyDown(document.body, { key: "k" });
    await waitFor(() => expect(window.location.pathname).toBe("/inbox/tkt_1"));
    fireEvent.keyDown(document.body, { key: "Escape" });
    await waitFor(() => expect(window.location.pathname).toBe("/inbox"));
  });
});
