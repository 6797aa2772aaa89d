import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useApi, useBackend, usePrincipal, useTitle } from "../../app/hooks";
import { hasReason } from "../../rpc/problems";
import { Button } from "../../ui/Button";
import { Field } from "../../ui/Field";
import { useNotify } from "../../ui/Notices";
import { Failure, Skeleton } from "../../ui/states";
import { ConsentApi } from "../consent/api";
import { FormFailure, PasswordField, useForm } from "../session/form";
import { ProviderApi } from "../session/providers";
import { AccountApi, type Security } from "./api";
import { create, supported } from "./browserKeys";
import styles from "./SecurityPage.module.css";

type Action = () => Promise<void>;

/** How the account is secured. What is dangerous asks for the password anew when that was long ago. */
export default function SecurityPage() {
  useTitle("Security");
  const account = useApi(AccountApi);
  const notify = useNotify();
  const security = useQuery({ queryKey: ["security"], queryFn: () => account.security() });
  const [unproved, setUnproved] = useState<Action>();

  const run = async (action: Action) => {
    try {
      await action();
      await security.refetch();
    } catch (error) {
      if (hasReason(error, "STEP_UP_REQUIRED")) setUnproved(() => action);
      else notify.failure(error);
    }
  };

  return (
    <div className={styles.scroller}>
      <div className={styles.page}>
        <h1>Security</h1>
        {security.isPending && <Skeleton lines={6} label="Loading" />}
        {security.isError && <Failure error={security.error} onRetry={() => void security.refetch()} />}
        {security.data && unproved && (
          <Proof
            withCode={security.data.appEnabled}
            onDone={(proved) => {
              setUnproved(undefined);
              if (proved) void run(unproved);
            }}
          />
        )}
        {security.data && (
          // Kept while it is hidden: what was begun goes on once the person has confirmed.
          <div className={styles.sections} hidden={unproved !== undefined}>
            <Sections security={security.data} run={run} />
          </div>
        )}
      </div>
    </div>
  );
}

function Sections({ security, run }: { security: Security; run: (action: Action) => Promise<void> }) {
  const backend = useBackend();
  const account = useApi(AccountApi);
  const notify = useNotify();
  const [codes, setCodes] = useState<readonly string[]>([]);
  return (
    <>
      {!security.emailVerified && (
        <Section title="E-mail address" text="It is not verified yet: follow the link that was sent to it.">
          <Button
            onClick={() =>
              void run(async () => {
                await account.sendVerification();
                notify("The link is on its way");
              })
            }
          >
            Send the link again
          </Button>
        </Section>
      )}
      <AuthenticatorApp security={security} codes={codes} setCodes={setCodes} run={run} />
      <Passkeys security={security} run={run} />
      <Provider run={run} />
      <Programs />
      <Section title="Sign out everywhere" text="Ends every sign-in within seconds, this one too.">
        <Button
          onClick={() =>
            void run(async () => {
              await account.signOutEverywhere();
              backend.session.signOut();
            })
          }
        >
          Sign out everywhere
        </Button>
      </Section>
    </>
  );
}

function AuthenticatorApp(props: {
  security: Security;
  codes: readonly string[];
  setCodes: (codes: readonly string[]) => void;
  run: (action: Action) => Promise<void>;
}) {
  const { security, codes, setCodes, run } = props;
  const account = useApi(AccountApi);
  const [setup, setSetup] = useState<{ secret: string; uri: string }>();
  const form = useForm(async (values) => {
    setCodes(await account.confirmApp(values("code")));
    setSetup(undefined);
    await run(async () => {});
  });
  const text = security.appEnabled
    ? `An app is set up, and ${security.codesLeft} recovery codes are left.`
    : "A code from your phone beside the password keeps others out who know it.";
  return (
    <Section title="Authenticator app" text={text}>
      {codes.length > 0 && (
        <div role="status">
          <p>Keep these recovery codes; each works once:</p>
          <ul className={styles.list}>
            {codes.map((code) => (
              <li key={code} className={styles.secret}>
                {code}
              </li>
            ))}
          </ul>
        </div>
      )}
      {setup ? (
        <form onSubmit={form.submit} noValidate>
          <p>
            Add this key to your app, or <a href={setup.uri}>open it there</a>:
          </p>
          <p className={styles.secret}>{setup.secret}</p>
          <Field
            label="Code"
            name="code"
            autoComplete="one-time-code"
            inputMode="numeric"
            required
            maxLength={6}
            error={form.error("code")}
          />
          <FormFailure failure={form.failure} />
          <div className={styles.row}>
            <Button look="primary" type="submit" busy={form.busy}>
              Confirm
            </Button>
            <Button onClick={() => setSetup(undefined)}>Cancel</Button>
          </div>
        </form>
      ) : security.appEnabled ? (
        <div className={styles.row}>
          <Button onClick={() => void run(async () => setCodes(await account.replaceCodes()))}>
            New recovery codes
          </Button>
          <Button onClick={() => void run(() => account.removeApp())}>Remove the app</Button>
        </div>
      ) : (
        <Button onClick={() => void run(async () => setSetup(await account.beginApp()))}>
          Set up an app
        </Button>
      )}
    </Section>
  );
}

function Passkeys({ security, run }: { security: Security; run: (action: Action) => Promise<void> }) {
  const account = useApi(AccountApi);
  const add = async () => {
    const attempt = await account.beginPasskey();
    const answer = await create(attempt.optionsJson);
    if (answer) await account.finishPasskey(attempt, answer, `Passkey of ${new Date().toLocaleDateString()}`);
  };
  return (
    <Section title="Passkeys" text="Sign in with your fingerprint, face or device instead of a password.">
      {security.passkeys.length > 0 && (
        <ul className={styles.list}>
          {security.passkeys.map(({ id, name }) => (
            <li key={id}>
              {name}
              <Button
                size="s"
                aria-label={`Remove ${name}`}
                onClick={() => void run(() => account.removePasskey(id))}
              >
                Remove
              </Button>
            </li>
          ))}
        </ul>
      )}
      {supported() ? (
        <Button onClick={() => void run(add)}>Add a passkey</Button>
      ) : (
        <p>This browser cannot make passkeys.</p>
      )}
    </Section>
  );
}

/** The organization's own provider, where it has one. */
function Provider({ run }: { run: (action: Action) => Promise<void> }) {
  const providers = useApi(ProviderApi);
  const { slug, name: organization } = usePrincipal().organization;
  const { data: name } = useQuery({ queryKey: ["provider", slug], queryFn: () => providers.name(slug) });
  const links = useQuery({
    queryKey: ["identity-links", slug],
    queryFn: () => providers.links(),
    enabled: Boolean(name),
  });
  if (!name) return null;
  if (links.isError) return <Failure error={links.error} onRetry={() => void links.refetch()} />;
  const linked = links.data?.filter(({ active }) => active) ?? [];
  return (
    <Section title={name} text={`Link your account to sign in to ${organization} with ${name}.`}>
      {linked.length > 0 && (
        <ul className={styles.list}>
          {linked.map((link) => (
            <li key={link.subject}>
              {link.subject}
              <Button
                size="s"
                aria-label={`Unlink ${link.subject}`}
                onClick={() =>
                  void run(async () => {
                    await providers.unlink(link);
                    await links.refetch();
                  })
                }
              >
                Unlink
              </Button>
            </li>
          ))}
        </ul>
      )}
      <Button
        onClick={() => void run(async () => window.location.assign(await providers.beginLink("/security")))}
      >
        Link with {name}
      </Button>
    </Section>
  );
}

/** Programs that may act for the person; nothing is shown where there are none. */
function Programs() {
  const consents = useApi(ConsentApi);
  const notify = useNotify();
  const programs = useQuery({ queryKey: ["programs"], queryFn: () => consents.programs() });
  const putOut = async (id: string) => {
    try {
      await consents.putOut(id);
      await programs.refetch();
    } catch (error) {
      notify.failure(error);
    }
  };
  if (programs.isError) return <Failure error={programs.error} onRetry={() => void programs.refetch()} />;
  if (!programs.data?.length) return null;
  return (
    <Section title="Programs" text="You let them in. Removed, they are signed out within seconds.">
      <ul className={styles.list}>
        {programs.data.map(({ id, name }) => (
          <li key={id}>
            {name}
            <Button size="s" aria-label={`Remove ${name}`} onClick={() => void putOut(id)}>
              Remove
            </Button>
          </li>
        ))}
      </ul>
    </Section>
  );
}

/** Asks who is there, for what is dangerous. */
export function Proof({ withCode, onDone }: { withCode: boolean; onDone: (proved: boolean) => void }) {
  const backend = useBackend();
  const account = useApi(AccountApi);
  const form = useForm(async (values) => {
    const { token, seconds } = await account.stepUp(values("password"), values("code"));
    backend.session.proved(token, seconds);
    onDone(true);
  });
  return (
    <Section title="Confirm that it is you" text="You signed in a while ago.">
      <form onSubmit={form.submit} noValidate>
        <PasswordField autoComplete="current-password" error={form.error("password")} />
        {withCode && (
          <Field
            label="Code"
            name="code"
            autoComplete="one-time-code"
            required
            maxLength={40}
            error={form.error("code")}
          />
        )}
        <FormFailure failure={form.failure} />
        <div className={styles.row}>
          <Button look="primary" type="submit" busy={form.busy}>
            Confirm
          </Button>
          <Button onClick={() => onDone(false)}>Cancel</Button>
        </div>
      </form>
    </Section>
  );
}

function Section({ title, text, children }: { title: string; text: string; children: ReactNode }) {
  return (
    <section className={styles.section}>
      <h2>{title}</h2>
      <p>{text}</p>
      {children}
    </section>
  );
}
