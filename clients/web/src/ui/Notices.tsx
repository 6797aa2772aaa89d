import { createContext, lazy, type ReactNode, Suspense, use, useCallback, useState } from "react";
import { describe } from "../rpc/problems";
import type { Notice } from "./NoticeList";

const NoticeList = lazy(() => import("./NoticeList"));

interface Notify {
  /** Says that something was done. */
  (title: string, detail?: string): void;
  /** Says that something failed. */
  failure(error: unknown): void;
}

const NotifyContext = createContext<Notify>(Object.assign(() => {}, { failure: () => {} }));

/** Short notices at the edge of the page. */
export function Notices({ children }: { children: ReactNode }) {
  const [notices, setNotices] = useState<readonly Notice[]>([]);
  const add = useCallback((notice: Omit<Notice, "key">) => {
    setNotices((shown) => [...shown.slice(-2), { ...notice, key: (shown.at(-1)?.key ?? 0) + 1 }]);
  }, []);
  const [notify] = useState<Notify>(() =>
    Object.assign((title: string, detail = "") => add({ title, detail, traceId: "", failed: false }), {
      failure: (error: unknown) => {
        const { title, detail, traceId } = describe(error);
        add({ title, detail, traceId, failed: true });
      },
    }),
  );
  const drop = (key: number) => setNotices((shown) => shown.filter((one) => one.key !== key));
  return (
    <NotifyContext value={notify}>
      {children}
      <Suspense fallback={null}>
        {notices.length > 0 && <NoticeList notices={notices} onDrop={drop} />}
      </Suspense>
    </NotifyContext>
  );
}

export function useNotify(): Notify {
  return use(NotifyContext);
}
