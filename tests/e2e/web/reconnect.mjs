// The process behind the stream is killed while an answer is on its way: the page says so, comes back and lacks nothing.
// Prints "watching" when the answer is on its way, and goes on when it is sent a line: by then the process is dead.
import { createInterface } from "node:readline";
import { ANSWER_MS, ask, journey, linesOf, openPerson, say, signUp } from "./browser.mjs";

await journey(async (browser, facts) => {
  const customer = await openPerson(browser);
  const { page } = customer;
  await signUp(customer, `steady-${Date.now()}@example.com`, "a long walk over the hills", "Stef Steady");
  await ask(customer, "How many days do I have to return something?");
  await say(customer, "What does standard delivery cost?");
  await page.getByText("Looking through").or(page.locator("[data-streaming]")).first().waitFor();
  process.stdout.write("watching\n");
  await new Promise((resolve) => createInterface(process.stdin).once("line", resolve));

  await page.getByText("Connection lost").waitFor();
  if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/cut.png` });
  await page.getByText("Connection lost").waitFor({ state: "detached", timeout: ANSWER_MS });
  const whole = page.getByRole("button", { name: "Copy the answer" });
  await whole.nth(1).waitFor({ timeout: ANSWER_MS });
  facts.lines = await linesOf(page);
  await page.reload();
  await whole.nth(1).waitFor();
  facts.lines_told_anew = await linesOf(page);
  facts.faults = customer.faults;
  process.stdin.destroy();
});
