import type { InfiniteData, UseInfiniteQueryResult } from "@tanstack/react-query";
import { ArrowDownUp, ChevronDown, Headset, ListFilter, PartyPopper } from "lucide-react";
import { useEffect, useRef } from "react";
import { useMediaQuery } from "../../app/hooks";
import { Link, useSearchParams } from "../../app/router";
import { Avatar } from "../../ui/Avatar";
import { Button, IconButton } from "../../ui/Button";
import { Menu, MenuChecks, MenuChoice, MenuLine, MenuTitle } from "../../ui/Menu";
import { Empty, Failure, Skeleton } from "../../ui/states";
import { Ago } from "../../ui/When";
import { useNames, useStaff } from "../people/usePeople";
import { DueMark, PriorityIcon, StatusIcon } from "../tickets/marks";
import {
  ORDER_TITLES,
  ORDERS,
  PRIORITIES,
  PRIORITY_TITLES,
  STATUS_TITLES,
  STATUSES,
  type Ticket,
  type TicketPage,
} from "../tickets/model";
import { listed, narrowed, VIEW_TITLES } from "./filter";
import styles from "./TicketList.module.css";

interface TicketListProps {
  list: UseInfiniteQueryResult<InfiniteData<TicketPage>>;
  tickets: readonly Ticket[];
  chosen: string;
}

export function TicketList({ list, tickets, chosen }: TicketListProps) {
  const search = useSearchParams()[0].toString();
  const nameOf = useNames(tickets.flatMap((ticket) => [ticket.requesterId, ticket.assigneeId]));
  const current = useRef<HTMLLIElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the chosen ticket must be in view
  useEffect(() => {
    current.current?.scrollIntoView({ block: "nearest" });
  }, [chosen]);
  return (
    <section className={styles.panel} aria-label="Tickets">
      <ListHeader />
      {list.isPending ? (
        <Skeleton lines={8} label="Loading tickets" />
      ) : list.isError && !list.data ? (
        <Failure error={list.error} onRetry={() => void list.refetch()} />
      ) : tickets.length === 0 ? (
        <Empty icon={<PartyPopper size={20} aria-hidden />} title="All clear">
          No ticket matches this view.
        </Empty>
      ) : (
        <ul className={styles.list}>
          {tickets.map((ticket) => (
            <li key={ticket.id} ref={ticket.id === chosen ? current : null}>
              <Link
                to={`/inbox/${ticket.id}${search && `?${search}`}`}
                className={styles.row}
                aria-current={ticket.id === chosen ? "true" : undefined}
              >
                <span className={styles.marks}>
                  <StatusIcon status={ticket.status} />
                  <PriorityIcon priority={ticket.priority} />
                </span>
                <span className={styles.words}>
                  <strong>{ticket.subject}</strong>
                  <small>
                    #{ticket.number} <DueMark ticket={ticket} /> · {nameOf(ticket.requesterId)}
                    <span className="sr-only">
                      , {STATUS_TITLES[ticket.status]}, {PRIORITY_TITLES[ticket.priority]}
                    </span>
                  </small>
                </span>
                <span className={styles.side}>
                  <Ago at={ticket.updatedAt} />
                  {ticket.assigneeId ? (
                    <span title={nameOf(ticket.assigneeId)}>
                      <Avatar name={nameOf(ticket.assigneeId)} size={18} />
                    </span>
                  ) : (
                    ticket.handoff && <Headset size={14} aria-label="Wants a person" />
                  )}
                </span>
              </Link>
            </li>
          ))}
          {list.hasNextPage && (
            <li className={styles.more}>
              <Button size="s" busy={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>
                Show more
              </Button>
            </li>
          )}
        </ul>
      )}
    </section>
  );
}

function ListHeader() {
  const [params, setParams] = useSearchParams();
  const narrow = useMediaQuery("(max-width: 759px)");
  const staff = useStaff();
  const view = params.get("view") ?? "open";
  const statuses = listed(params, "status", STATUSES);
  const priorities = listed(params, "priority", PRIORITIES);
  const assignee = params.get("assignee") ?? "";
  const order = ORDERS.find((one) => one === params.get("order")) ?? "updated";
  const filters = statuses.length + priorities.length + (assignee ? 1 : 0);
  const views = Object.entries(VIEW_TITLES).map(([value, label]) => ({ value, label }));
  return (
    <header className={styles.header}>
      {narrow ? (
        <h1>
          <Menu
            trigger={
              <button type="button" className={styles.view}>
                {VIEW_TITLES[view]} <ChevronDown size={16} aria-hidden />
              </button>
            }
          >
            <MenuChoice value={view} choices={views} onChange={(next) => setParams({ view: next })} />
          </Menu>
        </h1>
      ) : (
        <h1>{VIEW_TITLES[view] ?? "Tickets"}</h1>
      )}
      <Menu
        align="end"
        trigger={
          <button type="button" className={styles.filter} title="Filter" data-on={filters > 0 || undefined}>
            <ListFilter size={16} aria-hidden />
            <span className="sr-only">Filter</span>
            {filters > 0 && <span>{filters}</span>}
          </button>
        }
      >
        <MenuTitle>Status</MenuTitle>
        <MenuChecks
          values={statuses}
          choices={STATUSES.map((value) => ({
            value,
            label: STATUS_TITLES[value],
            icon: <StatusIcon status={value} />,
          }))}
          onChange={(status) => setParams(narrowed(params, { status }))}
        />
        <MenuLine />
        <MenuTitle>Priority</MenuTitle>
        <MenuChecks
          values={priorities}
          choices={PRIORITIES.map((value) => ({
            value,
            label: PRIORITY_TITLES[value],
            icon: <PriorityIcon priority={value} />,
          }))}
          onChange={(priority) => setParams(narrowed(params, { priority }))}
        />
        <MenuLine />
        <MenuTitle>Assignee</MenuTitle>
        <MenuChoice
          value={assignee}
          choices={[
            { value: "", label: "As in the view" },
            { value: "none", label: "Nobody" },
            ...staff.map(({ id, name }) => ({ value: id, label: name })),
          ]}
          onChange={(next) => setParams(narrowed(params, { assignee: next }))}
        />
      </Menu>
      <Menu
        align="end"
        trigger={
          <IconButton label={`Order: ${ORDER_TITLES[order]}`}>
            <ArrowDownUp size={16} aria-hidden />
          </IconButton>
        }
      >
        <MenuTitle>Order</MenuTitle>
        <MenuChoice
          value={order}
          choices={ORDERS.map((value) => ({ value, label: ORDER_TITLES[value] }))}
          onChange={(next) => setParams(narrowed(params, { order: next }))}
        />
      </Menu>
    </header>
  );
}
