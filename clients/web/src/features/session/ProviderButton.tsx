import { useQuery } from "@tanstack/react-query";
import { Building2 } from "lucide-react";
import { useState } from "react";
import { useApi } from "../../app/hooks";
import { useVisit } from "../../app/router";
import { Button } from "../../ui/Button";
import { useNotify } from "../../ui/Notices";
import { ProviderApi } from "./providers";

/** Signs in by the organization's own provider, where it has one. */
export default function ProviderButton({ organization }: { organization: string }) {
  const providers = useApi(ProviderApi);
  const notify = useNotify();
  const { from = "/" } = useVisit();
  const [busy, setBusy] = useState(false);
  // Without an answer there is a password to sign in with.
  const { data: name } = useQuery({
    queryKey: ["provider", organization],
    queryFn: () => providers.name(organization),
  });
  if (!name) return null;
  const begin = async () => {
    setBusy(true);
    try {
      window.location.assign(await providers.begin(organization, from));
    } catch (error) {
      notify.failure(error);
      setBusy(false);
    }
  };
  return (
    <Button icon={<Building2 size={16} aria-hidden />} busy={busy} onClick={() => void begin()}>
      Continue with {name}
    </Button>
  );
}
