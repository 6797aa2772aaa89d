import { useQuery } from "@tanstack/react-query";
import { useApi, usePrincipal } from "../../app/hooks";
import { PeopleApi, type Person } from "./api";

const STALE_MS = 5 * 60_000;

/** Names of people by identifier, for staff; an unknown one is "Somebody" until it is known. */
export function useNames(userIds: readonly string[]): (userId: string) => string {
  const people = useApi(PeopleApi);
  const { userId: me, name } = usePrincipal();
  const wanted = [...new Set(userIds)]
    .filter((id) => id !== "" && id !== me)
    .sort()
    .slice(0, 200);
  const found = useQuery({
    queryKey: ["people", wanted],
    queryFn: () => people.byId(wanted),
    enabled: wanted.length > 0,
    staleTime: STALE_MS,
    placeholderData: (before: ReadonlyMap<string, Person> | undefined) => before,
  });
  return (userId) => (userId === me ? name : (found.data?.get(userId)?.name ?? "Somebody"));
}

/** Everybody who can be given a ticket. */
export function useStaff(): readonly Person[] {
  const people = useApi(PeopleApi);
  return useQuery({ queryKey: ["staff"], queryFn: () => people.staff(), staleTime: STALE_MS }).data ?? [];
}
