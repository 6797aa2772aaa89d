import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { ConsentService } from "../../gen/deskmesh/auth/v1/consent_service_pb";
import { startTrace } from "../../rpc/trace";
import { call } from "../../rpc/transport";

/** By what a program asks: the query it sent somebody here with, or the code that a device shows. */
export type Subject =
  | { readonly case: "authorization"; readonly value: string }
  | { readonly case: "userCode"; readonly value: string };

/** Which program asks for what. */
export interface Question {
  readonly program: string;
  readonly scopes: readonly string[];
  /** Where the answer goes; empty for a device. */
  readonly host: string;
}

/** A program that was let in. */
export interface Program {
  readonly id: string;
  readonly name: string;
}

/** Letting programs in, and putting them out. */
export class ConsentApi {
  readonly #consents: Client<typeof ConsentService>;

  constructor(transport: Transport) {
    this.#consents = createClient(ConsentService, transport);
  }

  question(how: Subject): Promise<Question> {
    return call(startTrace(), async (options) => {
      const found = await this.#consents.getConsent({ subject: { how } }, options);
      return { program: found.clientName, scopes: found.scopes, host: found.redirectHost };
    });
  }

  programs(): Promise<Program[]> {
    return call(startTrace(), async (options) =>
      (await this.#consents.listPrograms({}, options)).programs.map(({ clientId, clientName }) => ({
        id: clientId,
        name: clientName,
      })),
    );
  }

  putOut(clientId: string): Promise<void> {
    return call(
      startTrace(),
      async (options) => void (await this.#consents.revokeProgram({ clientId }, options)),
    );
  }

  /** Where the browser goes now; empty for a device. */
  answer(how: Subject, approved: boolean): Promise<string> {
    return call(
      startTrace(),
      async (options) =>
        (await this.#consents.answerConsent({ subject: { how }, approved }, options)).redirectUri,
    );
  }
}
