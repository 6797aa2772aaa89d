// A ticket from the chat, a person who takes over, and the way back: customer and agent in two browsers at once.
import { ANSWER_MS, edge, journey, openPerson, say, signIn, signUp } from "./browser.mjs";

await journey(async (browser, facts) => {
  const customer = await openPerson(browser, { width: 390, height: 844 });
  await signUp(customer, `caller-${Date.now()}@example.com`, "a long walk over the hills", "Cal Caller");
  const chat = customer.page;

  await say(customer, "Please open a ticket about a broken zip on my jacket");
  await chat.getByRole("button", { name: "Open ticket" }).click({ timeout: ANSWER_MS });
  const card = chat.getByRole("link", { name: /Ticket #\d+/ }).first();
  await card.waitFor({ timeout: ANSWER_MS });
  facts.card = await card.innerText();
  const ticketPath = new URL(await card.evaluate((link) => link.href)).pathname;
  await chat.getByRole("button", { name: "Stop the answer" }).waitFor({ state: "detached", timeout: ANSWER_MS });

  await say(customer, "I want to talk to a person");
  await chat.getByText("You're talking to a person now").waitFor({ timeout: ANSWER_MS });
  facts.handed_over = true;

  const agent = await openPerson(browser);
  const desk = agent.page;
  await signIn(agent, process.env.AGENT_EMAIL, process.env.AGENT_PASSWORD);
  await desk.getByRole("region", { name: "Tickets" }).getByRole("link").first().waitFor();
  facts.listed = await desk.getByRole("region", { name: "Tickets" }).getByRole("link").count();
  await desk.goto(`${edge}${ticketPath.replace("/tickets/", "/inbox/")}`);
  await desk.getByText("I want to talk to a person").first().waitFor();
  const reply = desk.getByRole("textbox", { name: "Message" });
  // A single notice may get lost, so nobody sees a word or two; a whole sentence takes long enough for a second one.
  const typed = reply.pressSequentially("Hello Cal, let me see what we know of this zip.", { delay: 100 });
  await chat.getByText(/is typing/).waitFor();
  await typed;
  facts.typing_seen = true;
  await reply.fill("Hello Cal, I will look into the zip myself.");
  await desk.keyboard.press("Enter");
  await chat.getByText("I will look into the zip myself").first().waitFor();
  facts.reply_seen = true;
  await say(customer, "Thank you!");
  await desk.getByText("Thank you!").first().waitFor();
  facts.thanks_seen = true;

  await desk.getByRole("button", { name: /^Status/ }).click();
  await desk.getByRole("menuitemradio", { name: "Open" }).click();
  await desk.getByText(/changed the status/).waitFor();
  await desk.getByRole("button", { name: /^Assignee/ }).click();
  await desk.getByRole("menuitemradio", { name: process.env.AGENT_NAME }).click();
  await desk.getByText(/changed the assignee/).waitFor();
  await desk.getByRole("textbox", { name: "Internal note" }).fill("The zip is a known fault of this batch.");
  await desk.getByRole("button", { name: "Add note" }).click();
  await desk.getByRole("article").getByText("known fault").waitFor();
  await desk.getByLabel("Internal", { exact: true }).uncheck();
  await desk.getByRole("textbox", { name: "Comment" }).fill("We are sending you a new jacket.");
  await desk.getByRole("button", { name: "Comment" }).click();
  await desk.getByRole("article").getByText("a new jacket").waitFor();
  await desk.getByRole("button", { name: "Hand back to the assistant" }).click();
  await chat.getByText("The assistant is answering again").waitFor();
  facts.handed_back = true;

  await chat.goto(`${edge}${ticketPath}`);
  await chat.getByRole("article").getByText("a new jacket").waitFor();
  facts.customer_ticket = await chat.locator("main").innerText();
  await chat.getByRole("textbox", { name: "Comment" }).fill("That is kind, thank you.");
  await chat.getByRole("button", { name: "Comment" }).click();
  await chat.getByRole("article").getByText("That is kind").waitFor();

  facts.faults = [...customer.faults, ...agent.faults];
});
