// A customer's first visit: signing up, a cited answer, coming back, a lost connection, the help centre, the theme.
import { ANSWER_MS, ask, edge, journey, linesOf, openPerson, say, signIn, signUp } from "./browser.mjs";

await journey(async (browser, facts) => {
  const email = `visitor-${Date.now()}@example.com`;
  const customer = await openPerson(browser);
  const { page } = customer;

  await signIn(customer, email, "not the password");
  facts.refused = await page.getByRole("alert").innerText();

  await signUp(customer, email, "a long walk over the hills", "Vera Visitor");
  const first = await ask(customer, "How many days do I have to return something?");
  facts.answer = first;
  facts.address = new URL(page.url()).pathname;

  await page.getByRole("list", { name: "Sources" }).getByRole("button").first().click();
  await page.locator("[data-cited]").first().waitFor();
  facts.source = (await page.locator("[data-cited]").allInnerTexts()).join("\n");
  await page.getByLabel("Source", { exact: true }).getByRole("button", { name: "Close" }).click();

  await page.getByRole("button", { name: "This helped" }).click();
  await page.getByText("Thanks for telling us").waitFor();
  facts.lines = await linesOf(page);
  await page.reload();
  await page.getByText("Thanks for telling us").waitFor();
  facts.lines_after_reload = await linesOf(page);
  facts.history = await page.getByRole("link", { name: /How many days/ }).count();

  // The connection is cut while an answer is on its way.
  await say(customer, "What does standard delivery cost?");
  await page.getByText("Looking through").or(page.locator("[data-streaming]")).first().waitFor();
  await customer.context.setOffline(true);
  await page.getByText("You're offline").first().waitFor();
  await page.waitForTimeout(3_000);
  await customer.context.setOffline(false);
  await page.getByRole("button", { name: "Copy the answer" }).nth(1).waitFor({ timeout: ANSWER_MS });
  facts.lines_after_cut = await linesOf(page);
  await page.reload();
  await page.getByRole("button", { name: "Copy the answer" }).nth(1).waitFor();
  facts.lines_told_anew = await linesOf(page);

  // An answer is stopped; what was written of it goes away.
  await say(customer, "How do I wash a waterproof jacket, and what should I never do with it?");
  await page.getByRole("button", { name: "Stop the answer" }).click();
  const stopped = page.getByText("The answer was stopped.");
  const finished = page.getByRole("button", { name: "Copy the answer" }).nth(2);
  await stopped.or(finished).first().waitFor({ timeout: ANSWER_MS });
  facts.stopped = (await stopped.count()) > 0;

  await page.goto(`${edge}/help`);
  await page.getByRole("link", { name: "Returns policy" }).waitFor();
  facts.articles = await page.locator('main a[href^="/help/"]').count();
  await page.getByRole("link", { name: "Returns policy" }).click();
  facts.article = await page.getByRole("article").innerText();

  await page.getByRole("button", { name: /Vera Visitor/ }).click();
  await page.getByRole("menuitemradio", { name: "Dark" }).click();
  facts.theme = await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);

  facts.stored = await page.evaluate(() => JSON.stringify(localStorage) + JSON.stringify(sessionStorage));
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: /Vera Visitor/ }).click();
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Welcome back" }).waitFor();
  facts.stored_after_sign_out = await page.evaluate(() => localStorage.getItem("deskmesh.session"));

  facts.faults = customer.faults;
  facts.hosts = [...customer.hosts];
  facts.calls = customer.calls;
});
