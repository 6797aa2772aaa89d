import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { Compass } from "lucide-react";
import { lazy, type ReactNode, Suspense, useEffect, useState } from "react";
import { BrowserRouter, Link, Navigate, Outlet, Route, Routes, useLocation } from "react-router";
import { SignInPage, SignUpPage } from "../features/session/pages";
import { CallError } from "../rpc/errors";
import type { TransportFactory } from "../rpc/transport";
import { Notices } from "../ui/Notices";
import { Empty, Failure, Skeleton } from "../ui/states";
import { createBackend } from "./backend";
import { BackendContext, useBackend, useIsStaff, useSession } from "./hooks";

const Shell = lazy(() => import("./Shell"));
const ChatPage = lazy(() => import("../features/chat/ChatPage"));
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
    const made = createBackend(transport);
    made.session.onChange = () => {
      queries.clear();
      made.conversations.clear();
    };
    return made;
  });
  useEffect(() => void backend.session.restore(), [backend]);
  return (
    <QueryClientProvider client={queries}>
      <BackendContext value={backend}>
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
      </BackendContext>
    </QueryClientProvider>
  );
}

function SignedInOnly() {
  const session = useSession();
  const backend = useBackend();
  const location = useLocation();
  switch (session.status) {
    case "restoring":
      return <Skeleton label="Signing you in" />;
    case "unreachable":
      return <Failure error={session.error} onRetry={() => void backend.session.restore()} />;
    case "signed-out": {
      const from = `${location.pathname}${location.search}${location.hash}`;
      return <Navigate to="/sign-in" replace state={{ from, loss: session.loss }} />;
    }
    case "signed-in":
      return (
        <Suspense fallback={<Skeleton />}>
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
  if (session.status === "restoring") return <Skeleton label="Signing you in" />;
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
