import { type ComponentType, type ReactElement, Suspense, useState } from "react";

interface LazyMenuProps {
  /** A lazily loaded menu around the trigger; open from the start when it is asked to be. */
  menu: ComponentType<{ trigger: ReactElement; initiallyOpen: boolean }>;
  trigger: ReactElement;
}

/** Stands in for a menu until somebody reaches for it: its code is not needed before. */
export function LazyMenu({ menu: Loaded, trigger }: LazyMenuProps) {
  const [wanted, setWanted] = useState<"no" | "soon" | "now">("no");
  const standIn = (
    // biome-ignore lint/a11y/noStaticElementInteractions: the button inside is the interactive element
    // biome-ignore lint/a11y/useKeyWithClickEvents: it turns keys into clicks by itself
    <span
      style={{ display: "contents" }}
      onPointerEnter={() => setWanted("soon")}
      onClick={() => setWanted("now")}
    >
      {trigger}
    </span>
  );
  if (wanted === "no") return standIn;
  return (
    <Suspense fallback={standIn}>
      <Loaded trigger={trigger} initiallyOpen={wanted === "now"} />
    </Suspense>
  );
}
