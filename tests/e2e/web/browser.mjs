// What the journeys share: a browser that writes down what a page must never do.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../clients/web/package.json", import.meta.url));
const { chromium } = require("playwright-core");

export const edge = process.env.EDGE_URL;
export const ANSWER_MS = 120_000;

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"];

export async function openBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: [...FLAGS, "--disable-component-update", "--disable-sync"] });
}

/** A fresh profile. `faults` gathers errors of scripts and of the page's policy, `hosts` whom the page talked to, `traces` each call's. */
export async function openPerson(browser, { width = 1280, height = 800 } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, ignoreHTTPSErrors: true });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const person = { context, page, faults: [], hosts: new Set(), calls: [] };
  page.on("pageerror", (error) => person.faults.push(error.message));
  page.on("console", (line) => {
    if (line.type() === "error" && /Content.Security.Policy|Uncaught/i.test(line.text())) person.faults.push(line.text());
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    person.hosts.add(url.host);
    if (url.pathname.startsWith("/deskmesh.")) {
      person.calls.push({ path: url.pathname, traceparent: request.headers().traceparent ?? "" });
    }
  });
  return person;
}

export async function signUp({ page }, email, password, name) {
  await page.goto(`${edge}/sign-up`);
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("textbox", { name: "Message" }).waitFor();
}

export async function signIn({ page }, email, password) {
  await page.goto(`${edge}/sign-in`);
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
}

export async function say({ page }, text) {
  await page.getByRole("textbox", { name: "Message" }).fill(text);
  await page.keyboard.press("Enter");
}

/** Asks and waits for the whole answer; returns its line. */
export async function ask({ page }, text) {
  const whole = page.getByRole("button", { name: "Copy the answer" });
  const before = await whole.count();
  await say({ page }, text);
  await whole.nth(before).waitFor({ timeout: ANSWER_MS });
  return (await linesOf(page)).at(-1);
}

/** What the conversation shows, line by line, without the times. */
export async function linesOf(page) {
  return page.evaluate(() => {
    const list = document.querySelector('ol[aria-label="Messages"]');
    return [...(list?.children ?? [])].map((line) => {
      const copy = line.cloneNode(true);
      for (const time of copy.querySelectorAll("time")) time.remove();
      return copy.textContent.replace(/\s+/g, " ").trim();
    });
  });
}

/** Runs a journey; prints one JSON object, also when it broke off, with a picture of where. */
export async function journey(run) {
  const browser = await openBrowser();
  const facts = {};
  try {
    await run(browser, facts);
  } catch (error) {
    facts.broke_off = String(error?.stack ?? error);
    for (const [index, context] of browser.contexts().entries()) {
      const [page] = context.pages();
      if (page && process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/broke-off-${index}.png` });
      if (page) facts[`text_${index}`] = await page.evaluate(() => document.body.innerText).catch(() => "");
    }
  } finally {
    await browser.close();
  }
  process.stdout.write(JSON.stringify(facts));
}
