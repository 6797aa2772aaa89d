import { CallError } from "./errors";

/** A failure in words for the person who met it. */
export interface Problem {
  readonly title: string;
  readonly detail: string;
  /** True when doing the same again may help. */
  readonly retryable: boolean;
  /** 0 when nothing says how long to wait. */
  readonly retryAfterSeconds: number;
  readonly traceId: string;
}

type Words = readonly [title: string, detail: string];

const BY_REASON: Readonly<Record<string, Words>> = {
  ARTICLE_NOT_FOUND: ["Article not found", "It may have been renamed or taken down."],
  ASSIGNEE_NOT_AGENT: ["That person can't take tickets", "Choose somebody from the support team."],
  CONSENT_REQUEST_INVALID: ["That program asks in the wrong way", "Its makers have to look into it."],
  CONVERSATION_CLOSED: ["This conversation is closed", "Start a new one and we'll pick it up from there."],
  CONVERSATION_NOT_FOUND: ["Conversation not found", "It may belong to another account."],
  CREDENTIALS_INVALID: ["That didn't match", "Check your e-mail address and password and try again."],
  EMAIL_NOT_VERIFIED: ["Verify your e-mail address first", "Follow the link that was sent to it."],
  EMAIL_TAKEN: ["You already have an account", "Sign in with this e-mail address instead."],
  IDENTITY_NOT_ALLOWED: [
    "You can't come in this way",
    "Your organization lets only some people in by it. Ask its administrator.",
  ],
  IDENTITY_NOT_LINKED: [
    "You already have an account",
    "Sign in with your password or passkey, then link it on the security page.",
  ],
  IDENTITY_PROVIDER_NOT_FOUND: ["That sign-in is gone", "Sign in with your password instead."],
  IDENTITY_PROVIDER_UNAVAILABLE: ["The other sign-in doesn't answer", "Try again in a moment."],
  INVITATION_INVALID: ["This invitation is used or too old", "Ask whoever invited you for a new one."],
  MAIL_LINK_INVALID: ["This link is used or too old", "Ask for a new one."],
  MFA_CHALLENGE_INVALID: ["That took too long", "Start again with your password."],
  MFA_CODE_INVALID: ["That code didn't match", "Enter the newest code; each works once."],
  MESSAGE_NOT_FOUND: ["Message not found", "It may belong to another account."],
  MODEL_OVERLOADED: ["We're busy right now", "Many people are asking at once."],
  MODEL_UNAVAILABLE: ["The assistant is starting up", "It will be ready in a moment."],
  ORGANIZATION_NOT_FOUND: ["No such shop", "Check the shop's short name."],
  PASSKEY_INVALID: ["That passkey wasn't accepted", "Try again, or sign in with your password."],
  PASSWORD_NEEDS_SECOND_FACTOR: ["Your password is short", "Choose a longer one before you remove the app."],
  PASSWORD_WEAK: ["Choose a stronger password", "This one is too short or too well known."],
  PERMISSION_MISSING: ["You don't have access to this", "Ask an administrator if you need it."],
  PROPOSAL_NOT_FOUND: ["That offer is gone", "It was settled already. Ask again if you still need it."],
  PROVIDER_SIGN_IN_INVALID: ["That took too long", "Begin again, in the same window."],
  PROVIDER_SIGN_IN_REFUSED: ["You were not let through there", "Try again, or sign in with your password."],
  RATE_LIMITED: ["Too many tries", "Wait a moment, then try again."],
  REFRESH_TOKEN_INVALID: ["Your session ended", "Sign in again to go on."],
  REQUEST_ID_REUSED: ["That was sent already", "Write it again as a new message."],
  STALE_ETAG: ["Someone changed this first", "You now see the newest version. Make your change again."],
  TICKET_NOT_FOUND: ["Ticket not found", "It may belong to another account."],
  TICKET_TRANSITION_NOT_ALLOWED: ["That step isn't possible", "The ticket's status doesn't allow it."],
  TOO_MANY_WATCHERS: ["We're busy right now", "Too many people are connected at once."],
  TOKEN_REVOKED: ["Your session ended", "Sign in again to go on."],
  TURN_CANCELLED: ["Stopped", "The answer was stopped."],
  TURN_IN_PROGRESS: ["One moment", "The assistant is still answering. Wait for it or stop it."],
  TURN_LOST: ["The answer got lost", "Something failed while it was written. Please ask again."],
  USER_CODE_INVALID: [
    "That code didn't match",
    "It is wrong, used or too old. Have your device show a new one.",
  ],
};

const OFFLINE: Words = ["You're offline", "Check your connection; we'll go on as soon as it is back."];

const BY_KIND: Readonly<Record<CallError["kind"], Words>> = {
  invalid: ["Something isn't right", "Check what you entered and try again."],
  unauthenticated: ["Please sign in", "Your session ended."],
  denied: ["You don't have access to this", "Ask an administrator if you need it."],
  missing: ["Not found", "It may have been removed."],
  conflict: ["That didn't go through", "Something changed in the meantime. Try again."],
  exhausted: ["We're busy right now", "Too much is going on at once."],
  unavailable: ["We can't reach the service", "Try again in a moment."],
  cancelled: ["Stopped", "The request was stopped."],
  range: ["Out of step", "Reload the page."],
  internal: ["Something went wrong", "It's not your fault. Try again in a moment."],
};

const RETRYABLE: readonly CallError["kind"][] = ["exhausted", "unavailable", "internal", "conflict"];

export function describe(error: unknown): Problem {
  const call = error instanceof CallError ? error : new CallError(String(error), { kind: "internal" });
  const offline = call.kind === "unavailable" && !navigator.onLine;
  const [title, detail] = offline ? OFFLINE : (BY_REASON[call.reason] ?? BY_KIND[call.kind]);
  return {
    title,
    detail,
    retryable: RETRYABLE.includes(call.kind),
    retryAfterSeconds: call.retryAfterSeconds,
    traceId: call.traceId,
  };
}

/** The same words for a failure that came as an event, with a reason and no call of its own. */
export function describeReason(reason: string): Words {
  return BY_REASON[reason] ?? BY_KIND.internal;
}

export function hasReason(error: unknown, reason: string): boolean {
  return error instanceof CallError && error.reason === reason;
}
