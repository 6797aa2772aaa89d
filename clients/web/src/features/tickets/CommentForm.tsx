import { Lock } from "lucide-react";
import { type FormEvent, type KeyboardEvent, useState } from "react";
import { describe } from "../../rpc/problems";
import { Button } from "../../ui/Button";
import { Reference } from "../../ui/states";
import styles from "./CommentForm.module.css";
import { useAddComment } from "./queries";

interface CommentFormProps {
  ticketId: string;
  /** True when the person may write what only agents read. */
  internalAllowed: boolean;
  hint?: string | undefined;
}

export function CommentForm({ ticketId, internalAllowed, hint }: CommentFormProps) {
  const [text, setText] = useState("");
  const [internal, setInternal] = useState(internalAllowed);
  const add = useAddComment(ticketId);
  const words = text.trim();

  const send = () => {
    if (!words || add.isPending) return;
    add.mutate({ text: words, internal }, { onSuccess: () => setText("") });
  };
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    send();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) send();
  };
  const problem = add.error && describe(add.error);
  return (
    <form className={styles.form} data-internal={internal || undefined} onSubmit={onSubmit}>
      <textarea
        aria-label={internal ? "Internal note" : "Comment"}
        rows={3}
        placeholder={internal ? "Write a note that only agents read…" : "Write a comment…"}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <div className={styles.foot}>
        {internalAllowed ? (
          <label className={styles.toggle}>
            <input
              type="checkbox"
              checked={internal}
              onChange={(event) => setInternal(event.target.checked)}
            />
            <Lock size={14} aria-hidden />
            Internal
          </label>
        ) : (
          <span className={styles.hint}>{hint}</span>
        )}
        <Button type="submit" look="primary" size="s" busy={add.isPending} disabled={!words}>
          {internal ? "Add note" : "Comment"}
        </Button>
      </div>
      {problem && (
        <p className={styles.failure} role="alert">
          {problem.title}. {problem.detail} <Reference traceId={problem.traceId} />
        </p>
      )}
    </form>
  );
}
