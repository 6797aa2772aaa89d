import { Check, CloudOff, Copy, RotateCw } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { describe } from "../rpc/problems";
import { Button } from "./Button";
import styles from "./states.module.css";

/** Waiting: appears only when the wait is long enough to be noticed. */
export function Skeleton({ lines = 6, label = "Loading" }: { lines?: number; label?: string }) {
  return (
    <div className={styles.skeleton} role="status">
      <span className="sr-only">{label}</span>
      {Array.from({ length: lines }, (_, line) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the lines are all alike and never move
        <span key={line} className={styles.bar} style={{ width: `${92 - ((line * 29) % 48)}%` }} />
      ))}
    </div>
  );
}

interface EmptyProps {
  icon: ReactNode;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
  /** True when there is nothing else on the page, so that this is its title. */
  alone?: boolean;
}

export function Empty({ icon, title, children, action, alone = false }: EmptyProps) {
  const Title = alone ? "h1" : "h2";
  return (
    <div className={styles.state}>
      <span className={styles.icon}>{icon}</span>
      <Title>{title}</Title>
      {children && <p>{children}</p>}
      {action && <div className={styles.action}>{action}</div>}
    </div>
  );
}

/** A failed load, with what to do and the reference that finds it in the logs. */
export function Failure({
  error,
  onRetry,
  alone = false,
}: {
  error: unknown;
  onRetry?: (() => void) | undefined;
  alone?: boolean;
}) {
  const problem = describe(error);
  const Title = alone ? "h1" : "h2";
  return (
    <div className={styles.state} role="alert">
      <span className={styles.icon}>
        <CloudOff size={20} aria-hidden />
      </span>
      <Title>{problem.title}</Title>
      <p>{problem.detail}</p>
      {onRetry && (
        <div className={styles.action}>
          <Button icon={<RotateCw size={16} aria-hidden />} onClick={onRetry}>
            Try again
          </Button>
        </div>
      )}
      <Reference traceId={problem.traceId} />
    </div>
  );
}

/** The trace of a failed action; a click copies it whole. */
export function Reference({ traceId }: { traceId: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1600);
    return () => clearTimeout(timer);
  }, [copied]);
  if (!traceId) return null;
  const copy = () => void navigator.clipboard.writeText(traceId).then(() => setCopied(true));
  return (
    <button type="button" className={styles.reference} onClick={copy} title={`Copy ${traceId}`}>
      Reference: <code>{traceId.slice(0, 8)}</code>
      {copied ? <Check size={12} aria-hidden /> : <Copy size={12} aria-hidden />}
      <span className="sr-only" aria-live="polite">
        {copied ? "Copied" : ""}
      </span>
    </button>
  );
}

/** Whole seconds until a moment in milliseconds since the epoch; 0 once it has passed. */
export function useCountdown(until: number): number {
  const [now, setNow] = useState(Date.now);
  const left = Math.max(0, Math.ceil((until - now) / 1000));
  const waiting = left > 0;
  useEffect(() => {
    if (!waiting) return;
    const timer = setInterval(() => setNow(Date.now()), 250);
    return () => clearInterval(timer);
  }, [waiting]);
  return left;
}
