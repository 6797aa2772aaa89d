import { useQueryClient } from "@tanstack/react-query";
import { History, Sparkles, SquarePen } from "lucide-react";
import { lazy, Suspense, useEffect, useMemo, useRef, useState } from "react";
import { useApi, useMediaQuery, usePrincipal, useTitle } from "../../app/hooks";
import { Link, useNavigate, useParams, useVisit } from "../../app/router";
import { IconButton } from "../../ui/Button";
import { useNotify } from "../../ui/Notices";
import { Failure, Skeleton } from "../../ui/states";
import styles from "./ChatPage.module.css";
import { Composer } from "./Composer";
import { HISTORY_KEY } from "./HistoryList";
import { LinkBanner } from "./LinkBanner";
import type { LiveConversation } from "./liveConversation";
import type { Citation } from "./model";
import { Starters } from "./Starters";
import { ConversationShelf } from "./shelf";
import type { TimelineActions } from "./Timeline";
import { useLiveConversation } from "./useLiveConversation";

const ArticlePanel = lazy(() => import("../help/ArticlePanel"));
const loadTimeline = () => import("./Timeline");
const Timeline = lazy(() => loadTimeline().then((module) => ({ default: module.Timeline })));
const HistorySheet = lazy(() => import("./HistorySheet"));

/** The customer's chat: a new conversation, or one of those before. */
export default function ChatPage() {
  const { conversationId = "" } = useParams();
  const { visit = "" } = useVisit();
  const conversations = useApi(ConversationShelf);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const conversation = conversationId ? conversations.open(conversationId) : conversations.draft(visit);
  useEffect(() => {
    conversation.onCreated = (id) => {
      conversations.keep(conversation);
      navigate(`/chat/${id}`, { replace: true });
      void queries.invalidateQueries({ queryKey: HISTORY_KEY });
    };
  }, [conversation, conversations, navigate, queries]);
  return <Chat key={conversation.key} conversation={conversation} />;
}

function Chat({ conversation }: { conversation: LiveConversation }) {
  const state = useLiveConversation(conversation);
  const { organization } = usePrincipal();
  const notify = useNotify();
  const queries = useQueryClient();
  const [cited, setCited] = useState<Citation>();
  const citedFrom = useRef<Element | null>(null);
  const sideBySide = useMediaQuery("(min-width: 1120px)");
  const draft = conversation.id === "" && state.outgoing.length === 0;
  const title = firstWords(conversation, state.items) || "New conversation";
  useTitle(draft ? "Chat" : title);

  // The list shows titles and times, which change with every message.
  const messages = state.items.filter((item) => item.kind === "message").length;
  useEffect(() => {
    if (messages > 0) void queries.invalidateQueries({ queryKey: HISTORY_KEY });
  }, [messages, queries]);

  const actions = useMemo<TimelineActions>(
    () => ({
      retry: (text, requestId) => void conversation.send(text, requestId),
      withdraw: (requestId) => conversation.withdraw(requestId),
      ask: (text) => void conversation.send(text),
      rate: (messageId, rating) => conversation.rate(messageId, rating).catch(notify.failure),
      answerProposal: (id, accepted) =>
        void conversation.send(accepted ? "Yes, please open the ticket." : "No, thank you.", undefined, {
          id,
          accepted,
        }),
      cite: (citation) => {
        citedFrom.current = document.activeElement;
        setCited(citation);
      },
    }),
    [conversation, notify],
  );
  const closeArticle = () => {
    setCited(undefined);
    if (citedFrom.current instanceof HTMLElement) citedFrom.current.focus();
  };

  return (
    <div className={styles.page}>
      <div className={styles.chat}>
        <ChatHeader title={draft ? organization.name : title} human={state.responder === "human"} />
        <LinkBanner link={state.link} onRetry={() => conversation.reconnect()} />
        {draft ? (
          <Starters onChoose={(text) => void conversation.send(text)} />
        ) : state.link.state === "failed" ? (
          <Failure error={state.link.error} onRetry={() => conversation.reconnect()} />
        ) : conversation.id && !state.caughtUp && state.outgoing.length === 0 && state.items.length === 0 ? (
          <div className={styles.loading}>
            <Skeleton lines={7} label="Loading the conversation" />
          </div>
        ) : (
          <Suspense fallback={<div className={styles.loading} />}>
            <Timeline
              state={state}
              perspective="customer"
              actions={actions}
              nameOfAgent={() => `${organization.name} team`}
              ticketPath="/tickets"
            />
          </Suspense>
        )}
        {state.link.state !== "failed" && (
          <Composer
            closed={state.closed}
            writing={state.turn !== undefined && !state.turn.settled}
            placeholder={draft ? "Ask a question…" : "Write a message…"}
            onSend={(text) => void conversation.send(text)}
            onStop={() => void conversation.stopTurn().catch(notify.failure)}
            onTyping={(typing) => {
              // Fetched while the first question is written.
              if (typing && draft) void loadTimeline();
              conversation.typing(typing);
            }}
          />
        )}
      </div>
      <Suspense fallback={null}>
        {cited && <ArticlePanel citation={cited} modal={!sideBySide} onClose={closeArticle} />}
      </Suspense>
    </div>
  );
}

function ChatHeader({ title, human }: { title: string; human: boolean }) {
  const narrow = useMediaQuery("(max-width: 759px)");
  const [historyShown, setHistoryShown] = useState(false);
  return (
    <header className={styles.header}>
      {narrow && (
        <IconButton label="Conversations" onClick={() => setHistoryShown(true)}>
          <History size={20} aria-hidden />
        </IconButton>
      )}
      <div className={styles.heading}>
        <h1>{title}</h1>
        <p>
          {human ? (
            "A person answers here"
          ) : (
            <>
              <Sparkles size={12} aria-hidden /> Answers come from the help centre
            </>
          )}
        </p>
      </div>
      {narrow && (
        <>
          <Link to="/chat" className={styles.new} aria-label="New conversation" title="New conversation">
            <SquarePen size={20} aria-hidden />
          </Link>
          <Suspense fallback={null}>
            {historyShown && <HistorySheet onClose={() => setHistoryShown(false)} />}
          </Suspense>
        </>
      )}
    </header>
  );
}

function firstWords(
  conversation: LiveConversation,
  items: ReturnType<LiveConversation["snapshot"]>["items"],
): string {
  const first = items.find((item) => item.kind === "message" && item.message.author === "customer");
  if (first?.kind === "message") return first.message.text;
  return conversation.snapshot().outgoing[0]?.text ?? "";
}
