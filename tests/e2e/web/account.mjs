// The link of an invitation, then a passkey from the virtual authenticator of the browser: made, and signed in with.
import { edge, journey, openPerson } from "./browser.mjs";

const NAME = "Ira Invited";

await journey(async (browser, facts) => {
  const person = await openPerson(browser);
  const { page, context } = person;
  const devtools = await context.newCDPSession(page);
  await devtools.send("WebAuthn.enable");
  const { authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });

  await page.goto(process.env.INVITATION.replace(/^https:\/\/[^/]+/, edge));
  await page.getByLabel("Your name").fill(NAME);
  await page.getByLabel("Password", { exact: true }).fill("a long walk over the hills");
  await page.getByRole("button", { name: "Join" }).click();
  await page.getByRole("navigation").first().waitFor();
  facts.hash = new URL(page.url()).hash;

  await page.goto(`${edge}/security`);
  await page.getByRole("button", { name: "Add a passkey" }).click();
  await page.getByText(/^Passkey of /).waitFor();
  const { credentials } = await devtools.send("WebAuthn.getCredentials", { authenticatorId });
  facts.made = credentials.map(({ isResidentCredential, rpId }) => [isResidentCredential, rpId]);

  await page.evaluate(() => localStorage.clear());
  await page.goto(`${edge}/sign-in`);
  await page.getByRole("button", { name: "Use a passkey" }).click();
  await page.getByRole("navigation").first().waitFor();
  facts.uses = (await devtools.send("WebAuthn.getCredentials", { authenticatorId })).credentials.map((one) => one.signCount);
  facts.faults = person.faults;
});
