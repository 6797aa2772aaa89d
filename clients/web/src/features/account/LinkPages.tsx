import { useEffect, useState } from "react";
import { useBackend, useTitle } from "../../app/hooks";
import { Link, useAddress } from "../../app/router";
import { Button } from "../../ui/Button";
import { EmailField, FormFailure, Frame, PasswordField, useForm } from "../session/form";
import styles from "../session/pages.module.css";
import { AccountApi } from "./api";

const SIGN_IN = <Link to="/sign-in">Sign in</Link>;

/** The token of the link somebody followed, which is then taken out of the address. */
export function useLinkToken(): string {
  const { hash } = useAddress();
  const [token] = useState(hash.slice(1));
  useEffect(() => window.history.replaceState(window.history.state, "", window.location.pathname), []);
  return token;
}

/** Where the link in a letter leads. A button is pressed first: programs that look at letters follow links, too. */
export function VerifyEmailPage() {
  useTitle("Verify your e-mail address");
  const backend = useBackend();
  const token = useLinkToken();
  const [done, setDone] = useState(false);
  const form = useForm(async () => {
    await backend.api(AccountApi).verifyEmail(token);
    setDone(true);
  });
  if (done) {
    return (
      <Frame
        title="Thank you"
        lead="Your e-mail address is verified."
        footer={<Link to="/">Go on to the help</Link>}
      />
    );
  }
  return (
    <Frame title="Verify your e-mail address" lead="So that we can reach you, and nobody else uses it.">
      <form className={styles.form} onSubmit={form.submit} noValidate>
        <FormFailure failure={form.failure} />
        <Button look="primary" type="submit" busy={form.busy} disabled={!token}>
          Verify
        </Button>
      </form>
    </Frame>
  );
}

export function ForgotPasswordPage() {
  useTitle("Forgot your password?");
  const backend = useBackend();
  const [sent, setSent] = useState(false);
  const form = useForm(async (values) => {
    await backend.api(AccountApi).requestPasswordReset(values("email"));
    setSent(true);
  });
  if (sent) {
    return (
      <Frame
        title="Look into your mail"
        lead="If there is an account with this address, a link to choose a new password is on its way."
        footer={SIGN_IN}
      />
    );
  }
  return (
    <Frame
      title="Forgot your password?"
      lead="We send you a link to choose a new one."
      footer={<>Remembered it? {SIGN_IN}</>}
    >
      <form className={styles.form} onSubmit={form.submit} noValidate>
        <EmailField error={form.error("email")} />
        <FormFailure failure={form.failure} />
        <Button look="primary" type="submit" busy={form.busy}>
          Send the link
        </Button>
      </form>
    </Frame>
  );
}

export function ResetPasswordPage() {
  useTitle("Choose a new password");
  const backend = useBackend();
  const token = useLinkToken();
  const [done, setDone] = useState(false);
  const form = useForm(async (values) => {
    await backend.api(AccountApi).resetPassword(token, values("password"));
    setDone(true);
  });
  if (done) {
    return (
      <Frame
        title="Your password is set"
        lead="You were signed out everywhere; sign in with the new one."
        footer={SIGN_IN}
      />
    );
  }
  return (
    <Frame
      title="Choose a new password"
      lead="It signs you out everywhere else."
      footer={<Link to="/forgot-password">Send me another link</Link>}
    >
      <form className={styles.form} onSubmit={form.submit} noValidate>
        <PasswordField
          label="New password"
          autoComplete="new-password"
          hint="At least 15 characters. A few words are easier to remember than symbols."
          error={form.error("password")}
        />
        <FormFailure failure={form.failure} />
        <Button look="primary" type="submit" busy={form.busy} disabled={!token}>
          Set the password
        </Button>
      </form>
    </Frame>
  );
}
