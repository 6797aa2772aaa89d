import { ArrowLeft, MessageCircle } from "lucide-react";
import { usePrincipal, useTitle } from "../../app/hooks";
import { Link, useParams } from "../../app/router";
import { Failure, Skeleton } from "../../ui/states";
import { Day } from "../../ui/When";
import { Activity } from "./Activity";
import { CommentForm } from "./CommentForm";
import { StatusBadge } from "./marks";
import type { Ticket } from "./model";
import { useTicket } from "./queries";
import styles from "./TicketPage.module.css";

/** One of the customer's tickets. */
export default function TicketPage() {
  const { ticketId = "" } = useParams();
  const ticket = useTicket(ticketId);
  useTitle(ticket.data ? `#${ticket.data.number} ${ticket.data.subject}` : "Ticket");
  return (
    <div className={styles.scroller}>
      <div className={styles.page}>
        <Link to="/tickets" className={styles.back}>
          <ArrowLeft size={16} aria-hidden />
          My tickets
        </Link>
        {ticket.isPending ? (
          <Skeleton lines={8} label="Loading the ticket" />
        ) : ticket.isError && !ticket.data ? (
          <Failure error={ticket.error} onRetry={() => void ticket.refetch()} />
        ) : (
          <Content ticket={ticket.data} />
        )}
      </div>
    </div>
  );
}

function Content({ ticket }: { ticket: Ticket }) {
  const { userId, name, organization } = usePrincipal();
  const nameOf = (id: string) => (id === userId ? name : `${organization.name} team`);
  return (
    <>
      <header className={styles.header}>
        <h1>{ticket.subject}</h1>
        <p className={styles.facts}>
          <span>#{ticket.number}</span>
          <StatusBadge status={ticket.status} />
          <span>
            Opened <Day at={ticket.createdAt} />
          </span>
          {ticket.conversationId && (
            <Link to={`/chat/${ticket.conversationId}`}>
              <MessageCircle size={14} aria-hidden />
              Conversation
            </Link>
          )}
        </p>
        {ticket.description && <p className={styles.description}>{ticket.description}</p>}
      </header>
      <Activity ticketId={ticket.id} nameOf={nameOf} />
      {ticket.status === "closed" ? (
        <p className={styles.closed}>
          This ticket is closed. Open a new one from the chat if you still need us.
        </p>
      ) : (
        <CommentForm
          ticketId={ticket.id}
          internalAllowed={false}
          hint={ticket.status === "solved" ? "Your comment opens the ticket again." : undefined}
        />
      )}
    </>
  );
}
