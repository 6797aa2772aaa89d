import { X } from "lucide-react";
import { Toast } from "radix-ui";
import { IconButton } from "./Button";
import styles from "./NoticeList.module.css";
import { Reference } from "./states";

export interface Notice {
  readonly key: number;
  readonly title: string;
  readonly detail: string;
  readonly traceId: string;
  readonly failed: boolean;
}

export default function NoticeList({
  notices,
  onDrop,
}: {
  notices: readonly Notice[];
  onDrop: (key: number) => void;
}) {
  return (
    <Toast.Provider duration={6000} swipeDirection="right" label="Notice">
      {notices.map((notice) => (
        <Toast.Root
          key={notice.key}
          className={styles.notice}
          type={notice.failed ? "foreground" : "background"}
          data-failed={notice.failed || undefined}
          onOpenChange={(open) => !open && onDrop(notice.key)}
        >
          <div className={styles.words}>
            <Toast.Title className={styles.title}>{notice.title}</Toast.Title>
            {notice.detail && (
              <Toast.Description className={styles.detail}>{notice.detail}</Toast.Description>
            )}
            <Reference traceId={notice.traceId} />
          </div>
          <Toast.Close asChild>
            <IconButton label="Dismiss">
              <X size={16} aria-hidden />
            </IconButton>
          </Toast.Close>
        </Toast.Root>
      ))}
      <Toast.Viewport className={styles.viewport} />
    </Toast.Provider>
  );
}
