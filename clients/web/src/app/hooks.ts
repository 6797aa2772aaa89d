import { createContext, use, useEffect, useSyncExternalStore } from "react";
import { isStaff, type Principal } from "../features/session/model";
import type { SessionState } from "../features/session/store";
import type { Api, Backend } from "./backend";

export const BackendContext = createContext<Backend | undefined>(undefined);

export function useBackend(): Backend {
  const backend = use(BackendContext);
  if (!backend) throw new Error("the page was not given its backend");
  return backend;
}

/** The calls of one kind, as the signed-in person. */
export function useApi<T>(kind: Api<T>): T {
  return useBackend().api(kind);
}

export const SessionContext = createContext<SessionState>({ status: "restoring" });

export function useSession(): SessionState {
  return use(SessionContext);
}

/** The signed-in person; only below a route that requires one. */
export function usePrincipal(): Principal {
  const state = useSession();
  if (state.status !== "signed-in") throw new Error("nobody is signed in");
  return state.principal;
}

export function useIsStaff(): boolean {
  return isStaff(usePrincipal());
}

export function useMediaQuery(query: string): boolean {
  return useSyncExternalStore(
    (listener) => {
      const list = window.matchMedia(query);
      list.addEventListener("change", listener);
      return () => list.removeEventListener("change", listener);
    },
    () => window.matchMedia(query).matches,
  );
}

/** False while the browser says that there is no network. */
export function useOnline(): boolean {
  return useSyncExternalStore(
    (listener) => {
      window.addEventListener("online", listener);
      window.addEventListener("offline", listener);
      return () => {
        window.removeEventListener("online", listener);
        window.removeEventListener("offline", listener);
      };
    },
    () => navigator.onLine,
  );
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} · Deskmesh` : "Deskmesh";
  }, [title]);
}
