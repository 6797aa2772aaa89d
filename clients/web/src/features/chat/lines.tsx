import { ArrowRight, CircleCheck, CircleSlash, RotateCw, Ticket, TriangleAlert } from "lucide-react";
import { useState } from "react";
import { Link } from "../../app/router";
import { describe, describeReason } from "../../rpc/problems";
import { Button } from "../../ui/Button";
import { Reference, useCountdown } from "../../ui/states";
import styles from "./lines.module.css";
import type { Responder } from "./model";
import type { Item, Outgoing } from "./reducer";

type ItemOf<K extends Item["kind"]> = Extract<Item, { kind: K }>;

interface OutgoingLineProps {
  outgoing: Outgoing;
  onRetry: (text: string, requestId: string) => void;
  onWithdraw: (requestId: string) => void;
}

/** A message on its way: shown at once, and kept with its reason when it did not get through. */
export function OutgoingLine({ outgoing, onRetry, onWithdraw }: OutgoingLineProps) {
  const left = useCountdown(outgoing.retryAt);
  const problem = outgoing.error && describe(outgoing.error);
  return (
    <div className={styles.outgoing}>
      <p className={`${styles.own} ${outgoing.state === "sending" ? styles.sending : ""}`}>{outgoing.text}</p>
      {outgoing.state === "failed" && problem ? (
        <div className={styles.card} data-tone="warn" role="alert">
          <TriangleAlert size={20} aria-hidden />
          <div className={styles.body}>
            <strong>Not sent: {problem.title}</strong>
            <p>
              {problem.detail}
              {left > 0 && ` Try again in ${left} s.`}
            </p>
            <div className={styles.actions}>
              <Button
                size="s"
                icon={<RotateCw size={14} aria-hidden />}
                disabled={left > 0}
                onClick={() => onRetry(outgoing.text, outgoing.requestId)}
              >
                Try again
              </Button>
              <Button size="s" look="quiet" onClick={() => onWithdraw(outgoing.requestId)}>
                Discard
              </Button>
              <Reference traceId={problem.traceId} />
            </div>
          </div>
        </div>
      ) : (
        <span className={styles.note}>Sending…</span>
      )}
    </div>
  );
}

/** A turn that ended without an answer. */
export function FailureLine({
  failure,
  onAsk,
}: {
  failure: ItemOf<"failure">;
  onAsk?: (text: string) => void;
}) {
  const left = useCountdown(failure.retryAt);
  if (failure.reason === "TURN_CANCELLED") {
    return (
      <p className={styles.quiet}>
        <CircleSlash size={16} aria-hidden /> The answer was stopped.
      </p>
    );
  }
  const [title, detail] = describeReason(failure.reason);
  return (
    <div className={styles.card} data-tone="warn" role="alert">
      <TriangleAlert size={20} aria-hidden />
      <div className={styles.body}>
        <strong>{title}</strong>
        <p>
          {detail}
          {failure.retryable && left > 0 && ` Try again in ${left} s.`}
        </p>
        {failure.retryable && failure.question && onAsk && (
          <div className={styles.actions}>
            <Button
              size="s"
              icon={<RotateCw size={14} aria-hidden />}
              disabled={left > 0}
              onClick={() => onAsk(failure.question)}
            >
              Ask again
            </Button>
          </div>
        )}
      </div>
    </div>
  );
}

interface ProposalCardProps {
  proposal: ItemOf<"proposal">;
  onAnswer?: (proposalId: string, accepted: boolean) => void;
}

/** An action that waits for the customer's word. */
export function ProposalCard({ proposal, onAnswer }: ProposalCardProps) {
  const [given, setGiven] = useState<boolean>();
  const answer = (accepted: boolean) => {
    setGiven(accepted);
    onAnswer?.(proposal.proposalId, accepted);
  };
  return (
    <div className={styles.card} data-standing={proposal.standing}>
      <Ticket size={20} aria-hidden />
      <div className={styles.body}>
        <strong>Open a ticket?</strong>
        <p>“{proposal.subject}”</p>
        {proposal.standing !== "open" ? (
          <p className={styles.settled}>
            {proposal.standing === "accepted" ? (
              <CircleCheck size={16} aria-hidden />
            ) : (
              <CircleSlash size={16} aria-hidden />
            )}
            {proposal.standing === "accepted" ? "Ticket opened" : "Not opened"}
          </p>
        ) : onAnswer ? (
          <div className={styles.actions}>
            <Button
              look="primary"
              size="s"
              busy={given === true}
              disabled={given !== undefined}
              onClick={() => answer(true)}
            >
              Open ticket
            </Button>
            <Button
              size="s"
              busy={given === false}
              disabled={given !== undefined}
              onClick={() => answer(false)}
            >
              Not now
            </Button>
          </div>
        ) : (
          <p className={styles.settled}>Waiting for the customer</p>
        )}
      </div>
    </div>
  );
}

export function TicketLine({ number, subject, to }: { number: number; subject: string; to: string }) {
  return (
    <Link to={to} className={styles.card}>
      <Ticket size={20} aria-hidden />
      <div className={styles.body}>
        <strong>Ticket #{number}</strong>
        <p>{subject}</p>
      </div>
      <ArrowRight size={16} aria-hidden className={styles.go} />
    </Link>
  );
}

const RESPONDER_WORDS = {
  customer: {
    human: "You're talking to a person now. They'll answer here, and you can leave in the meantime.",
    assistant: "The assistant is answering again.",
  },
  agent: { human: "A person answers from here on.", assistant: "Handed back to the assistant." },
} as const;

export function ResponderLine({
  responder,
  perspective,
}: {
  responder: Responder;
  perspective: "customer" | "agent";
}) {
  return (
    <p className={styles.divider}>
      <span>{RESPONDER_WORDS[perspective][responder]}</span>
    </p>
  );
}

export function ClosedLine({ expired }: { expired: boolean }) {
  return (
    <p className={styles.divider}>
      <span>{expired ? "Closed after a quiet while" : "Conversation closed"}</span>
    </p>
  );
}
