import { Eye, EyeOff } from "lucide-react";
import { type FormEvent, type ReactNode, useState } from "react";
import { CallError } from "../../rpc/errors";
import { describe, hasReason } from "../../rpc/problems";
import { Mark } from "../../ui/Avatar";
import { IconButton } from "../../ui/Button";
import { Field } from "../../ui/Field";
import { Reference } from "../../ui/states";
import styles from "./pages.module.css";

export function Frame(props: {
  title: string;
  lead: string;
  notice?: string | undefined;
  children?: ReactNode;
  footer?: ReactNode;
}) {
  return (
    <main className={styles.page}>
      <div className={styles.card}>
        <header className={styles.header}>
          <Mark size={40} />
          <h1>{props.title}</h1>
          <p>{props.lead}</p>
        </header>
        {props.notice && (
          <p className={styles.notice} role="status">
            {props.notice}
          </p>
        )}
        {props.children}
        {props.footer && <p className={styles.footer}>{props.footer}</p>}
      </div>
    </main>
  );
}

export function EmailField({ error }: { error: string | undefined }) {
  return (
    <Field
      label="E-mail"
      name="email"
      type="email"
      inputMode="email"
      autoComplete="username"
      autoCapitalize="none"
      spellCheck={false}
      required
      maxLength={254}
      error={error}
    />
  );
}

export function PasswordField(props: {
  label?: string;
  autoComplete: string;
  hint?: string;
  error: string | undefined;
}) {
  const [shown, setShown] = useState(false);
  return (
    <Field
      label="Password"
      name="password"
      type={shown ? "text" : "password"}
      required
      maxLength={128}
      {...props}
      trailing={
        <IconButton
          className={styles.eye}
          label={shown ? "Hide password" : "Show password"}
          onClick={() => setShown(!shown)}
        >
          {shown ? <EyeOff size={18} aria-hidden /> : <Eye size={18} aria-hidden />}
        </IconButton>
      }
    />
  );
}

export function FormFailure({ failure }: { failure: unknown }) {
  if (!failure) return null;
  const { title, detail, traceId } = describe(failure);
  return (
    <div className={styles.failure} role="alert">
      <strong>{title}</strong>
      <span>{detail}</span>
      <Reference traceId={traceId} />
    </div>
  );
}

export interface Form {
  busy: boolean;
  failure: unknown;
  error(field: string): string | undefined;
  submit(event: FormEvent<HTMLFormElement>): void;
}

/** Says what is missing before it asks a service, then shows the service's verdict beside the field it is about. */
export function useForm(send: (values: (field: string) => string) => Promise<void>): Form {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>();
  const [errors, setErrors] = useState<Readonly<Record<string, string>>>({});

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    const data = new FormData(form);
    const missing = invalidFields(form);
    setFailure(undefined);
    setErrors(missing);
    const [first] = Object.keys(missing);
    if (first) return form.querySelector<HTMLInputElement>(`[name="${first}"]`)?.focus();
    setBusy(true);
    try {
      await send((field) => text(data, field));
    } catch (error) {
      const refused = refusedFields(error);
      setErrors(refused);
      if (Object.keys(refused).length === 0) setFailure(error);
    } finally {
      setBusy(false);
    }
  };
  return { busy, failure, error: (field) => errors[field], submit: (event) => void submit(event) };
}

function text(data: FormData, field: string): string {
  const value = data.get(field);
  if (typeof value !== "string") return "";
  return field === "password" ? value : value.trim();
}

const LABELS: Readonly<Record<string, string>> = {
  email: "your e-mail address",
  password: "your password",
  name: "your name",
  code: "the code",
};

function invalidFields(form: HTMLFormElement): Record<string, string> {
  const errors: Record<string, string> = {};
  for (const input of form.querySelectorAll("input")) {
    if (input.validity.valueMissing) errors[input.name] = `Enter ${LABELS[input.name] ?? "this"}.`;
    else if (input.validity.typeMismatch) errors[input.name] = "This doesn't look like an e-mail address.";
  }
  return errors;
}

/** Fields of the contract and what the form calls them. */
const FIELDS: Readonly<Record<string, string>> = {
  email: "email",
  password: "password",
  display_name: "name",
  new_password: "password",
};

function refusedFields(error: unknown): Record<string, string> {
  if (hasReason(error, "PASSWORD_WEAK")) return { password: describe(error).detail };
  if (!(error instanceof CallError)) return {};
  const entries = error.violations.flatMap(({ field, description }) => {
    const name = FIELDS[field];
    return name ? [[name, sentence(description)] as const] : [];
  });
  return Object.fromEntries(entries);
}

function sentence(words: string): string {
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${words.endsWith(".") ? "" : "."}`;
}
