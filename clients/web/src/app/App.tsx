import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { Compass } from "lucide-react";
import { lazy, type ReactNode, Suspense, startTransition, useEffect, useState } from "react";
import { BrowserRouter, Link, Navigate, Outlet, Route, Routes, useLocation } from "react-router";
import { SignInPage, SignUpPage } from "../features/session/pages";
import type { SessionStore } from "../features/session/store";
import { CallError } from "../rpc/errors";
import type { TransportFactory } from "../rpc/transport";
import { Notices } from "../ui/Notices";
import { Empty, Failure, Skeleton } from "../ui/states";
import { Backend } from "./backend";
import { BackendContext, SessionContext, useBackend, useIsStaff, useSession } from "./hooks";

const loadShell = () => import("./Shell");
const loadChat = () => import("../features/chat/ChatPage");
const Shell = lazy(loadShell);
const ChatPage = lazy(loadChat);
const TicketsPage = lazy(() => import("../features/tickets/TicketsPage"));
const TicketPage = lazy(() => import("../features/tickets/TicketPage"));
const HelpPage = lazy(() => import("../features/help/HelpPage"));
const ArticlePage = lazy(() => import("../features/help/ArticlePage"));
const InboxPage = lazy(() => import("../features/inbox/InboxPage"));

/** A failed call is repeated only where that can help; the page shows the rest at once. */
function worthRetrying(failures: number, error: unknown): boolean {
  return failures < 2 && error instanceof CallError && error.kind === "unavailable";
}

export function App({ transport }: { transport: TransportFactory }) {
  const [queries] = useState(
    () => new QueryClient({ defaultOptions: { queries: { retry: worthRetrying, staleTime: 10_000 } } }),
  );
  const [backend] = useState(() => {
    const made = new Backend(transport);
    made.session.onChange = () => {
      queries.clear();
      made.forget();
    };
    return made;
  });
  useEffect(() => {
    void backend.session.restore();
    // Whoever comes back most likely goes on chatting: the code arrives while the session is restored.
    if (backend.session.restorable) void Promise.all([loadShell(), loadChat()]);
  }, [backend]);
  return (
    <QueryClientProvider client={queries}>
      <BackendContext value={backend}>
        <Session session={backend.session}>
          <Notices>
            <BrowserRouter>
              <Routes>
                <Route element={<SignedOutOnly />}>
                  <Route path="/sign-in" element={<SignInPage />} />
                  <Route path="/sign-up" element={<SignUpPage />} />
                </Route>
                <Route element={<SignedInOnly />}>
                  <Route index element={<Home />} />
                  <Route path="/chat/:conversationId?" element={<For customer page={<ChatPage />} />} />
                  <Route path="/tickets" element={<For customer page={<TicketsPage />} />} />
                  <Route path="/tickets/:ticketId" element={<For customer page={<TicketPage />} />} />
                  <Route path="/inbox/:ticketId?" element={<For page={<InboxPage />} />} />
                  <Route path="/help" element={<HelpPage />} />
                  <Route path="/help/:slug" element={<ArticlePage />} />
                  <Route path="*" element={<NotFound />} />
                </Route>
              </Routes>
            </BrowserRouter>
          </Notices>
        </Session>
      </BackendContext>
    </QueryClientProvider>
  );
}

/** Looks as index.html does before the first script has run, so that nothing moves until there is something to show. */
function Splash() {
  return (
    <div className="splash" role="status">
      <img src="/favicon.svg" width="48" height="48" alt="" />
      <span className="sr-only">Loading</span>
    </div>
  );
}

/** Who is signed in decides what the whole page shows: drawn in slices, so that it stays responsive meanwhile. */
function Session({ session, children }: { session: SessionStore; children: ReactNode }) {
  const [state, setState] = useState(session.snapshot);
  useEffect(() => {
    const follow = () => startTransition(() => setState(session.snapshot()));
    follow();
    return session.subscribe(follow);
  }, [session]);
  return <SessionContext value={state}>{children}</SessionContext>;
}

function SignedInOnly() {
  const session = useSession();
  const backend = useBackend();
  const location = useLocation();
  switch (session.status) {
    case "restoring":
      return <Splash />;
    case "unreachable":
      return <Failure error={session.error} onRetry={() => void backend.session.restore()} />;
    case "signed-out": {
      const from = `${location.pathname}${location.search}${location.hash}`;
      return <Navigate to="/sign-in" replace state={{ from, loss: session.loss }} />;
    }
    case "signed-in":
      return (
        <Suspense fallback={<Splash />}>
          <Shell>
            <Suspense fallback={<Skeleton />}>
              <Outlet />
            </Suspense>
          </Shell>
        </Suspense>
      );
  }
}

function SignedOutOnly() {
  const session = useSession();
  const location = useLocation();
  if (session.status === "restoring") return <Splash />;
  if (session.status === "signed-in") {
    const from: unknown = location.state?.from;
    return <Navigate to={typeof from === "string" ? from : "/"} replace />;
  }
  return <Outlet />;
}

/** Customers and staff have pages of their own; a link to the other's leads home. */
function For({ customer = false, page }: { customer?: boolean; page: ReactNode }) {
  return useIsStaff() === customer ? <Navigate to="/" replace /> : page;
}

function Home() {
  return <Navigate to={useIsStaff() ? "/inbox" : "/chat"} replace />;
}

function NotFound() {
  return (
    <Empty
      icon={<Compass size={20} aria-hidden />}
      title="There is nothing here"
      action={<Link to="/">Go to the start</Link>}
    >
      The address may be mistyped, or the page was moved.
    </Empty>
  );
}
