import { useQuery } from "@tanstack/react-query";
import { ArrowLeft, MessageCircle } from "lucide-react";
import { useApi, useIsStaff, useTitle } from "../../app/hooks";
import { Link, useAddress, useParams } from "../../app/router";
import { Failure, Skeleton } from "../../ui/states";
import { Day } from "../../ui/When";
import styles from "./ArticlePage.module.css";
import { ArticleText } from "./ArticleText";
import { HelpApi } from "./api";
import { categoryTitle } from "./model";

export default function ArticlePage() {
  const { slug = "" } = useParams();
  const { hash } = useAddress();
  const help = useApi(HelpApi);
  const staff = useIsStaff();
  const article = useQuery({
    queryKey: ["article-by-slug", slug],
    queryFn: () => help.bySlug(slug),
    staleTime: 60_000,
  });
  useTitle(article.data?.title ?? "Help centre");
  return (
    <div className={styles.scroller}>
      <div className={styles.page}>
        <Link to="/help" className={styles.back}>
          <ArrowLeft size={16} aria-hidden />
          Help centre
        </Link>
        {article.isPending ? (
          <Skeleton lines={12} label="Loading the article" />
        ) : article.isError ? (
          <Failure error={article.error} onRetry={() => void article.refetch()} />
        ) : (
          <article>
            <header className={styles.header}>
              <p>{categoryTitle(article.data.category)}</p>
              <h1>{article.data.title}</h1>
              <p>
                Updated <Day at={article.data.updatedAt} />
              </p>
            </header>
            {article.data.sections.length > 2 && (
              <nav className={styles.contents} aria-label="On this page">
                <ul>
                  {article.data.sections.map((section) => (
                    <li key={section.anchor}>
                      <Link to={`#${section.anchor}`} replace>
                        {section.heading}
                      </Link>
                    </li>
                  ))}
                </ul>
              </nav>
            )}
            <ArticleText article={article.data} anchor={decodeURIComponent(hash.slice(1))} />
            {!staff && (
              <footer className={styles.footer}>
                <p>Didn't find it here?</p>
                <Link to="/chat">
                  <MessageCircle size={16} aria-hidden />
                  Ask in the chat
                </Link>
              </footer>
            )}
          </article>
        )}
      </div>
    </div>
  );
}
