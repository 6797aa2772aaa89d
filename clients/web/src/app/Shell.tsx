import {
  BookOpen,
  ChevronsUpDown,
  CircleCheck,
  CircleUser,
  Inbox,
  MessageCircle,
  SquarePen,
  Ticket,
  UserRoundCheck,
  UserRoundX,
  WifiOff,
} from "lucide-react";
import { lazy, type ReactNode } from "react";
import { HistoryList } from "../features/chat/HistoryList";
import { Avatar, Mark } from "../ui/Avatar";
import { LazyMenu } from "../ui/LazyMenu";
import { useIsStaff, useMediaQuery, useOnline, usePrincipal } from "./hooks";
import { Link, NavLink, useAddress } from "./router";
import styles from "./Shell.module.css";

const AccountMenu = lazy(() => import("./AccountMenu"));

/** What stands around every page: on a wide screen a sidebar, on a phone a bar at the bottom. */
export default function Shell({ children }: { children: ReactNode }) {
  const wide = useMediaQuery("(min-width: 760px)");
  const online = useOnline();
  return (
    <>
      <a className="skip" href="#main">
        Skip to content
      </a>
      {!online && (
        <div className={styles.offline} role="status">
          <WifiOff size={16} aria-hidden />
          You're offline. We'll catch up as soon as you're back.
        </div>
      )}
      <div className={styles.shell}>
        {wide && <Sidebar />}
        <main id="main" className={styles.main} tabIndex={-1}>
          {children}
        </main>
      </div>
      {!wide && <TabBar />}
    </>
  );
}

function Sidebar() {
  const staff = useIsStaff();
  const { organization } = usePrincipal();
  return (
    <aside className={styles.sidebar} data-rail={staff || undefined}>
      <Link to="/" className={styles.brand}>
        <Mark />
        <span>
          <strong>{organization.name}</strong>
          <small>{staff ? "Support desk" : "Help and support"}</small>
        </span>
      </Link>
      {!staff && (
        <Link to="/chat" className={styles.compose}>
          <SquarePen size={16} aria-hidden />
          New conversation
        </Link>
      )}
      <nav className={styles.nav} aria-label="Main">
        {staff ? <StaffLinks /> : <CustomerLinks />}
      </nav>
      <div className={styles.middle}>
        {!staff && (
          <section aria-labelledby="history-title">
            <h2 id="history-title" className={styles.section}>
              Conversations
            </h2>
            <HistoryList />
          </section>
        )}
      </div>
      <LazyMenu menu={AccountMenu} trigger={<PersonRow />} />
    </aside>
  );
}

function CustomerLinks() {
  return (
    <>
      <NavLink to="/tickets">
        <Ticket size={18} aria-hidden />
        My tickets
      </NavLink>
      <NavLink to="/help">
        <BookOpen size={18} aria-hidden />
        Help centre
      </NavLink>
    </>
  );
}

const VIEWS = [
  { view: "open", label: "All open", icon: Inbox },
  { view: "mine", label: "Mine", icon: UserRoundCheck },
  { view: "unassigned", label: "Unassigned", icon: UserRoundX },
  { view: "done", label: "Solved", icon: CircleCheck },
] as const;

function StaffLinks() {
  const { path, search } = useAddress();
  const current = path.startsWith("/inbox") ? (new URLSearchParams(search).get("view") ?? "open") : "";
  return (
    <>
      {VIEWS.map(({ view, label, icon: Icon }) => (
        <Link
          key={view}
          to={`/inbox?view=${view}`}
          aria-current={current === view ? "page" : undefined}
          title={label}
        >
          <Icon size={18} aria-hidden />
          <span>{label}</span>
        </Link>
      ))}
      <NavLink to="/help" title="Help centre">
        <BookOpen size={18} aria-hidden />
        <span>Help centre</span>
      </NavLink>
    </>
  );
}

function TabBar() {
  const staff = useIsStaff();
  return (
    <nav className={styles.tabs} aria-label="Main">
      {staff ? (
        <NavLink to="/inbox">
          <Inbox size={20} aria-hidden />
          Inbox
        </NavLink>
      ) : (
        <>
          <NavLink to="/chat">
            <MessageCircle size={20} aria-hidden />
            Chat
          </NavLink>
          <NavLink to="/tickets">
            <Ticket size={20} aria-hidden />
            Tickets
          </NavLink>
        </>
      )}
      <NavLink to="/help">
        <BookOpen size={20} aria-hidden />
        Help
      </NavLink>
      <LazyMenu
        menu={AccountMenu}
        trigger={
          <button type="button" className={styles.tab} aria-haspopup="menu">
            <CircleUser size={20} aria-hidden />
            Account
          </button>
        }
      />
    </nav>
  );
}

function PersonRow(props: object) {
  const principal = usePrincipal();
  return (
    <button type="button" className={styles.person} aria-haspopup="menu" {...props}>
      <Avatar name={principal.name} />
      <span>
        <strong>{principal.name}</strong>
        <small>{principal.email}</small>
      </span>
      <ChevronsUpDown size={16} aria-hidden />
    </button>
  );
}
