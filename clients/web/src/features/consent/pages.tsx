import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useBackend, usePrincipal, useTitle } from "../../app/hooks";
import { Link, useAddress } from "../../app/router";
import { hasReason } from "../../rpc/problems";
import { Button } from "../../ui/Button";
import { Field } from "../../ui/Field";
import { Skeleton } from "../../ui/states";
import { AccountApi } from "../account/api";
import { Proof } from "../account/SecurityPage";
import { FormFailure, Frame, useForm } from "../session/form";
import styles from "../session/pages.module.css";
import { ConsentApi, type Question, type Subject } from "./api";
import own from "./pages.module.css";

const WORDS: Readonly<Record<string, string>> = {
  openid: "Know that it is you",
  profile: "See your name and your organization",
  email: "See your e-mail address",
  deskmesh: "Do everything you can do in Deskmesh",
};

/** Where a program sends somebody who should let it in. */
export function ConsentPage() {
  useTitle("Let a program in?");
  const backend = useBackend();
  const { search } = useAddress();
  const subject: Subject = { case: "authorization", value: search.slice(1) };
  const { data, error } = useQuery({
    queryKey: ["consent", search],
    queryFn: () => backend.api(ConsentApi).question(subject),
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (error) {
    return (
      <Frame title="That doesn't work" lead="Go back to the program and start again." footer={HOME}>
        <FormFailure failure={error} />
      </Frame>
    );
  }
  if (!data) {
    return (
      <Frame title="Let a program in?" lead="One moment.">
        <Skeleton lines={3} />
      </Frame>
    );
  }
  // The provider has checked the address: it is the program's own.
  return <Ask subject={subject} question={data} onAnswered={(to) => window.location.assign(to)} />;
}

/** Where somebody types the code that a device shows. */
export function DevicePage() {
  useTitle("Let a device in");
  const backend = useBackend();
  const { search } = useAddress();
  const shown = new URLSearchParams(search).get("user_code") ?? "";
  const [asked, setAsked] = useState<{ subject: Subject; question: Question }>();
  const [approved, setApproved] = useState<boolean>();
  const form = useForm(async (values) => {
    const subject: Subject = { case: "userCode", value: values("code") };
    setAsked({ subject, question: await backend.api(ConsentApi).question(subject) });
  });
  if (approved !== undefined) {
    return (
      <Frame
        title={approved ? "It is let in" : "It stays out"}
        lead={approved ? "Go back to your device; this page can be closed." : "Nobody was let in."}
        footer={HOME}
      />
    );
  }
  if (asked) {
    return <Ask {...asked} onAnswered={(_, yes) => setApproved(yes)} />;
  }
  return (
    <Frame title="Let a device in" lead="Enter the code that it shows." footer={HOME}>
      <form className={styles.form} onSubmit={form.submit} noValidate>
        <Field
          label="Code"
          name="code"
          defaultValue={shown}
          required
          maxLength={32}
          autoComplete="off"
          autoCapitalize="characters"
          spellCheck={false}
          placeholder="WDJB-MJHT"
          hint={shown ? "Compare it with the one on your device." : undefined}
          error={form.error("code")}
        />
        <FormFailure failure={form.failure} />
        <Button look="primary" type="submit" busy={form.busy}>
          Go on
        </Button>
      </form>
    </Frame>
  );
}

const HOME = <Link to="/">Go to the start</Link>;

function Ask(props: {
  subject: Subject;
  question: Question;
  onAnswered: (redirectUri: string, approved: boolean) => void;
}) {
  const { program, scopes, host } = props.question;
  const backend = useBackend();
  const { name, organization } = usePrincipal();
  const [busy, setBusy] = useState<"yes" | "no">();
  const [failure, setFailure] = useState<unknown>();
  // An answer that waits for the person to confirm who they are: a program that is let in stays.
  const [unproved, setUnproved] = useState<{ approved: boolean; withCode: boolean }>();

  const answer = async (approved: boolean) => {
    setBusy(approved ? "yes" : "no");
    setFailure(undefined);
    try {
      props.onAnswered(await backend.api(ConsentApi).answer(props.subject, approved), approved);
    } catch (error) {
      if (hasReason(error, "STEP_UP_REQUIRED")) await ask(approved);
      else setFailure(error);
    }
    setBusy(undefined);
  };
  const ask = async (approved: boolean) => {
    try {
      const { appEnabled } = await backend.api(AccountApi).security();
      setUnproved({ approved, withCode: appEnabled });
    } catch (error) {
      setFailure(error);
    }
  };
  if (unproved) {
    return (
      <Frame title={`Let “${program}” in?`} lead={`You are ${name} at ${organization.name}.`} footer={HOME}>
        <Proof
          withCode={unproved.withCode}
          onDone={(proved) => {
            setUnproved(undefined);
            if (proved) void answer(unproved.approved);
          }}
        />
      </Frame>
    );
  }
  return (
    <Frame
      title={`Let “${program}” in?`}
      lead={`You are ${name} at ${organization.name}.`}
      footer={
        host
          ? `You go on to ${host}.`
          : "Say yes only if you see this code on a device of your own, just now."
      }
    >
      <form
        className={styles.form}
        onSubmit={(event: FormEvent) => {
          event.preventDefault();
          void answer(true);
        }}
      >
        <ul className={own.scopes} aria-label="It may">
          {scopes.map((scope) => (
            <li key={scope}>{WORDS[scope] ?? scope}</li>
          ))}
        </ul>
        <FormFailure failure={failure} />
        <Button look="primary" type="submit" busy={busy === "yes"} disabled={busy !== undefined}>
          Let it in
        </Button>
        <Button
          type="button"
          busy={busy === "no"}
          disabled={busy !== undefined}
          onClick={() => void answer(false)}
        >
          No
        </Button>
      </form>
    </Frame>
  );
}
