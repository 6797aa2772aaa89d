import { Check, Copy, ThumbsDown, ThumbsUp } from "lucide-react";
import { type ReactNode, useCallback, useState } from "react";
import { AssistantAvatar, Avatar } from "../../ui/Avatar";
import { IconButton } from "../../ui/Button";
import { Markdown } from "../../ui/Markdown";
import { Clock } from "../../ui/When";
import styles from "./MessageView.module.css";
import type { Author, Citation, Message, Rating } from "./model";

interface BubbleProps {
  message: Message;
  mine: boolean;
  name: string;
  /** True when the line above is of the same author, so that the by-line need not be said again. */
  grouped: boolean;
  onCite: (citation: Citation) => void;
  onRate?: (messageId: string, rating: Rating) => Promise<void>;
}

/** One whole message. What the person wrote stands on the right, what others wrote on the left. */
export function Bubble({ message, mine, name, grouped, onCite, onRate }: BubbleProps) {
  if (message.author === "system") return <p className={styles.system}>{message.text}</p>;
  if (mine) {
    return (
      <div className={styles.mine}>
        <span className="sr-only">You:</span>
        <p className={styles.own}>{message.text}</p>
        <span className={styles.time}>
          <Clock at={message.at} />
        </span>
      </div>
    );
  }
  return (
    <>
      {!grouped && <ByLine author={message.author} name={name} time={<Clock at={message.at} />} />}
      {message.author === "assistant" ? (
        <AnswerBody text={message.text} citations={message.citations} onCite={onCite}>
          <AnswerTools message={message} {...(onRate && { onRate })} />
        </AnswerBody>
      ) : (
        <p className={styles.theirs}>{message.text}</p>
      )}
    </>
  );
}

export function ByLine({ author, name, time }: { author: Author; name: string; time?: ReactNode }) {
  return (
    <div className={styles.by}>
      {author === "assistant" ? <AssistantAvatar /> : <Avatar name={name} />}
      <strong>{name}</strong>
      {time && <span className={styles.time}>{time}</span>}
    </div>
  );
}

interface AnswerBodyProps {
  text: string;
  citations: readonly Citation[];
  onCite: (citation: Citation) => void;
  streaming?: boolean;
  children?: ReactNode;
}

/** An answer of the assistant with its sources, whole or still being written. */
export function AnswerBody({ text, citations, onCite, streaming = false, children }: AnswerBodyProps) {
  const cite = useCallback(
    (number: number) => {
      const citation = citations[number - 1];
      if (citation) onCite(citation);
    },
    [citations, onCite],
  );
  return (
    <div className={styles.answer}>
      <Markdown text={text} onCite={cite} streaming={streaming} />
      {/* Below a text that grows, they would be pushed down line by line; the markers open them meanwhile. */}
      {!streaming && citations.some(Boolean) && (
        <ul className={styles.sources} aria-label="Sources">
          {citations.map((citation, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a source is its number
            <li key={index}>
              <button type="button" onClick={() => onCite(citation)}>
                <span className={styles.number}>{index + 1}</span>
                <span className={styles.source}>{sourceTitle(citation)}</span>
              </button>
            </li>
          ))}
        </ul>
      )}
      {children}
    </div>
  );
}

function sourceTitle({ title, heading }: Citation): string {
  return heading && heading !== title ? `${title} › ${heading}` : title;
}

function AnswerTools({
  message,
  onRate,
}: {
  message: Message;
  onRate?: (messageId: string, rating: Rating) => Promise<void>;
}) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(message.text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1600);
  };
  // What was pressed shows at once; thanks are said for what the service has.
  const [sending, setSending] = useState<Rating>();
  const rating = sending ?? message.rating;
  const rate = async (pressed: Rating) => {
    if (!onRate || sending !== undefined) return;
    const chosen = message.rating === pressed ? "none" : pressed;
    setSending(chosen);
    await onRate(message.id, chosen).finally(() => setSending(undefined));
  };
  return (
    <div className={styles.tools}>
      {onRate && (
        <>
          <IconButton label="This helped" pressed={rating === "up"} onClick={() => void rate("up")}>
            <ThumbsUp size={16} fill={rating === "up" ? "currentColor" : "none"} aria-hidden />
          </IconButton>
          <IconButton label="This did not help" pressed={rating === "down"} onClick={() => void rate("down")}>
            <ThumbsDown size={16} fill={rating === "down" ? "currentColor" : "none"} aria-hidden />
          </IconButton>
        </>
      )}
      {!onRate && message.rating !== "none" && (
        <span className={styles.rated}>
          {message.rating === "up" ? (
            <ThumbsUp size={14} aria-hidden />
          ) : (
            <ThumbsDown size={14} aria-hidden />
          )}
          {message.rating === "up" ? "Helped" : "Did not help"}
        </span>
      )}
      <IconButton label={copied ? "Copied" : "Copy the answer"} onClick={() => void copy()}>
        {copied ? <Check size={16} aria-hidden /> : <Copy size={16} aria-hidden />}
      </IconButton>
      {sending === undefined && message.rating !== "none" && onRate && (
        <span className={styles.thanks}>Thanks for telling us</span>
      )}
    </div>
  );
}
