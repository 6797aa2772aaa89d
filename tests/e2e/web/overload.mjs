// A busy model as a customer meets it: told so, with a way to try again that works once there is room.
// Prints "refused" when the page says so, and goes on when it is sent a line: by then there is room again.
import { createInterface } from "node:readline";
import { ANSWER_MS, journey, openPerson, say, signUp } from "./browser.mjs";

await journey(async (browser, facts) => {
  const customer = await openPerson(browser, { width: 390, height: 844 });
  const { page } = customer;
  await signUp(customer, `patient-${Date.now()}@example.com`, "a long walk over the hills", "Pat Patient");
  await say(customer, "How many days do I have to return something?");
  const refusal = page.getByRole("alert");
  await refusal.getByText("Not sent").waitFor();
  facts.refusal = await refusal.innerText();
  const again = page.getByRole("button", { name: "Try again" });
  facts.waits = await again.isDisabled();
  await again.and(page.locator(":enabled")).waitFor();
  facts.offered = await refusal.innerText();
  if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/busy.png` });
  process.stdout.write("refused\n");
  await new Promise((resolve) => createInterface(process.stdin).once("line", resolve));

  const answered = page.getByRole("button", { name: "Copy the answer" });
  await again.click();
  await answered.waitFor({ timeout: ANSWER_MS });
  facts.alerts_after = await refusal.count();
  facts.text_after = await page.getByRole("list", { name: "Messages" }).innerText();
  facts.faults = customer.faults;
  process.stdin.destroy();
});
