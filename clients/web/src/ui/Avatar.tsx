import { Sparkles } from "lucide-react";
import styles from "./Avatar.module.css";

/** Initials of a person; decoration, because the name stands beside it. */
export function Avatar({ name, size = 28 }: { name: string; size?: number }) {
  const words = name.trim().split(/\s+/);
  const initials = `${words[0]?.charAt(0) ?? ""}${words.length > 1 ? (words.at(-1)?.charAt(0) ?? "") : ""}`;
  return (
    <span
      className={styles.avatar}
      style={{ width: size, height: size, fontSize: Math.round(size * 0.4) }}
      aria-hidden
    >
      {initials.toUpperCase() || "?"}
    </span>
  );
}

export function AssistantAvatar({ size = 28 }: { size?: number }) {
  return (
    <span
      className={`${styles.avatar} ${styles.assistant}`}
      style={{ width: size, height: size }}
      aria-hidden
    >
      <Sparkles size={Math.round(size * 0.52)} />
    </span>
  );
}

/** The mark of the product. */
export function Mark({ size = 28 }: { size?: number }) {
  return <img src="/favicon.svg" width={size} height={size} alt="" />;
}
