import { create } from "@bufbuild/protobuf";
import { Code, type ConnectRouter, createRouterTransport, type Interceptor } from "@connectrpc/connect";
import { AccountService } from "../../src/gen/deskmesh/auth/v1/account_service_pb";
import { AuthService, PrincipalSchema, TokensSchema } from "../../src/gen/deskmesh/auth/v1/auth_service_pb";
import { ConsentService } from "../../src/gen/deskmesh/auth/v1/consent_service_pb";
import { IdentityProviderService } from "../../src/gen/deskmesh/auth/v1/identity_provider_service_pb";
import { InvitationService } from "../../src/gen/deskmesh/auth/v1/invitation_service_pb";
import { MfaService } from "../../src/gen/deskmesh/auth/v1/mfa_service_pb";
import { MembershipSchema } from "../../src/gen/deskmesh/auth/v1/organization_pb";
import { OrganizationService } from "../../src/gen/deskmesh/auth/v1/organization_service_pb";
import { PasskeyService } from "../../src/gen/deskmesh/auth/v1/passkey_service_pb";
import { Role } from "../../src/gen/deskmesh/auth/v1/user_pb";
import { ArticleService } from "../../src/gen/deskmesh/knowledge/v1/article_service_pb";
import { SearchService } from "../../src/gen/deskmesh/knowledge/v1/search_service_pb";
import { OrchestratorService } from "../../src/gen/deskmesh/orchestrator/v1/orchestrator_service_pb";
import { ConversationService } from "../../src/gen/deskmesh/sessions/v1/conversation_service_pb";
import { Author } from "../../src/gen/deskmesh/sessions/v1/message_pb";
import { TicketService } from "../../src/gen/deskmesh/tickets/v1/ticket_service_pb";
import type { TransportFactory } from "../../src/rpc/transport";
import { ARTICLES } from "./articles";
import { FakeConversations } from "./conversations";
import { failure } from "./parts";
import { FakeTickets } from "./tickets";

const PEOPLE = [
  { id: "usr_robin", displayName: "Robin Ash", email: "robin@customers.example", role: Role.CUSTOMER },
  { id: "usr_noor", displayName: "Noor Haddad", email: "noor@customers.example", role: Role.CUSTOMER },
  { id: "usr_mara", displayName: "Mara Lindqvist", email: "mara@fernwick.example", role: Role.AGENT },
  { id: "usr_jonas", displayName: "Jonas Weber", email: "jonas@fernwick.example", role: Role.SUPERVISOR },
];

/** All services in memory, in the browser or in a test. Any password but "wrong" signs in, "second factor" after the code 123456; "mara@…" is an agent. */
export class FakeServices {
  readonly conversations = new FakeConversations();
  readonly tickets = new FakeTickets();
  /** Milliseconds before every answer. */
  delay = 0;
  /** True while nothing can be reached. */
  down = false;
  me = "usr_robin";
  /** Who was let in. */
  programs = ["The shop"];
  /** Which organization signs in by Acme. */
  acmeOf = "acme";
  /** Who signs in by it as the person. */
  linked = ["eve-at-acme"];

  readonly transport: TransportFactory = (interceptors) =>
    createRouterTransport((router) => this.routes(router), {
      transport: { interceptors: [...interceptors, this.#weather] },
    });

  readonly #weather: Interceptor = (next) => async (request) => {
    await new Promise((resolve) => setTimeout(resolve, this.delay));
    if (this.down) throw failure(Code.Unavailable, "DEPENDENCY_UNAVAILABLE", "down");
    return next(request);
  };

  routes(router: ConnectRouter): void {
    this.#auth(router);
    this.#people(router);
    this.#knowledge(router);
    const { conversations, tickets } = this;
    router.service(ConversationService, {
      createConversation: () => ({ conversation: conversations.create(this.me).record }),
      getConversation: ({ conversationId }) => ({ conversation: conversations.get(conversationId).record }),
      listConversations: () => ({ conversations: conversations.list() }),
      closeConversation: ({ conversationId }) => ({
        conversation: conversations.close(conversationId, false),
      }),
      watch: ({ conversationId, fromOffset }, context) =>
        conversations.get(conversationId).log.watch(fromOffset, context.signal),
      setTyping: () => ({}),
      rateMessage: ({ messageId, rating }) => ({ message: conversations.rate(messageId, rating) }),
      appendMessage: ({ conversationId, text }) => ({
        message: conversations.message(conversationId, Author.AGENT, text, this.me),
      }),
      setResponder: ({ conversationId, responder }) => ({
        conversation: conversations.setResponder(conversationId, responder),
      }),
    });
    router.service(OrchestratorService, {
      sendMessage: ({ conversationId, text, proposalReply }) => {
        if (/busy/i.test(text)) throw failure(Code.ResourceExhausted, "MODEL_OVERLOADED", "busy", 8);
        return conversations.ask(conversationId, text, this.me, proposalReply);
      },
      cancelTurn: ({ turnId }) => ({ turn: conversations.cancel(turnId) }),
    });
    router.service(TicketService, {
      listTickets: (request) => ({ tickets: tickets.list(request, this.me) }),
      getTicket: ({ ticketId }) => ({ ticket: tickets.get(ticketId) }),
      updateTicket: (request) => ({ ticket: tickets.update(request, this.me) }),
      addComment: ({ ticketId, text, visibility }) => tickets.comment(ticketId, text, visibility, this.me),
      listComments: ({ ticketId }) => ({ comments: tickets.comments(ticketId, this.me) }),
      listTicketEvents: ({ ticketId }) => ({ events: tickets.history(ticketId) }),
    });
  }

  #auth(router: ConnectRouter): void {
    const tokens = () =>
      create(TokensSchema, {
        accessToken: `access-${this.me}`,
        accessTokenLifetime: { seconds: 600n },
        refreshToken: `refresh-${this.me}`,
      });
    const principal = () => {
      const person = PEOPLE.find(({ id }) => id === this.me) ?? PEOPLE[0];
      return create(PrincipalSchema, {
        user: { id: person?.id ?? "", displayName: person?.displayName ?? "", email: person?.email ?? "" },
        organization: { id: "org_1", slug: "fernwick", name: "Fernwick" },
        roles: [person?.role ?? Role.CUSTOMER],
      });
    };
    router.service(AuthService, {
      signIn: ({ email, password }) => {
        if (password === "wrong") throw failure(Code.Unauthenticated, "CREDENTIALS_INVALID", "no");
        this.me = PEOPLE.find((person) => person.email === email)?.id ?? "usr_robin";
        if (password === "second factor") return { challenge: { token: "challenge" } };
        return { principal: principal(), tokens: tokens() };
      },
      signUp: ({ email }) => {
        if (email.startsWith("taken")) throw failure(Code.AlreadyExists, "EMAIL_TAKEN", "taken");
        return { principal: principal(), tokens: tokens() };
      },
      refreshToken: ({ refreshToken }) => {
        this.me = refreshToken.replace("refresh-", "");
        return { tokens: tokens() };
      },
      signOut: () => ({}),
      whoAmI: () => ({ principal: principal() }),
    });
    let [proved, appEnabled] = [false, false];
    router.service(MfaService, {
      completeSignIn: ({ code }) => {
        if (code?.kind.value !== "123456") throw failure(Code.Unauthenticated, "MFA_CODE_INVALID", "no");
        return { principal: principal(), tokens: tokens() };
      },
      beginTotp: () => {
        if (!proved) throw failure(Code.PermissionDenied, "STEP_UP_REQUIRED", "prove it");
        return { secret: "JBSWY3DPEHPK3PXP", uri: "otpauth://totp/Deskmesh" };
      },
      confirmTotp: ({ code }) => {
        if (code !== "123456") throw failure(Code.Unauthenticated, "MFA_CODE_INVALID", "no");
        appEnabled = true;
        return { recoveryCodes: ["AAAA-BBBB-CCCC-DDDD"] };
      },
      stepUp: ({ password }) => {
        if (password === "wrong") throw failure(Code.Unauthenticated, "CREDENTIALS_INVALID", "no");
        proved = true;
        return { accessToken: { value: "proved", lifetime: { seconds: 600n, nanos: 0 } } };
      },
    });
    const known = (how: { case: string | undefined; value?: string | undefined } | undefined) => {
      const right = how?.case === "userCode" ? how.value === "WDJB-MJHT" : how?.value?.includes("client_id=");
      if (!right) throw failure(Code.FailedPrecondition, "USER_CODE_INVALID", "no");
    };
    router.service(ConsentService, {
      getConsent: ({ subject }) => {
        known(subject?.how);
        const redirectHost = subject?.how.case === "authorization" ? "shop.example" : "";
        return { clientId: "shop", clientName: "The shop", scopes: ["openid", "deskmesh"], redirectHost };
      },
      answerConsent: ({ subject, approved }) => {
        known(subject?.how);
        if (!proved && subject?.how.value?.includes("long_ago")) {
          throw failure(Code.PermissionDenied, "STEP_UP_REQUIRED", "prove it");
        }
        if (subject?.how.case === "userCode") return {};
        return { redirectUri: `#${approved ? "code=c" : "error=access_denied"}` };
      },
      listPrograms: () => ({ programs: this.programs.map((name) => ({ clientId: name, clientName: name })) }),
      revokeProgram: ({ clientId }) => {
        this.programs = this.programs.filter((name) => name !== clientId);
        return { endedSignIns: 1 };
      },
    });
    router.service(IdentityProviderService, {
      getSignInOptions: ({ organizationSlug }) => ({
        providerName: organizationSlug === this.acmeOf ? "Acme" : "",
      }),
      beginProviderSignIn: () => ({ authorizationUrl: "#at-acme", attemptToken: "attempt" }),
      finishProviderSignIn: ({ attemptToken, answer }) => {
        if (attemptToken !== "attempt" || answer !== "code=good&state=s") {
          throw failure(Code.FailedPrecondition, "IDENTITY_NOT_LINKED", "no");
        }
        return { principal: principal(), tokens: tokens() };
      },
      beginIdentityLink: () => ({ authorizationUrl: "#at-acme", attemptToken: "link" }),
      finishIdentityLink: () => ({}),
      listIdentityLinks: () => ({
        identityLinks: this.linked.map((subject) => ({
          issuer: "https://id.acme.example",
          subject,
          active: true,
        })),
      }),
      removeIdentityLink: ({ subject }) => {
        this.linked = this.linked.filter((one) => one !== subject);
        return {};
      },
    });
    router.service(PasskeyService, { listPasskeys: () => ({ passkeys: [] }) });
    const linked = (token: string) => {
      if (token !== "good") throw failure(Code.FailedPrecondition, "MAIL_LINK_INVALID", "old");
      return {};
    };
    const invited = (token: string) => {
      if (token !== "good") throw failure(Code.FailedPrecondition, "INVITATION_INVALID", "old");
      return { principal: principal(), tokens: tokens() };
    };
    router.service(InvitationService, {
      acceptInvitation: ({ token }) => invited(token),
      signUpWithInvitation: ({ token }) => invited(token),
    });
    router.service(AccountService, {
      getAccount: () => ({ totpEnabled: appEnabled, recoveryCodesLeft: appEnabled ? 10 : 0 }),
      verifyEmail: ({ token }) => linked(token),
      requestPasswordReset: () => ({}),
      resetPassword: ({ token }) => linked(token),
    });
  }

  #people(router: ConnectRouter): void {
    const member = ({ id, displayName, email, role }: (typeof PEOPLE)[number]) =>
      create(MembershipSchema, { user: { id, displayName, email }, roles: [role] });
    router.service(OrganizationService, {
      listMembers: ({ role }) => ({ members: PEOPLE.filter((person) => person.role === role).map(member) }),
      batchGetMembers: ({ userIds }) => ({
        members: PEOPLE.filter(({ id }) => userIds.includes(id)).map(member),
      }),
    });
  }

  #knowledge(router: ConnectRouter): void {
    router.service(ArticleService, {
      listArticles: () => ({ articles: ARTICLES.map(({ article }) => article) }),
      getArticle: ({ key }) => {
        const found = ARTICLES.find(({ article }) => article.slug === key.value || article.id === key.value);
        if (!found) throw failure(Code.NotFound, "ARTICLE_NOT_FOUND", "no such article");
        return { article: found.article, passages: [...found.passages] };
      },
    });
    router.service(SearchService, {
      search: ({ query }) => {
        const words = query.toLowerCase().split(/\s+/);
        const hits = ARTICLES.flatMap(({ passages }) => passages)
          .filter((passage) =>
            words.every((word) => `${passage.heading} ${passage.text}`.toLowerCase().includes(word)),
          )
          .slice(0, 8)
          .map((passage) => ({ passage }));
        return { hits };
      },
    });
  }
}
