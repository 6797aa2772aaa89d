import { ArrowUp, Square } from "lucide-react";
import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from "react";
import { Link } from "../../app/router";
import styles from "./Composer.module.css";

/** As the contract has it: 32 KiB of UTF-8. */
const MAX_BYTES = 32_768;
const TYPING_PAUSE_MS = 4_000;

interface ComposerProps {
  closed: "closed" | "expired" | undefined;
  /** True while the assistant writes: the button stops it. */
  writing: boolean;
  placeholder: string;
  onSend: (text: string) => void;
  onStop?: () => void;
  onTyping: (typing: boolean) => void;
  /** Where a closed conversation can be taken up again. */
  newPath?: string | undefined;
}

export function Composer({
  closed,
  writing,
  placeholder,
  onSend,
  onStop,
  onTyping,
  newPath = "/chat",
}: ComposerProps) {
  const [text, setText] = useState("");
  const [stopping, setStopping] = useState(false);
  const pause = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => {
    if (!writing) setStopping(false);
  }, [writing]);
  useEffect(() => () => clearTimeout(pause.current), []);

  if (closed) {
    return (
      <div className={styles.closed}>
        <p>
          {closed === "expired"
            ? "This conversation closed after a quiet while."
            : "This conversation is closed."}
        </p>
        {newPath && <Link to={newPath}>Start a new one</Link>}
      </div>
    );
  }

  const words = text.trim();
  const tooLong = words.length * 3 > MAX_BYTES && new TextEncoder().encode(words).length > MAX_BYTES;
  const sendable = words !== "" && !tooLong && !writing;

  const send = () => {
    if (!sendable) return;
    clearTimeout(pause.current);
    onTyping(false);
    onSend(words);
    setText("");
  };
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    send();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // Enter confirms a candidate while an input method is at work.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };
  const onChange = (value: string) => {
    setText(value);
    clearTimeout(pause.current);
    onTyping(value.trim() !== "");
    pause.current = setTimeout(() => onTyping(false), TYPING_PAUSE_MS);
  };

  return (
    <form className={styles.composer} onSubmit={onSubmit}>
      <div className={styles.box}>
        <textarea
          aria-label="Message"
          aria-describedby={tooLong ? "composer-note" : undefined}
          rows={1}
          placeholder={placeholder}
          value={text}
          onChange={(event) => onChange(event.target.value)}
          onKeyDown={onKeyDown}
        />
        {writing && onStop ? (
          <button
            type="button"
            className={styles.stop}
            aria-label="Stop the answer"
            title="Stop the answer"
            disabled={stopping}
            onClick={() => {
              setStopping(true);
              onStop();
            }}
          >
            <Square size={12} fill="currentColor" aria-hidden />
          </button>
        ) : (
          <button type="submit" className={styles.send} aria-label="Send" title="Send" disabled={!sendable}>
            <ArrowUp size={18} aria-hidden />
          </button>
        )}
      </div>
      {tooLong && (
        <p id="composer-note" className={styles.note} role="alert">
          This message is too long to send. Shorten it, or send it in parts.
        </p>
      )}
    </form>
  );
}
