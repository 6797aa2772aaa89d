import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { InvitationService } from "../../gen/deskmesh/auth/v1/invitation_service_pb";
import { startTrace } from "../../rpc/trace";
import { call } from "../../rpc/transport";
import { type SignedIn, toSignedIn } from "../session/api";

/** What the invited do. */
export class InvitationApi {
  readonly #invitations: Client<typeof InvitationService>;

  constructor(transport: Transport) {
    this.#invitations = createClient(InvitationService, transport);
  }

  accept(token: string): Promise<SignedIn> {
    return call(startTrace(), async (options) =>
      toSignedIn(await this.#invitations.acceptInvitation({ token }, options)),
    );
  }

  join(token: string, displayName: string, password: string): Promise<SignedIn> {
    return call(startTrace(), async (options) =>
      toSignedIn(await this.#invitations.signUpWithInvitation({ token, displayName, password }, options)),
    );
  }
}
