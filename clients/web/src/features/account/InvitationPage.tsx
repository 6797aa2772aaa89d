import { useBackend, useSession, useTitle } from "../../app/hooks";
import { Link, useNavigate } from "../../app/router";
import { Button } from "../../ui/Button";
import { Field } from "../../ui/Field";
import { Skeleton } from "../../ui/states";
import { FormFailure, Frame, PasswordField, useForm } from "../session/form";
import styles from "../session/pages.module.css";
import { InvitationApi } from "./invitations";
import { useLinkToken } from "./LinkPages";

const TITLE = "You are invited";

/** Where the link of an invitation leads: who has an account accepts it, who has none makes one. */
export default function InvitationPage() {
  useTitle(TITLE);
  const token = useLinkToken();
  const session = useSession();
  if (session.status === "restoring") return <Skeleton />;
  return session.status === "signed-in" ? <Accept token={token} /> : <Join token={token} />;
}

function Accept({ token }: { token: string }) {
  const backend = useBackend();
  const navigate = useNavigate();
  const form = useForm(async () => {
    backend.session.accept(await backend.api(InvitationApi).accept(token));
    navigate("/", { replace: true });
  });
  return (
    <Frame
      title={TITLE}
      lead="Accept to become a member and go on there. Your other memberships stay as they are."
      footer={<Link to="/">Not now</Link>}
    >
      <form className={styles.form} onSubmit={form.submit} noValidate>
        <FormFailure failure={form.failure} />
        <Button look="primary" type="submit" busy={form.busy} disabled={!token}>
          Accept the invitation
        </Button>
      </form>
    </Frame>
  );
}

function Join({ token }: { token: string }) {
  const backend = useBackend();
  const navigate = useNavigate();
  const form = useForm(async (values) => {
    const made = await backend.api(InvitationApi).join(token, values("name"), values("password"));
    backend.session.accept(made);
    navigate("/", { replace: true });
  });
  return (
    <Frame
      title={TITLE}
      lead="Make an account for the address that the letter was sent to."
      footer={
        <>
          Have an account?{" "}
          <Link to="/sign-in" state={{ from: `/accept-invitation#${token}` }}>
            Sign in
          </Link>
        </>
      }
    >
      <form className={styles.form} onSubmit={form.submit} noValidate>
        <Field
          label="Your name"
          name="name"
          autoComplete="name"
          required
          maxLength={100}
          error={form.error("name")}
        />
        <PasswordField
          autoComplete="new-password"
          hint="At least 15 characters. A few words are easier to remember than symbols."
          error={form.error("password")}
        />
        <FormFailure failure={form.failure} />
        <Button look="primary" type="submit" busy={form.busy} disabled={!token}>
          Join
        </Button>
      </form>
    </Frame>
  );
}
