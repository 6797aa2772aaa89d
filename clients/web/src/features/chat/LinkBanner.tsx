import { LoaderCircle } from "lucide-react";
import { useEffect, useState } from "react";
import { Button } from "../../ui/Button";
import styles from "./LinkBanner.module.css";
import type { Link } from "./reducer";

/** Most cuts heal before anybody could read about them. */
const PATIENCE_MS = 800;

/** Says that the live stream is cut, and what is being done about it. */
export function LinkBanner({ link, onRetry }: { link: Link; onRetry: () => void }) {
  // That there is no network at all is told above every page.
  const broken = link.state === "reconnecting";
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
          <LoaderCircle size={16} aria-hidden className={styles.spin} />
          Connection lost. Reconnecting…
          <Button look="quiet" size="s" onClick={onRetry}>
            Try now
          </Button>
        </div>
      )}
    </div>
  );
}
