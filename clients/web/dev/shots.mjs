// Screenshots of every page and state over the in-memory services: node dev/shots.mjs [folder] [scenes] [variants]
// Scenes and variants, such as "1280-light|390-dark", are regular expressions. What axe-core finds in them is printed.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [folder = ".shots", only = "", variants = ""] = process.argv.slice(2);
const base = process.env.BASE ?? "http://127.0.0.1:5173";
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium-headless-shell";
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
mkdirSync(folder, { recursive: true });

const send = async (page, text) => {
  await page.getByRole("textbox", { name: "Message" }).fill(text);
  await page.keyboard.press("Enter");
};
const signIn = async (page, email) => {
  await page.goto(`${base}/sign-in`);
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password", { exact: true }).fill("correct horse");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator("#main").waitFor();
};
const customer = (page) => signIn(page, "robin@customers.example");
const agent = (page) => signIn(page, "mara@fernwick.example");
const rated = (page) => page.getByRole("button", { name: "This helped" }).last().waitFor();

const SCENES = {
  "sign-in": (page) => page.goto(`${base}/sign-in`),
  "sign-in-wrong": async (page) => {
    await page.goto(`${base}/sign-in`);
    await page.getByLabel("E-mail").fill("robin@customers.example");
    await page.getByLabel("Password", { exact: true }).fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
  },
  "sign-up": async (page) => {
    await page.goto(`${base}/sign-up`);
    await page.getByRole("button", { name: "Create account" }).click();
  },
  "chat-empty": customer,
  "chat-thinking": async (page) => {
    await customer(page);
    await send(page, "How long do I have to return a jacket?");
    await page.getByText("Looking through").waitFor();
  },
  "chat-streaming": async (page) => {
    await customer(page);
    await send(page, "How long do I have to return a jacket?");
    await page.getByText("Returned items").waitFor();
  },
  "chat-answer": async (page) => {
    await customer(page);
    await send(page, "How long do I have to return a jacket?");
    await rated(page);
    await page.getByRole("button", { name: "This helped" }).click();
  },
  "chat-article": async (page) => {
    await customer(page);
    await send(page, "How long do I have to return a jacket?");
    await rated(page);
    await page.getByRole("button", { name: "Source 2" }).click();
    await page.locator("[data-cited]").first().waitFor();
  },
  "chat-proposal": async (page) => {
    await customer(page);
    await send(page, "Please open a ticket, my parcel is marked delivered but it is not here");
    await page.getByRole("button", { name: "Open ticket" }).waitFor();
  },
  "chat-ticket": async (page) => {
    await customer(page);
    await send(page, "Please open a ticket, my parcel is marked delivered but it is not here");
    await page.getByRole("button", { name: "Open ticket" }).click();
    await page.getByText("within one working day").first().waitFor();
    await page.waitForTimeout(600);
  },
  "chat-handoff": async (page) => {
    await customer(page);
    await send(page, "I'd like to talk to a person");
    await page.getByText("You're talking to a person").waitFor();
    await send(page, "It's about my order, are you there?");
  },
  "chat-busy": async (page) => {
    await customer(page);
    await send(page, "Are you busy?");
    await page.getByText("Not sent").waitFor();
  },
  "chat-failed": async (page) => {
    await customer(page);
    await send(page, "Please fail");
    await page.getByRole("button", { name: "Ask again" }).waitFor();
  },
  "chat-stopped": async (page) => {
    await customer(page);
    await send(page, "How long do I have to return a jacket?");
    await page.getByText("45 days").waitFor();
    await page.getByRole("button", { name: "Stop the answer" }).click();
    await page.getByText("The answer was stopped").waitFor();
  },
  "chat-lost": async (page) => {
    await customer(page);
    await send(page, "How long do I have to return a jacket?");
    await page.getByText("45 days").waitFor();
    await page.evaluate(() => {
      window.services.down = true;
      window.services.conversations.get("cnv_1").log.cut();
    });
    await page.getByText("Connection lost").waitFor();
  },
  "chat-offline": async (page) => {
    await customer(page);
    await send(page, "How long do I have to return a jacket?");
    await rated(page);
    await page.context().setOffline(true);
    await page.getByText("You're offline").waitFor();
  },
  "chat-closed": async (page) => {
    await customer(page);
    await send(page, "How long do I have to return a jacket?");
    await rated(page);
    await page.evaluate(() => void window.services.conversations.close("cnv_1", true));
    await page.getByText("Start a new one").waitFor();
  },
  "chat-loading": async (page) => {
    await customer(page);
    await send(page, "How long do I have to return a jacket?");
    await rated(page);
    await page.getByRole("link", { name: "New conversation" }).click();
    await page.evaluate(() => {
      window.services.delay = 20_000;
    });
    if (page.viewportSize().width < 760) await page.getByRole("button", { name: "Conversations" }).click();
    await page.getByRole("link", { name: /How long/ }).click();
    await page.waitForTimeout(600);
  },
  "chat-long": async (page) => {
    await customer(page);
    await page.evaluate(() => {
      window.services.conversations.pace = 1;
    });
    await send(page, "Tell me everything");
    await rated(page);
  },
  "chat-unreachable": async (page) => {
    await customer(page);
    await page.evaluate(() => {
      window.services.down = true;
    });
    await send(page, "How long do I have to return a jacket?");
    await page.getByText("Not sent").waitFor();
  },
  nowhere: async (page) => {
    await customer(page);
    await page.evaluate(() => history.pushState(null, "", "/nowhere"));
    await page.getByText("There is nothing here").waitFor();
  },
  "tickets-empty": async (page) => {
    await customer(page);
    await page.evaluate(() => {
      window.services.me = "usr_nobody";
    });
    await page.getByRole("link", { name: /tickets/i }).click();
    await page.getByText(/No tickets/).waitFor();
  },
  "tickets-loading": async (page) => {
    await customer(page);
    await page.evaluate(() => {
      window.services.delay = 20_000;
    });
    await page.getByRole("link", { name: /tickets/i }).click();
    await page.waitForTimeout(600);
  },
  "tickets-error": async (page) => {
    await customer(page);
    await page.evaluate(() => {
      window.services.down = true;
    });
    await page.getByRole("link", { name: /tickets/i }).click();
    await page.getByRole("button", { name: "Try again" }).waitFor();
  },
  "help-nothing": async (page) => {
    await customer(page);
    await page.getByRole("link", { name: /^Help( centre)?$/ }).click();
    await page.getByLabel("Search the help centre").fill("submarine");
    await page.waitForTimeout(800);
  },
  "inbox-empty": async (page) => {
    await agent(page);
    await page.evaluate(() => history.pushState(null, "", "/inbox?view=open&status=pending&priority=urgent"));
    await page.getByText("All clear").waitFor();
  },
  "inbox-loading": async (page) => {
    await agent(page);
    await page.getByText("Refund has not arrived").waitFor();
    await page.evaluate(() => {
      window.services.delay = 20_000;
    });
    await page.getByText("Parcel marked").click();
    await page.waitForTimeout(600);
  },
  "inbox-error": async (page) => {
    await agent(page);
    await page.getByText("Refund has not arrived").waitFor();
    await page.evaluate(() => {
      window.services.down = true;
    });
    await page.getByText("Parcel marked").click();
    await page.getByRole("button", { name: "Try again" }).waitFor();
  },
  "chat-missing": async (page) => {
    await customer(page);
    await page.evaluate(() => history.pushState(null, "", "/chat/cnv_unknown"));
    await page.goto(`${base}/chat/cnv_unknown`);
    await page.getByText("Conversation not found").waitFor();
  },
  "chat-menu": async (page) => {
    await customer(page);
    const wide = page.viewportSize().width > 760;
    await page.getByRole("button", { name: wide ? /Robin/ : "Account" }).click();
    await page.getByText("Appearance").waitFor();
  },
  "chat-history": async (page) => {
    await customer(page);
    for (const text of ["How long do I have to return a jacket?", "Can I return a gift card?"]) {
      await page.getByRole("link", { name: "New conversation" }).click();
      await send(page, text);
      await rated(page);
    }
    if (page.viewportSize().width < 760) await page.getByRole("button", { name: "Conversations" }).click();
    await page.waitForTimeout(400);
  },
  tickets: async (page) => {
    await customer(page);
    await page.getByRole("link", { name: /tickets/i }).click();
    await page.getByText("Parcel marked").first().waitFor();
  },
  ticket: async (page) => {
    await customer(page);
    await page.getByRole("link", { name: /tickets/i }).click();
    await page.getByText("Parcel marked").first().click();
    await page.getByLabel("Comment").waitFor();
  },
  help: async (page) => {
    await customer(page);
    await page.getByRole("link", { name: /^Help( centre)?$/ }).click();
    await page.getByText("Returns policy").waitFor();
  },
  "help-search": async (page) => {
    await customer(page);
    await page.goto(`${base}/help`);
    await page.getByLabel("Search the help centre").fill("gift card");
    await page.getByRole("list", { name: "Search results" }).waitFor();
  },
  "help-article": async (page) => {
    await customer(page);
    await page.goto(`${base}/help/returns-policy#condition-of-returned-items`);
    await page.locator("[data-cited]").first().waitFor();
  },
  inbox: async (page) => {
    await agent(page);
    await page.getByText("Refund has not arrived").waitFor();
  },
  "inbox-ticket": async (page) => {
    await customer(page);
    await send(page, "How long do I have to return a jacket?");
    await rated(page);
    await send(page, "I'd like to talk to a person");
    await page.getByText("You're talking to a person").waitFor();
    await page.getByRole("button", { name: page.viewportSize().width > 760 ? /Robin/ : "Account" }).click();
    await page.getByRole("menuitem", { name: "Sign out" }).click();
    await page.getByLabel("E-mail").fill("mara@fernwick.example");
    await page.getByLabel("Password", { exact: true }).fill("correct horse");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("Parcel marked").click();
    await page
      .getByRole("textbox", { name: "Message" })
      .fill("Hello Robin, Mara here. Let me look into that.");
    await page.keyboard.press("Enter");
    await page.waitForTimeout(500);
  },
  "inbox-side": async (page) => {
    await agent(page);
    await page.getByText("Parcel marked").click();
    if (page.viewportSize().width < 1240) await page.getByRole("tab", { name: "Ticket" }).click();
    await page.getByRole("button", { name: /Status/ }).click();
    await page.waitForTimeout(300);
  },
};

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
});
for (const [name, play] of Object.entries(SCENES)) {
  if (only && !new RegExp(only).test(name)) continue;
  for (const [width, height] of [
    [1280, 800],
    [390, 844],
  ]) {
    for (const colorScheme of ["light", "dark"]) {
      if (!new RegExp(variants).test(`${width}-${colorScheme}`)) continue;
      const context = await browser.newContext({
        viewport: { width, height },
        colorScheme,
        hasTouch: width < 500,
      });
      const page = await context.newPage();
      page.on("pageerror", (error) => console.log(name, width, "error:", error.message));
      page.on("console", (line) => line.type() === "error" && console.log(name, width, line.text()));
      page.setDefaultTimeout(9000);
      try {
        await play(page);
        await page.waitForTimeout(350);
      } catch (error) {
        console.log(name, width, colorScheme, String(error).split("\n")[0]);
      }
      await page.screenshot({ path: `${folder}/${name}-${width}-${colorScheme}.png` });
      await page.emulateMedia({ reducedMotion: "reduce" });
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run(document));
      for (const { id, nodes } of violations)
        console.log(
          name,
          width,
          colorScheme,
          "axe:",
          id,
          nodes.map((node) => node.target.join(" ")).slice(0, 3),
        );
      await context.close();
    }
  }
}
await browser.close();
