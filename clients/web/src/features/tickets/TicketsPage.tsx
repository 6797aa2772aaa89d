import { Ticket as TicketIcon } from "lucide-react";
import { useTitle } from "../../app/hooks";
import { Link } from "../../app/router";
import { Button } from "../../ui/Button";
import { Empty, Failure, Skeleton } from "../../ui/states";
import { Ago } from "../../ui/When";
import { StatusBadge, StatusIcon } from "./marks";
import type { TicketFilter } from "./model";
import { useTickets } from "./queries";
import styles from "./TicketsPage.module.css";

const ALL: TicketFilter = { statuses: [], priorities: [], assigneeId: "", order: "updated" };

/** The signed-in customer's tickets. */
export default function TicketsPage() {
  useTitle("My tickets");
  const list = useTickets(ALL);
  const tickets = list.data?.pages.flatMap((page) => page.tickets) ?? [];
  return (
    <div className={styles.scroller}>
      <div className={styles.page}>
        <header>
          <h1>My tickets</h1>
          <p>What we owe you an answer on.</p>
        </header>
        {list.isPending ? (
          <Skeleton lines={6} label="Loading your tickets" />
        ) : list.isError && !list.data ? (
          <Failure error={list.error} onRetry={() => void list.refetch()} />
        ) : tickets.length === 0 ? (
          <Empty
            icon={<TicketIcon size={20} aria-hidden />}
            title="No tickets"
            action={
              <Link to="/chat" className={styles.action}>
                Ask in the chat
              </Link>
            }
          >
            When something can't be settled in the chat, we open a ticket and you follow it here.
          </Empty>
        ) : (
          <ul className={styles.list}>
            {tickets.map((ticket) => (
              <li key={ticket.id}>
                <Link to={`/tickets/${ticket.id}`} className={styles.row}>
                  <StatusIcon status={ticket.status} size={18} />
                  <span className={styles.subject}>
                    <strong>{ticket.subject}</strong>
                    <small>
                      #{ticket.number} · opened <Ago at={ticket.createdAt} />
                    </small>
                  </span>
                  <StatusBadge status={ticket.status} />
                </Link>
              </li>
            ))}
          </ul>
        )}
        {list.hasNextPage && (
          <Button busy={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>
            Show older
          </Button>
        )}
      </div>
    </div>
  );
}
