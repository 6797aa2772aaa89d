import { useQuery } from "@tanstack/react-query";
import { ExternalLink, X } from "lucide-react";
import { useEffect, useRef } from "react";
import { useApi } from "../../app/hooks";
import { Link } from "../../app/router";
import { IconButton } from "../../ui/Button";
import { Sheet } from "../../ui/Sheet";
import { Failure, Skeleton } from "../../ui/states";
import styles from "./ArticlePanel.module.css";
import { ArticleText } from "./ArticleText";
import { HelpApi } from "./api";
import { parseHelpUrl } from "./model";

interface Cited {
  readonly articleId: string;
  readonly title: string;
  readonly heading: string;
  readonly url: string;
}

/** The cited article at its heading: beside the conversation, or over it on a small screen. */
export default function ArticlePanel({
  citation,
  modal,
  onClose,
}: {
  citation: Cited;
  modal: boolean;
  onClose: () => void;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another source is another reading
  useEffect(() => heading.current?.focus(), [citation]);
  if (modal) {
    return (
      <Sheet onClose={onClose} title={citation.title}>
        <div className={styles.body}>
          <Body citation={citation} />
        </div>
      </Sheet>
    );
  }
  return (
    <aside
      className={styles.panel}
      aria-label="Source"
      onKeyDown={(event) => event.key === "Escape" && onClose()}
    >
      <header className={styles.header}>
        <h2 ref={heading} tabIndex={-1}>
          {citation.title}
        </h2>
        <Link
          to={citation.url}
          className={styles.open}
          aria-label="Open in the help centre"
          title="Open in the help centre"
        >
          <ExternalLink size={16} aria-hidden />
        </Link>
        <IconButton label="Close" onClick={onClose}>
          <X size={18} aria-hidden />
        </IconButton>
      </header>
      <div className={styles.body}>
        <Body citation={citation} />
      </div>
    </aside>
  );
}

function Body({ citation }: { citation: Cited }) {
  const help = useApi(HelpApi);
  const article = useQuery({
    queryKey: ["article", citation.articleId],
    queryFn: () => help.byId(citation.articleId),
    staleTime: 5 * 60_000,
  });
  if (article.isPending) return <Skeleton lines={9} label="Loading the article" />;
  if (article.isError) return <Failure error={article.error} onRetry={() => void article.refetch()} />;
  return <ArticleText article={article.data} anchor={parseHelpUrl(citation.url)?.anchor ?? ""} />;
}
