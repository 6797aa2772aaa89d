import { lazy, Suspense, useState } from "react";
import { useBackend, useTitle } from "../../app/hooks";
import { Link, useAddress, useVisit } from "../../app/router";
import { Button } from "../../ui/Button";
import { Field } from "../../ui/Field";
import { EmailField, FormFailure, Frame, PasswordField, useForm } from "./form";
import styles from "./pages.module.css";

const PasskeyButton = lazy(() => import("../account/PasskeyButton"));
const ProviderButton = lazy(() => import("./ProviderButton"));
const CodePage = lazy(() => import("../account/CodePage"));

/** The shop whose help this page is, unless an address such as "/sign-in?shop=acme" names another. */
const DEFAULT_SHOP = "fernwick";

function useShop(): string {
  return new URLSearchParams(useAddress().search).get("shop") ?? DEFAULT_SHOP;
}

export function SignInPage() {
  useTitle("Sign in");
  const { session } = useBackend();
  const { search } = useAddress();
  const visit = useVisit();
  const organization = useShop();
  const [challenge, setChallenge] = useState<string>();
  const form = useForm(async (values) =>
    setChallenge(
      await session.signIn({ email: values("email"), password: values("password"), organization }),
    ),
  );
  if (challenge) {
    return (
      <Suspense>
        <CodePage challenge={challenge} onCancel={() => setChallenge(undefined)} />
      </Suspense>
    );
  }
  return (
    <Frame
      title="Welcome back"
      lead="Sign in to ask for help and follow your tickets."
      notice={visit.loss ? lossWords(visit.loss) : undefined}
      footer={
        <>
          New here?{" "}
          <Link to={`/sign-up${search}`} state={visit}>
            Create an account
          </Link>
          {" · "}
          <Link to="/forgot-password">Forgot password?</Link>
        </>
      }
    >
      <form className={styles.form} onSubmit={form.submit} noValidate>
        <EmailField error={form.error("email")} />
        <PasswordField autoComplete="current-password" error={form.error("password")} />
        <FormFailure failure={form.failure} />
        <Button look="primary" type="submit" busy={form.busy}>
          Sign in
        </Button>
      </form>
      <Suspense>
        <ProviderButton organization={organization} />
        <PasskeyButton organization={organization} />
      </Suspense>
    </Frame>
  );
}

export function SignUpPage() {
  useTitle("Create an account");
  const { session } = useBackend();
  const { search } = useAddress();
  const visit = useVisit();
  const organization = useShop();
  const form = useForm((values) =>
    session.signUp({
      email: values("email"),
      password: values("password"),
      name: values("name"),
      organization,
    }),
  );
  return (
    <Frame
      title="Create an account"
      lead="It takes a minute, and your conversations stay in one place."
      footer={
        <>
          Have an account?{" "}
          <Link to={`/sign-in${search}`} state={visit}>
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
        <EmailField error={form.error("email")} />
        <PasswordField
          autoComplete="new-password"
          hint="At least 15 characters. A few words are easier to remember than symbols."
          error={form.error("password")}
        />
        <FormFailure failure={form.failure} />
        <Button look="primary" type="submit" busy={form.busy}>
          Create account
        </Button>
      </form>
    </Frame>
  );
}

function lossWords(loss: unknown): string {
  return loss === "signed-out-elsewhere"
    ? "You signed out in another tab."
    : "Your session ended. Sign in again to go on.";
}
