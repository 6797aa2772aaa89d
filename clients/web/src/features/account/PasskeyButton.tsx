import { KeyRound } from "lucide-react";
import { useState } from "react";
import { useBackend } from "../../app/hooks";
import { Button } from "../../ui/Button";
import { useNotify } from "../../ui/Notices";
import { AccountApi } from "./api";
import { supported, use } from "./browserKeys";

/** Signs in with a passkey, where the browser can. */
export default function PasskeyButton({ organization }: { organization: string }) {
  const backend = useBackend();
  const notify = useNotify();
  const [busy, setBusy] = useState(false);
  if (!supported()) return null;
  const signIn = async () => {
    setBusy(true);
    try {
      const account = backend.api(AccountApi);
      const attempt = await account.beginPasskeySignIn();
      const answer = await use(attempt.optionsJson);
      if (answer) backend.session.accept(await account.finishPasskeySignIn(attempt, answer, organization));
    } catch (error) {
      notify.failure(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Button icon={<KeyRound size={16} aria-hidden />} busy={busy} onClick={() => void signIn()}>
      Use a passkey
    </Button>
  );
}
