import { ArrowLeft, ChevronDown, MessageCircleOff } from "lucide-react";
import { type ReactNode, useId, useState } from "react";
import { useMediaQuery } from "../../app/hooks";
import { Avatar } from "../../ui/Avatar";
import { IconButton } from "../../ui/Button";
import { Menu, MenuChoice } from "../../ui/Menu";
import { Empty, Failure, Skeleton } from "../../ui/states";
import { Ago, inputValue } from "../../ui/When";
import { useNames, useStaff } from "../people/usePeople";
import { Activity } from "../tickets/Activity";
import { CommentForm } from "../tickets/CommentForm";
import { DueMark, PriorityIcon, StatusIcon } from "../tickets/marks";
import { PRIORITIES, PRIORITY_TITLES, reachable, STATUS_TITLES, type Ticket } from "../tickets/model";
import { useComments, useTicket, useTicketHistory, useUpdateTicket } from "../tickets/queries";
import { DeskConversation } from "./DeskConversation";
import styles from "./TicketDesk.module.css";

/** One ticket as an agent works on it. */
export function TicketDesk({ ticketId, onBack }: { ticketId: string; onBack: (() => void) | undefined }) {
  const ticket = useTicket(ticketId);
  const roomy = useMediaQuery("(min-width: 1240px)");
  const [tab, setTab] = useState<"conversation" | "ticket">("conversation");
  if (ticket.isPending) {
    return (
      <div className={`${styles.desk} ${styles.loading}`}>
        {onBack && <h1 className="sr-only">Ticket</h1>}
        <Skeleton lines={9} label="Loading the ticket" />
      </div>
    );
  }
  if (ticket.isError && !ticket.data) {
    return (
      <div className={styles.desk}>
        <Failure alone={onBack !== undefined} error={ticket.error} onRetry={() => void ticket.refetch()} />
      </div>
    );
  }
  return (
    <div className={styles.desk} data-desk>
      <DeskHeader ticket={ticket.data} onBack={onBack} />
      {!roomy && (
        <div className={styles.tabs} role="tablist" aria-label="Show">
          {(["conversation", "ticket"] as const).map((name) => (
            <button
              key={name}
              type="button"
              role="tab"
              id={`tab-${name}`}
              aria-selected={tab === name}
              aria-controls={`panel-${name}`}
              onClick={() => setTab(name)}
            >
              {name === "ticket" ? "Ticket" : "Conversation"}
            </button>
          ))}
        </div>
      )}
      <div className={styles.columns}>
        {(roomy || tab === "conversation") && (
          <Column name="conversation" tabbed={!roomy}>
            {ticket.data.conversationId ? (
              <DeskConversation
                conversationId={ticket.data.conversationId}
                customerId={ticket.data.requesterId}
              />
            ) : (
              <Empty icon={<MessageCircleOff size={20} aria-hidden />} title="No conversation">
                This ticket was not opened from a chat.
              </Empty>
            )}
          </Column>
        )}
        {(roomy || tab === "ticket") && (
          <Column name="ticket" tabbed={!roomy}>
            <TicketSide ticket={ticket.data} />
          </Column>
        )}
      </div>
    </div>
  );
}

function Column({
  name,
  tabbed,
  children,
}: {
  name: "conversation" | "ticket";
  tabbed: boolean;
  children: ReactNode;
}) {
  return (
    <section
      className={styles[name]}
      {...(tabbed
        ? { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}` }
        : { "aria-label": name === "ticket" ? "Ticket" : "Conversation" })}
    >
      {children}
    </section>
  );
}

function DeskHeader({ ticket, onBack }: { ticket: Ticket; onBack: (() => void) | undefined }) {
  const nameOf = useNames([ticket.requesterId]);
  // Beside the list, which has the page's title, it is a part of the page.
  const Title = onBack ? "h1" : "h2";
  return (
    <header className={styles.header}>
      {onBack && (
        <IconButton label="Back to the list" onClick={onBack}>
          <ArrowLeft size={20} aria-hidden />
        </IconButton>
      )}
      <div className={styles.heading}>
        <Title>{ticket.subject}</Title>
        <p>
          #{ticket.number} · {nameOf(ticket.requesterId)} · opened <Ago at={ticket.createdAt} />{" "}
          <DueMark ticket={ticket} />
        </p>
      </div>
    </header>
  );
}

function TicketSide({ ticket }: { ticket: Ticket }) {
  const history = useTicketHistory(ticket.id);
  const comments = useComments(ticket.id);
  const mentioned = [
    ...(history.data?.flatMap((event) => [
      event.actorId,
      ...(event.kind === "changed" && event.field === "assignee_id" ? [event.before, event.after] : []),
    ]) ?? []),
    ...(comments.data?.map((comment) => comment.authorId) ?? []),
  ];
  const nameOf = useNames(mentioned);
  return (
    <div className={styles.side}>
      <Properties ticket={ticket} />
      {ticket.description && <p className={styles.description}>{ticket.description}</p>}
      <Activity ticketId={ticket.id} nameOf={nameOf} />
      <CommentForm ticketId={ticket.id} internalAllowed />
    </div>
  );
}

function Properties({ ticket }: { ticket: Ticket }) {
  const update = useUpdateTicket(ticket);
  const staff = useStaff();
  const assignee = staff.find((person) => person.id === ticket.assigneeId);
  const people = [
    { value: "", label: "Nobody" },
    ...staff.map((person) => ({
      value: person.id,
      label: person.name,
      icon: <Avatar name={person.name} size={20} />,
    })),
  ];
  const closed = ticket.status === "closed";
  return (
    <dl className={styles.properties}>
      <Property
        name="Status"
        value={STATUS_TITLES[ticket.status]}
        icon={<StatusIcon status={ticket.status} />}
        fixed={closed}
      >
        <MenuChoice
          value={ticket.status}
          choices={reachable(ticket.status).map((value) => ({
            value,
            label: STATUS_TITLES[value],
            icon: <StatusIcon status={value} />,
          }))}
          onChange={(status) => update.mutate({ status })}
        />
      </Property>
      <Property
        name="Priority"
        value={PRIORITY_TITLES[ticket.priority]}
        icon={<PriorityIcon priority={ticket.priority} />}
        fixed={closed}
      >
        <MenuChoice
          value={ticket.priority}
          choices={PRIORITIES.map((value) => ({
            value,
            label: PRIORITY_TITLES[value],
            icon: <PriorityIcon priority={value} />,
          }))}
          onChange={(priority) => update.mutate({ priority })}
        />
      </Property>
      <Property
        name="Assignee"
        value={assignee?.name ?? (ticket.assigneeId ? "Somebody" : "Nobody")}
        icon={<Avatar name={assignee?.name ?? "–"} size={18} />}
        fixed={closed}
      >
        <MenuChoice
          value={ticket.assigneeId}
          choices={people}
          onChange={(assigneeId) => update.mutate({ assigneeId })}
        />
      </Property>
      <Due at={ticket.dueAt} fixed={closed} onChange={(dueAt) => update.mutate({ dueAt })} />
    </dl>
  );
}

interface DueProps {
  at: Date | null;
  fixed: boolean;
  onChange: (at: Date | null) => void;
}

/** Taken over when it is left: a half-written date is no date. */
function Due({ at, fixed, onChange }: DueProps) {
  const id = useId();
  const shown = at ? inputValue(at) : "";
  const [draft, setDraft] = useState<string | null>(null);
  const keep = () => {
    if (draft !== null && draft !== shown) onChange(draft ? new Date(draft) : null);
    setDraft(null);
  };
  return (
    <div>
      <dt>
        <label htmlFor={id}>Due</label>
      </dt>
      <dd>
        <input
          id={id}
          type="datetime-local"
          className={styles.due}
          value={draft ?? shown}
          max="2099-12-31T23:59"
          disabled={fixed}
          onChange={(event) => setDraft(event.target.value)}
          onBlur={keep}
          onKeyDown={(event) => event.key === "Enter" && keep()}
        />
      </dd>
    </div>
  );
}

interface PropertyProps {
  name: string;
  value: string;
  icon: ReactNode;
  /** A closed ticket changes no more. */
  fixed: boolean;
  children: ReactNode;
}

function Property({ name, value, icon, fixed, children }: PropertyProps) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        <Menu
          align="end"
          trigger={
            <button type="button" className={styles.value} disabled={fixed} aria-label={`${name}: ${value}`}>
              {icon}
              {value}
              {!fixed && <ChevronDown size={14} aria-hidden />}
            </button>
          }
        >
          {children}
        </Menu>
      </dd>
    </div>
  );
}
