import { LoaderCircle, RefreshCw, WifiOff } from "lucide-react";
import { useEffect, useState } from "react";
import { Button } from "../../ui/Button";
import styles from "./LinkBanner.module.css";
import type { Link } from "./reducer";

/** Most cuts heal before anybody could read about them. */
const PATIENCE_MS = 800;

/** Says that the live stream is cut, and what is being done about it. */
export function LinkBanner({ link, onRetry }: { link: Link; onRetry: () => void }) {
  const broken = link.state === "reconnecting" || link.state === "offline";
  const [shown, setShown] = useState(false);
  useEffect(() => {
    if (!broken) return setShown(false);
    const timer = setTimeout(() => setShown(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [broken]);
  return (
    <div role="status" className={styles.region}>
      {broken && shown && (
        <div className={styles.banner}>
          {link.state === "offline" ? (
            <>
              <WifiOff size={16} aria-hidden />
              You're offline. We'll catch up as soon as you're back.
            </>
          ) : (
            <>
              <LoaderCircle size={16} aria-hidden className={styles.spin} />
              Connection lost. Reconnecting…
              <Button look="quiet" size="s" icon={<RefreshCw size={14} aria-hidden />} onClick={onRetry}>
                Now
              </Button>
            </>
          )}
        </div>
      )}
    </div>
  );
}
