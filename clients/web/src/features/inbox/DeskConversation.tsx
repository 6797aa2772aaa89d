import { Sparkles, UserRound } from "lucide-react";
import { useMemo, useState } from "react";
import { useApi } from "../../app/hooks";
import { Button } from "../../ui/Button";
import { useNotify } from "../../ui/Notices";
import { Failure, Skeleton } from "../../ui/states";
import { ChatApi } from "../chat/api";
import { Composer } from "../chat/Composer";
import { LinkBanner } from "../chat/LinkBanner";
import { LiveConversation } from "../chat/liveConversation";
import type { Citation, Responder } from "../chat/model";
import { Timeline, type TimelineActions } from "../chat/Timeline";
import { useLiveConversation } from "../chat/useLiveConversation";
import ArticlePanel from "../help/ArticlePanel";
import { useNames } from "../people/usePeople";
import styles from "./DeskConversation.module.css";

/** The customer's conversation, live, with the means to take it over and to hand it back. */
export function DeskConversation({
  conversationId,
  customerId,
}: {
  conversationId: string;
  customerId: string;
}) {
  const chat = useApi(ChatApi);
  const conversation = useMemo(
    () => new LiveConversation(chat, "agent", conversationId),
    [chat, conversationId],
  );
  const state = useLiveConversation(conversation);
  const [cited, setCited] = useState<Citation>();
  const [switching, setSwitching] = useState(false);
  const notify = useNotify();
  const writers = state.items.flatMap((item) => (item.kind === "message" ? [item.message.userId] : []));
  const nameOf = useNames([customerId, ...writers]);
  const actions = useMemo<TimelineActions>(
    () => ({
      retry: (text, requestId) => void conversation.send(text, requestId),
      withdraw: (requestId) => conversation.withdraw(requestId),
      cite: setCited,
    }),
    [conversation],
  );
  const setResponder = async (responder: Responder) => {
    setSwitching(true);
    try {
      await chat.setResponder(conversationId, responder);
    } catch (error) {
      notify.failure(error);
    } finally {
      setSwitching(false);
    }
  };

  if (state.link.state === "failed")
    return <Failure error={state.link.error} onRetry={() => conversation.reconnect()} />;
  const human = state.responder === "human";
  return (
    <>
      <LinkBanner link={state.link} onRetry={() => conversation.reconnect()} />
      {state.caughtUp || state.items.length > 0 || state.link.state === "ended" ? (
        <Timeline
          state={state}
          perspective="agent"
          actions={actions}
          nameOfAgent={(id) => (id ? nameOf(id) : "A colleague")}
          nameOfCustomer={nameOf(customerId)}
          ticketPath="/inbox"
        />
      ) : (
        <div className={styles.loading}>
          <Skeleton lines={7} label="Loading the conversation" />
        </div>
      )}
      {!state.closed && state.caughtUp && (
        <div className={styles.responder}>
          {human ? <UserRound size={16} aria-hidden /> : <Sparkles size={16} aria-hidden />}
          <span>{human ? "The team answers." : "The assistant answers."}</span>
          <Button
            size="s"
            busy={switching}
            look={human ? "secondary" : "primary"}
            onClick={() => void setResponder(human ? "assistant" : "human")}
          >
            {human ? "Hand back to the assistant" : "Take over"}
          </Button>
        </div>
      )}
      {(human || state.closed) && (
        <Composer
          closed={state.closed}
          writing={false}
          placeholder="Reply to the customer…"
          newPath={undefined}
          onSend={(text) => void conversation.send(text)}
          onTyping={(typing) => conversation.typing(typing)}
        />
      )}
      {cited && <ArticlePanel citation={cited} modal onClose={() => setCited(undefined)} />}
    </>
  );
}
