/** True where this browser can make and use passkeys. */
export function supported(): boolean {
  return typeof PublicKeyCredential === "function" && "parseCreationOptionsFromJSON" in PublicKeyCredential;
}

/** Has the person's device make a passkey; its answer as JSON. Undefined when the person gave up. */
export function create(optionsJson: string): Promise<string | undefined> {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(optionsJson));
  return answer(navigator.credentials.create({ publicKey }));
}

/** Has the person choose a passkey and use it; its answer as JSON. Undefined when the person gave up. */
export function use(optionsJson: string): Promise<string | undefined> {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(optionsJson));
  return answer(navigator.credentials.get({ publicKey }));
}

async function answer(asked: Promise<Credential | null>): Promise<string | undefined> {
  try {
    const credential = await asked;
    return credential instanceof PublicKeyCredential ? JSON.stringify(credential.toJSON()) : undefined;
  } catch (error) {
    // What browsers say when the person cancels or lets the time pass.
    if (error instanceof DOMException && error.name === "NotAllowedError") return undefined;
    throw error;
  }
}
