import type { ReactNode } from "react";
import { type AroundNavHandler, Link, useLocation, useSearch } from "wouter";
import { useHistoryState, useLocationProperty } from "wouter/use-browser-location";

export { Link, Redirect, Route, Router, Switch, useParams, useSearchParams } from "wouter";

/** What a visit of an address brings along; kept with it in the browser's history. */
export interface Visit {
  /** Different for every visit, so that coming to an address once more is seen. */
  readonly visit?: string;
  /** Where somebody wanted to go before signing in. */
  readonly from?: string;
  /** Why somebody was signed out. */
  readonly loss?: string;
}

/** Gives every navigation a visit of its own. */
export const stamped: AroundNavHandler = (navigate, to, options) =>
  navigate(to, { ...options, state: { ...options?.state, visit: crypto.randomUUID() } });

export function useNavigate() {
  return useLocation()[1];
}

export function useVisit(): Visit {
  return useHistoryState<Visit | null>() ?? {};
}

/** Path, search with its question mark, and hash with its sign. */
export function useAddress() {
  const [path] = useLocation();
  const search = useSearch();
  const hash = useLocationProperty(() => window.location.hash);
  return { path, search: search && `?${search}`, hash };
}

/** A link that tells whether it leads to where one is, or to above it. */
export function NavLink({
  to,
  ...rest
}: {
  to: string;
  className?: string;
  title?: string;
  onClick?: () => void;
  children: ReactNode;
}) {
  const [path] = useLocation();
  const here = path === to || path.startsWith(`${to}/`);
  return <Link to={to} {...(here && { "aria-current": "page" })} {...rest} />;
}
