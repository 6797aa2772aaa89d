import { useInfiniteQuery } from "@tanstack/react-query";
import { useApi } from "../../app/hooks";
import { NavLink } from "../../app/router";
import { Button } from "../../ui/Button";
import { Failure, Skeleton } from "../../ui/states";
import { Ago } from "../../ui/When";
import { ChatApi } from "./api";
import styles from "./HistoryList.module.css";

export const HISTORY_KEY = ["conversations"] as const;

/** The customer's conversations, last active first. */
export function HistoryList({ onChoose }: { onChoose?: () => void }) {
  const chat = useApi(ChatApi);
  const history = useInfiniteQuery({
    queryKey: HISTORY_KEY,
    queryFn: ({ pageParam }) => chat.list(pageParam),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
  });
  if (history.isPending) return <Skeleton lines={4} label="Loading your conversations" />;
  if (history.isError && !history.data)
    return <Failure error={history.error} onRetry={() => void history.refetch()} />;
  const conversations = history.data.pages.flatMap((page) => page.conversations);
  if (conversations.length === 0)
    return <p className={styles.empty}>Your conversations will be kept here.</p>;
  return (
    <>
      <ul className={styles.list}>
        {conversations.map((conversation) => (
          <li key={conversation.id}>
            <NavLink
              to={`/chat/${conversation.id}`}
              className={styles.link ?? ""}
              {...(onChoose && { onClick: onChoose })}
            >
              <span className={styles.title}>{conversation.title || "New conversation"}</span>
              <span className={styles.time}>
                <Ago at={conversation.lastActivityAt} />
              </span>
            </NavLink>
          </li>
        ))}
      </ul>
      {history.hasNextPage && (
        <Button
          look="quiet"
          size="s"
          busy={history.isFetchingNextPage}
          onClick={() => void history.fetchNextPage()}
        >
          Show older
        </Button>
      )}
    </>
  );
}
