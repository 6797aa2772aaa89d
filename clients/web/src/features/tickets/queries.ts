import {
  type InfiniteData,
  type QueryKey,
  type UseInfiniteQueryResult,
  type UseQueryResult,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { useRef } from "react";
import { useApi } from "../../app/hooks";
import { hasReason } from "../../rpc/problems";
import { useNotify } from "../../ui/Notices";
import { TicketsApi } from "./api";
import type { Ticket, TicketChange, TicketFilter, TicketPage } from "./model";

const LIST_KEY = ["tickets"] as const;
/** Tickets have no stream of their own; what others do shows within this time. */
const REFRESH_MS = 10_000;

const ticketKey = (ticketId: string): QueryKey => ["ticket", ticketId];
const commentsKey = (ticketId: string): QueryKey => ["ticket", ticketId, "comments"];
const historyKey = (ticketId: string): QueryKey => ["ticket", ticketId, "history"];

export function useTickets(filter: TicketFilter): UseInfiniteQueryResult<InfiniteData<TicketPage>> {
  const tickets = useApi(TicketsApi);
  return useInfiniteQuery({
    queryKey: [...LIST_KEY, filter],
    queryFn: ({ pageParam }) => tickets.list(filter, pageParam),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
    refetchInterval: REFRESH_MS,
    placeholderData: (before) => before,
  });
}

export function useTicket(ticketId: string): UseQueryResult<Ticket> {
  const tickets = useApi(TicketsApi);
  return useQuery({
    queryKey: ticketKey(ticketId),
    queryFn: () => tickets.get(ticketId),
    refetchInterval: REFRESH_MS,
  });
}

export function useComments(ticketId: string) {
  const tickets = useApi(TicketsApi);
  return useQuery({
    queryKey: commentsKey(ticketId),
    queryFn: () => tickets.comments(ticketId),
    refetchInterval: REFRESH_MS,
  });
}

export function useTicketHistory(ticketId: string) {
  const tickets = useApi(TicketsApi);
  return useQuery({
    queryKey: historyKey(ticketId),
    queryFn: () => tickets.history(ticketId),
    refetchInterval: REFRESH_MS,
  });
}

/** Shown at once; taken back, and the newest version shown, when somebody else was first. */
export function useUpdateTicket(ticket: Ticket) {
  const tickets = useApi(TicketsApi);
  const queries = useQueryClient();
  const notify = useNotify();
  const key = ticketKey(ticket.id);
  return useMutation({
    mutationFn: (change: TicketChange) => tickets.update(ticket, change),
    onMutate: async (change) => {
      await queries.cancelQueries({ queryKey: key, exact: true });
      queries.setQueryData<Ticket>(key, (shown) => shown && { ...shown, ...change });
    },
    onSuccess: (updated) => queries.setQueryData(key, updated),
    onError: (error) => {
      if (!hasReason(error, "STALE_ETAG")) queries.setQueryData(key, ticket);
      notify.failure(error);
    },
    onSettled: () =>
      Promise.all([
        queries.invalidateQueries({ queryKey: key }),
        queries.invalidateQueries({ queryKey: LIST_KEY }),
      ]),
  });
}

export function useAddComment(ticketId: string) {
  const tickets = useApi(TicketsApi);
  const queries = useQueryClient();
  // The same text sent again after a failure is the same comment.
  const request = useRef({ id: crypto.randomUUID(), text: "" });
  return useMutation({
    mutationFn: ({ text, internal }: { text: string; internal: boolean }) => {
      if (request.current.text !== text) request.current = { id: crypto.randomUUID(), text };
      return tickets.comment(ticketId, request.current.id, text, internal);
    },
    onSuccess: () => {
      request.current = { id: crypto.randomUUID(), text: "" };
      return queries.invalidateQueries({ queryKey: ticketKey(ticketId) });
    },
  });
}
