import { ArrowDown } from "lucide-react";
import { Fragment, type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { Button } from "../../ui/Button";
import { dayTitle } from "../../ui/When";
import { ClosedLine, FailureLine, OutgoingLine, ProposalCard, ResponderLine, TicketLine } from "./lines";
import { AnswerBody, Bubble, ByLine } from "./MessageView";
import type { Author, Citation, Rating } from "./model";
import { answerKey, type ChatState, type Item } from "./reducer";
import styles from "./Timeline.module.css";

/** What a person can do to the lines of a conversation; what is missing is not offered. */
export interface TimelineActions {
  retry(text: string, requestId: string): void;
  withdraw(requestId: string): void;
  cite(citation: Citation): void;
  ask?(text: string): void;
  /** Settles when the service has it or has refused it. */
  rate?(messageId: string, rating: Rating): Promise<void>;
  answerProposal?(proposalId: string, accepted: boolean): void;
}

interface TimelineProps {
  state: ChatState;
  perspective: "customer" | "agent";
  actions: TimelineActions;
  /** Name of whoever wrote as a person of the organization, or as the customer. */
  nameOfAgent: (userId: string) => string;
  nameOfCustomer?: string;
  ticketPath: string;
}

/** Messages of one author this close together share a by-line. */
const GROUP_MS = 5 * 60_000;
/** Closer to the end than this, the page follows what is written. */
const STICKY_PX = 96;

export function Timeline(props: TimelineProps) {
  const { state, perspective } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [away, setAway] = useState(false);
  const follows = useRef(true);

  // biome-ignore lint/correctness/useExhaustiveDependencies: every new line or piece of text may need scrolling
  useEffect(() => {
    const element = scroller.current;
    if (element && follows.current) element.scrollTop = element.scrollHeight;
  }, [state]);
  useEffect(() => {
    if (state.outgoing.length > 0) follows.current = true;
  }, [state.outgoing.length]);

  const onScroll = () => {
    const element = scroller.current;
    if (!element) return;
    follows.current = element.scrollHeight - element.scrollTop - element.clientHeight < STICKY_PX;
    setAway(!follows.current);
  };
  const toEnd = () => scroller.current?.scrollTo({ top: scroller.current.scrollHeight, behavior: "smooth" });

  const typist = state.typing && state.typing.author !== perspective ? state.typing.author : undefined;
  return (
    <div className={styles.frame}>
      <div className={styles.scroller} ref={scroller} onScroll={onScroll}>
        <ol className={styles.lines} aria-label="Messages">
          <Lines {...props} />
          {state.turn && !state.turn.settled && (
            <li key={answerKey(state.turn.id)} className={styles.line}>
              <ByLine author="assistant" name="Assistant" />
              {state.turn.text ? (
                <AnswerBody
                  text={state.turn.text}
                  citations={state.turn.citations}
                  onCite={props.actions.cite}
                  streaming
                />
              ) : (
                <Working />
              )}
            </li>
          )}
          {state.outgoing.map((outgoing) => (
            <li key={outgoing.requestId} className={styles.line}>
              <OutgoingLine
                outgoing={outgoing}
                onRetry={props.actions.retry}
                onWithdraw={props.actions.withdraw}
              />
            </li>
          ))}
          {typist && !state.turn && (
            <li className={styles.line}>
              <Typing
                who={typist === "customer" ? (props.nameOfCustomer ?? "The customer") : props.nameOfAgent("")}
              />
            </li>
          )}
        </ol>
      </div>
      {away && (
        <Button className={styles.latest} size="s" icon={<ArrowDown size={14} aria-hidden />} onClick={toEnd}>
          Latest
        </Button>
      )}
      <Announcer state={state} perspective={perspective} />
    </div>
  );
}

function Lines({
  state,
  perspective,
  actions,
  nameOfAgent,
  nameOfCustomer = "Customer",
  ticketPath,
}: TimelineProps) {
  const now = new Date();
  let day = "";
  let before: Item | undefined;
  return state.items.map((item) => {
    const at = item.kind === "message" ? item.message.at : undefined;
    const title = at && dayTitle(at, now);
    const newDay = title !== undefined && title !== day;
    if (newDay) day = title;
    const grouped = !newDay && sameGroup(before, item);
    before = item;
    return (
      <Fragment key={item.key}>
        {newDay && (
          <li className={styles.day}>
            <span>{title}</span>
          </li>
        )}
        <li className={`${styles.line} ${grouped ? styles.grouped : ""}`}>{line(item)}</li>
      </Fragment>
    );

    function line(one: Item): ReactNode {
      switch (one.kind) {
        case "message":
          return (
            <Bubble
              message={one.message}
              mine={one.message.author === perspective}
              name={nameOf(one.message.author, one.message.userId)}
              grouped={grouped}
              onCite={actions.cite}
              {...(actions.rate && { onRate: actions.rate })}
            />
          );
        case "failure":
          return <FailureLine failure={one} {...(actions.ask && { onAsk: actions.ask })} />;
        case "proposal":
          return (
            <ProposalCard
              proposal={one}
              {...(actions.answerProposal && { onAnswer: actions.answerProposal })}
            />
          );
        case "ticket":
          return (
            <TicketLine number={one.number} subject={one.subject} to={`${ticketPath}/${one.ticketId}`} />
          );
        case "responder":
          return <ResponderLine responder={one.responder} perspective={perspective} />;
        case "closed":
          return <ClosedLine expired={one.expired} />;
      }
    }
  });

  function nameOf(author: Author, userId: string): string {
    if (author === "assistant") return "Assistant";
    if (author === perspective) return "You";
    return author === "agent" ? nameOfAgent(userId) : nameOfCustomer;
  }
}

function sameGroup(before: Item | undefined, item: Item): boolean {
  if (before?.kind !== "message" || item.kind !== "message") return false;
  const [a, b] = [before.message, item.message];
  return a.author === b.author && a.userId === b.userId && b.at.getTime() - a.at.getTime() < GROUP_MS;
}

function Working() {
  return (
    <p className={styles.working}>
      <Dots /> Looking through the help centre
    </p>
  );
}

function Typing({ who }: { who: string }) {
  return (
    <p className={styles.working} role="status">
      <Dots /> {who} is typing
    </p>
  );
}

function Dots() {
  return (
    <span className={styles.dots} aria-hidden>
      <i />
      <i />
      <i />
    </span>
  );
}

/** Reads out whole messages of others as they come, not the pieces while they are written, nor what was there before. */
function Announcer({ state, perspective }: { state: ChatState; perspective: Author }) {
  const [quietUntil, setQuietUntil] = useState<number>();
  useEffect(() => {
    if (state.caughtUp) setQuietUntil((offset) => offset ?? state.items.length);
  }, [state.caughtUp, state.items.length]);
  const words = useMemo(() => {
    const last = state.items.at(-1);
    const fresh = quietUntil !== undefined && state.items.length > quietUntil;
    if (!fresh || last?.kind !== "message" || last.message.author === perspective) return "";
    return `${last.message.author}: ${last.message.text}`;
  }, [state.items, quietUntil, perspective]);
  return (
    <div className="sr-only" aria-live="polite">
      {words}
    </div>
  );
}
