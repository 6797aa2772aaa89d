import { useQuery } from "@tanstack/react-query";
import { BookOpen, ChevronRight, Search, SearchX, X } from "lucide-react";
import { useDeferredValue, useState } from "react";
import { useApi, usePrincipal, useTitle } from "../../app/hooks";
import { Link } from "../../app/router";
import { IconButton } from "../../ui/Button";
import { Empty, Failure, Skeleton } from "../../ui/states";
import { useSettled } from "../../ui/useSettled";
import { HelpApi } from "./api";
import styles from "./HelpPage.module.css";
import { type ArticleSummary, categoryTitle } from "./model";

export const ARTICLES_KEY = ["articles"] as const;

export default function HelpPage() {
  useTitle("Help centre");
  const { organization } = usePrincipal();
  const [words, setWords] = useState("");
  const query = useSettled(words.trim(), 250);
  return (
    <div className={styles.scroller}>
      <div className={styles.page}>
        <header className={styles.header}>
          <h1>Help centre</h1>
          <p>Everything {organization.name} has written down for you.</p>
          <search className={styles.search}>
            <Search size={18} aria-hidden />
            <input
              aria-label="Search the help centre"
              placeholder="Search, in your own words"
              value={words}
              maxLength={500}
              onChange={(event) => setWords(event.target.value)}
            />
            {words && (
              <IconButton label="Clear" onClick={() => setWords("")}>
                <X size={16} aria-hidden />
              </IconButton>
            )}
          </search>
        </header>
        {query ? <Hits query={query} /> : <Categories />}
      </div>
    </div>
  );
}

function Hits({ query }: { query: string }) {
  const help = useApi(HelpApi);
  const shown = useDeferredValue(query);
  const hits = useQuery({
    queryKey: ["search", shown],
    queryFn: () => help.search(shown),
    staleTime: 60_000,
  });
  if (hits.isPending) return <Skeleton lines={6} label="Searching" />;
  if (hits.isError) return <Failure error={hits.error} onRetry={() => void hits.refetch()} />;
  if (hits.data.length === 0) {
    return (
      <Empty icon={<SearchX size={20} aria-hidden />} title="Nothing found">
        Try other words, or ask in the chat.
      </Empty>
    );
  }
  return (
    <ul className={styles.hits} aria-label="Search results">
      {hits.data.map((hit) => (
        <li key={hit.passageId}>
          <Link to={hit.url} className={styles.hit}>
            <strong>
              {hit.heading && hit.heading !== hit.title ? `${hit.title} › ${hit.heading}` : hit.title}
            </strong>
            <span>{hit.text}</span>
          </Link>
        </li>
      ))}
    </ul>
  );
}

function Categories() {
  const help = useApi(HelpApi);
  const articles = useQuery({ queryKey: ARTICLES_KEY, queryFn: () => help.list(), staleTime: 60_000 });
  if (articles.isPending) return <Skeleton lines={9} label="Loading the articles" />;
  if (articles.isError) return <Failure error={articles.error} onRetry={() => void articles.refetch()} />;
  if (articles.data.length === 0) {
    return (
      <Empty icon={<BookOpen size={20} aria-hidden />} title="No articles yet">
        They appear here as soon as the first one is published.
      </Empty>
    );
  }
  return (
    <div className={styles.categories}>
      {byCategory(articles.data).map(([category, entries]) => (
        <section key={category} aria-label={categoryTitle(category)}>
          <h2>{categoryTitle(category)}</h2>
          <ul>
            {entries.map((article) => (
              <li key={article.id}>
                <Link to={`/help/${article.slug}`} className={styles.article}>
                  {article.title}
                  <ChevronRight size={16} aria-hidden />
                </Link>
              </li>
            ))}
          </ul>
        </section>
      ))}
    </div>
  );
}

function byCategory(articles: readonly ArticleSummary[]): [string, ArticleSummary[]][] {
  const categories = new Map<string, ArticleSummary[]>();
  for (const article of articles) {
    const entries = categories.get(article.category) ?? [];
    entries.push(article);
    categories.set(article.category, entries);
  }
  return [...categories].sort(([a], [b]) => a.localeCompare(b));
}
