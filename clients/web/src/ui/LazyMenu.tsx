import { type ComponentType, type ReactElement, Suspense, useState } from "react";

interface LazyMenuProps {
  /** A lazily loaded menu around the trigger. */
  menu: ComponentType<{ trigger: ReactElement; open: boolean; onOpenChange: (open: boolean) => void }>;
  trigger: ReactElement;
}

/** Stands in for a menu until somebody reaches for it: its code is not needed before. */
export function LazyMenu({ menu: Loaded, trigger }: LazyMenuProps) {
  const [wanted, setWanted] = useState(false);
  const [open, setOpen] = useState(false);
  const press = () => {
    setWanted(true);
    setOpen(true);
  };
  const standIn = (
    // biome-ignore lint/a11y/noStaticElementInteractions: the button inside is the interactive element
    // biome-ignore lint/a11y/useKeyWithClickEvents: it turns keys into clicks by itself
    <span style={{ display: "contents" }} onClick={press}>
      {trigger}
    </span>
  );
  if (!wanted) return standIn;
  return (
    <Suspense fallback={standIn}>
      <Loaded trigger={trigger} open={open} onOpenChange={setOpen} />
    </Suspense>
  );
}
