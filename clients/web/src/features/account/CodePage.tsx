import { useBackend, useTitle } from "../../app/hooks";
import { Button } from "../../ui/Button";
import { Field } from "../../ui/Field";
import { FormFailure, Frame, useForm } from "../session/form";
import styles from "../session/pages.module.css";
import { AccountApi } from "./api";

/** Asks for the code of the second factor, after the password was right. */
export default function CodePage({ challenge, onCancel }: { challenge: string; onCancel: () => void }) {
  useTitle("Enter your code");
  const backend = useBackend();
  const form = useForm(async (values) => {
    const signedIn = await backend.api(AccountApi).completeSignIn(challenge, values("code"));
    backend.session.accept(signedIn);
  });
  return (
    <Frame title="One more step" lead="Enter the code that your authenticator app shows.">
      <form className={styles.form} onSubmit={form.submit} noValidate>
        <Field
          label="Code"
          name="code"
          autoComplete="one-time-code"
          hint="Without the app at hand, one of your recovery codes works, too."
          required
          maxLength={40}
          autoFocus
          error={form.error("code")}
        />
        <FormFailure failure={form.failure} />
        <Button look="primary" type="submit" busy={form.busy}>
          Sign in
        </Button>
        <Button type="button" onClick={onCancel}>
          Start again
        </Button>
      </form>
    </Frame>
  );
}
