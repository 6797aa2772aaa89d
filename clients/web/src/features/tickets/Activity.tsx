import { Lock } from "lucide-react";
import type { ReactNode } from "react";
import { Avatar } from "../../ui/Avatar";
import { Failure, Skeleton } from "../../ui/states";
import { Ago } from "../../ui/When";
import styles from "./Activity.module.css";
import type { Comment, TicketEvent } from "./model";
import { useComments, useTicketHistory } from "./queries";

interface ActivityProps {
  ticketId: string;
  /** Name of whoever did it; the system has the empty identifier. */
  nameOf: (userId: string) => string;
}

const FIELD_TITLES: Readonly<Record<string, string>> = {
  assignee_id: "assignee",
  conversation_id: "conversation",
  due_at: "due time",
  requester_id: "customer",
};

/** What happened to a ticket, comments in full, in the order it happened. */
export function Activity({ ticketId, nameOf }: ActivityProps) {
  const history = useTicketHistory(ticketId);
  const comments = useComments(ticketId);
  if (history.isPending || comments.isPending) return <Skeleton lines={4} label="Loading the history" />;
  const failed = history.error ?? comments.error;
  if (failed || !history.data || !comments.data) {
    return (
      <Failure error={failed} onRetry={() => void Promise.all([history.refetch(), comments.refetch()])} />
    );
  }
  const byId = new Map(comments.data.map((comment) => [comment.id, comment]));
  return (
    <ol className={styles.activity} aria-label="History">
      {history.data.map((event) => {
        const comment = event.kind === "commented" ? byId.get(event.commentId) : undefined;
        return (
          <li key={event.sequence}>
            {comment ? (
              <CommentCard comment={comment} name={nameOf(comment.authorId)} />
            ) : (
              <p className={styles.event}>
                <span className={styles.dot} />
                <span>
                  {words(event, nameOf)} · <Ago at={event.at} />
                </span>
              </p>
            )}
          </li>
        );
      })}
    </ol>
  );
}

function CommentCard({ comment, name }: { comment: Comment; name: string }) {
  return (
    <article className={styles.comment} data-internal={comment.internal || undefined}>
      <header>
        <Avatar name={name} size={24} />
        <strong>{name}</strong>
        <span>
          <Ago at={comment.at} />
        </span>
        {comment.internal && (
          <span className={styles.internal}>
            <Lock size={12} aria-hidden />
            Internal
          </span>
        )}
      </header>
      <p>{comment.text}</p>
    </article>
  );
}

function words(event: TicketEvent, nameOf: (userId: string) => string): ReactNode {
  const who = <strong>{event.actorId ? nameOf(event.actorId) : "The system"}</strong>;
  switch (event.kind) {
    case "opened":
      return <>{who} opened the ticket</>;
    case "commented":
      return <>{who} wrote a comment</>;
    case "changed": {
      const person = event.field === "assignee_id";
      const after = person ? (event.after ? nameOf(event.after) : "nobody") : event.after;
      const before = person ? (event.before ? nameOf(event.before) : "") : event.before;
      const field = FIELD_TITLES[event.field] ?? event.field;
      if (event.field === "description") return <>{who} changed the description</>;
      return (
        <>
          {who} changed the {field}
          {before && ` from ${before}`} to <strong>{after || "nothing"}</strong>
        </>
      );
    }
  }
}
