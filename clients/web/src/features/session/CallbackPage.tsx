import { useEffect, useRef, useState } from "react";
import { useApi, useBackend, useSession, useTitle } from "../../app/hooks";
import { Link, useAddress, useNavigate } from "../../app/router";
import { Skeleton } from "../../ui/states";
import { FormFailure, Frame } from "./form";
import { forgetAttempt, keptAttempt, ProviderApi } from "./providers";

/** Where an organization's provider sends the browser back to. */
export default function CallbackPage() {
  useTitle("Signing in");
  const backend = useBackend();
  const providers = useApi(ProviderApi);
  const session = useSession();
  const navigate = useNavigate();
  const { search } = useAddress();
  const [attempt] = useState(keptAttempt);
  const [failure, setFailure] = useState<unknown>();
  const answered = useRef(false);
  // Who links an account is signed in; after coming back that takes a moment.
  const ready = attempt !== undefined && (!attempt.link || session.status === "signed-in");

  useEffect(() => {
    if (!ready || answered.current) return;
    answered.current = true;
    forgetAttempt();
    const finish = async () => {
      const answer = search.slice(1);
      if (attempt.link) await providers.finishLink(attempt.token, answer);
      else backend.session.accept(await providers.finish(attempt.token, answer));
      navigate(attempt.from, { replace: true });
    };
    finish().catch(setFailure);
  }, [ready, attempt, search, providers, backend, navigate]);

  const lost = attempt === undefined || (attempt.link && session.status === "signed-out");
  if (failure || lost) {
    const back = attempt?.link ? <Link to="/security">Back</Link> : <Link to="/sign-in">Sign in</Link>;
    return (
      <Frame
        title="That didn't work"
        lead={failure ? "You are not signed in by it." : "This sign-in was not begun in this window."}
        footer={back}
      >
        <FormFailure failure={failure} />
      </Frame>
    );
  }
  return (
    <Frame title="One moment" lead="You are being signed in.">
      <Skeleton lines={2} />
    </Frame>
  );
}
