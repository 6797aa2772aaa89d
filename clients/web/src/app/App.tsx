import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { Compass } from "lucide-react";
import { lazy, type ReactNode, Suspense, startTransition, useEffect, useState } from "react";
import { SignInPage, SignUpPage } from "../features/session/pages";
import type { SessionStore } from "../features/session/store";
import { CallError } from "../rpc/errors";
import type { TransportFactory } from "../rpc/transport";
import { Notices } from "../ui/Notices";
import { Empty, Failure, Skeleton } from "../ui/states";
import { Backend } from "./backend";
import { BackendContext, SessionContext, useBackend, useIsStaff, useSession } from "./hooks";
import { Link, Redirect, Route, Router, Switch, stamped, useAddress, useVisit } from "./router";

const loadShell = () => import("./Shell");
const loadChat = () => import("../features/chat/ChatPage");
const Shell = lazy(loadShell);
const ChatPage = lazy(loadChat);
const TicketsPage = lazy(() => import("../features/tickets/TicketsPage"));
const TicketPage = lazy(() => import("../features/tickets/TicketPage"));
const HelpPage = lazy(() => import("../features/help/HelpPage"));
const ArticlePage = lazy(() => import("../features/help/ArticlePage"));
const InboxPage = lazy(() => import("../features/inbox/InboxPage"));
const SecurityPage = lazy(() => import("../features/account/SecurityPage"));
const CallbackPage = lazy(() => import("../features/session/CallbackPage"));
const InvitationPage = lazy(() => import("../features/account/InvitationPage"));
const consentPages = () => import("../features/consent/pages");
const ConsentPage = lazy(async () => ({ default: (await consentPages()).ConsentPage }));
const DevicePage = lazy(async () => ({ default: (await consentPages()).DevicePage }));
const linkPages = () => import("../features/account/LinkPages");
const VerifyEmailPage = lazy(async () => ({ default: (await linkPages()).VerifyEmailPage }));
const ForgotPasswordPage = lazy(async () => ({ default: (await linkPages()).ForgotPasswordPage }));
const ResetPasswordPage = lazy(async () => ({ default: (await linkPages()).ResetPasswordPage }));

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
            <Router aroundNav={stamped}>
              <Switch>
                <Route path="/sign-in">
                  <SignedOutOnly page={<SignInPage />} />
                </Route>
                <Route path="/sign-in/callback">
                  <Anybody page={<CallbackPage />} />
                </Route>
                <Route path="/sign-up">
                  <SignedOutOnly page={<SignUpPage />} />
                </Route>
                <Route path="/verify-email">
                  <Anybody page={<VerifyEmailPage />} />
                </Route>
                <Route path="/forgot-password">
                  <Anybody page={<ForgotPasswordPage />} />
                </Route>
                <Route path="/reset-password">
                  <Anybody page={<ResetPasswordPage />} />
                </Route>
                <Route path="/accept-invitation">
                  <Anybody page={<InvitationPage />} />
                </Route>
                <Route path="/consent">
                  <SignedInOnly>
                    <ConsentPage />
                  </SignedInOnly>
                </Route>
                <Route path="/device">
                  <SignedInOnly>
                    <DevicePage />
                  </SignedInOnly>
                </Route>
                <Route>
                  <SignedInOnly>
                    <Shell>
                      <Suspense fallback={<Skeleton />}>
                        <Pages />
                      </Suspense>
                    </Shell>
                  </SignedInOnly>
                </Route>
              </Switch>
            </Router>
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

function SignedInOnly({ children }: { children: ReactNode }) {
  const session = useSession();
  const backend = useBackend();
  const { path, search, hash } = useAddress();
  switch (session.status) {
    case "restoring":
      return <Splash />;
    case "unreachable":
      return <Failure alone error={session.error} onRetry={() => void backend.session.restore()} />;
    case "signed-out":
      return <Redirect to="/sign-in" replace state={{ from: path + search + hash, loss: session.loss }} />;
    case "signed-in":
      return <Suspense fallback={<Splash />}>{children}</Suspense>;
  }
}

function Pages() {
  return (
    <Switch>
      <Route path="/">
        <Home />
      </Route>
      <Route path="/chat/:conversationId?">
        <For customer page={<ChatPage />} />
      </Route>
      <Route path="/tickets">
        <For customer page={<TicketsPage />} />
      </Route>
      <Route path="/tickets/:ticketId">
        <For customer page={<TicketPage />} />
      </Route>
      <Route path="/inbox/:ticketId?">
        <For page={<InboxPage />} />
      </Route>
      <Route path="/security">
        <SecurityPage />
      </Route>
      <Route path="/help">
        <HelpPage />
      </Route>
      <Route path="/help/:slug">
        <ArticlePage />
      </Route>
      <Route>
        <NotFound />
      </Route>
    </Switch>
  );
}

function SignedOutOnly({ page }: { page: ReactNode }) {
  const session = useSession();
  const { from = "/" } = useVisit();
  if (session.status === "restoring") return <Splash />;
  return session.status === "signed-in" ? <Redirect to={from} replace /> : page;
}

/** Pages that links in letters lead to, whoever is signed in. */
function Anybody({ page }: { page: ReactNode }) {
  return <Suspense fallback={<Splash />}>{page}</Suspense>;
}

/** Customers and staff have pages of their own; a link to the other's leads home. */
function For({ customer = false, page }: { customer?: boolean; page: ReactNode }) {
  return useIsStaff() === customer ? <Redirect to="/" replace /> : page;
}

function Home() {
  return <Redirect to={useIsStaff() ? "/inbox" : "/chat"} replace />;
}

function NotFound() {
  return (
    <Empty
      alone
      icon={<Compass size={20} aria-hidden />}
      title="There is nothing here"
      action={<Link to="/">Go to the start</Link>}
    >
      The address may be mistyped, or the page was moved.
    </Empty>
  );
}
