import { Inbox } from "lucide-react";
import { useEffect, useMemo } from "react";
import { useMediaQuery, usePrincipal, useTitle } from "../../app/hooks";
import { useNavigate, useParams, useSearchParams } from "../../app/router";
import { Empty } from "../../ui/states";
import { useTickets } from "../tickets/queries";
import { filterOf, VIEW_TITLES } from "./filter";
import styles from "./InboxPage.module.css";
import { TicketDesk } from "./TicketDesk";
import { TicketList } from "./TicketList";

/** The agents' page: tickets on the left, the one at hand with its conversation beside it. */
export default function InboxPage() {
  const { ticketId = "" } = useParams();
  const [params] = useSearchParams();
  const { userId } = usePrincipal();
  const navigate = useNavigate();
  const wide = useMediaQuery("(min-width: 1000px)");
  const filter = useMemo(() => filterOf(params, userId), [params, userId]);
  const list = useTickets(filter);
  const tickets = useMemo(() => list.data?.pages.flatMap((page) => page.tickets) ?? [], [list.data]);
  useTitle(VIEW_TITLES[params.get("view") ?? "open"] ?? "Inbox");

  const search = params.toString();
  const go = useMemo(
    () => (id: string) => navigate(`/inbox${id && `/${id}`}${search && `?${search}`}`),
    [navigate, search],
  );

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey || isWriting(event.target))
        return;
      const at = tickets.findIndex((ticket) => ticket.id === ticketId);
      const step =
        event.key === "j" || event.key === "ArrowDown"
          ? 1
          : event.key === "k" || event.key === "ArrowUp"
            ? -1
            : 0;
      const next = tickets[at < 0 ? 0 : Math.min(tickets.length - 1, Math.max(0, at + step))];
      if (step !== 0 && next && !inMenu(event.target)) {
        event.preventDefault();
        go(next.id);
      } else if (event.key === "Enter" && event.target === document.body) {
        document.querySelector<HTMLElement>("[data-desk] textarea")?.focus();
        event.preventDefault();
      } else if (event.key === "Escape" && ticketId && !inMenu(event.target)) {
        go("");
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [tickets, ticketId, go]);

  return (
    <div className={styles.page}>
      {(wide || !ticketId) && <TicketList list={list} tickets={tickets} chosen={ticketId} />}
      {ticketId ? (
        <TicketDesk key={ticketId} ticketId={ticketId} onBack={wide ? undefined : () => go("")} />
      ) : (
        wide && (
          <div className={styles.nothing}>
            <Empty icon={<Inbox size={20} aria-hidden />} title="Choose a ticket">
              <kbd>J</kbd> and <kbd>K</kbd> move through the list, <kbd>Enter</kbd> writes, <kbd>Esc</kbd>{" "}
              goes back.
            </Empty>
          </div>
        )
      )}
    </div>
  );
}

function isWriting(target: EventTarget | null): boolean {
  const writing =
    target instanceof HTMLElement && target.matches("input, textarea, select, [contenteditable]");
  if (writing && target.matches("textarea, input:not([type=checkbox])")) return true;
  return false;
}

function inMenu(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("[role=menu]") !== null;
}
