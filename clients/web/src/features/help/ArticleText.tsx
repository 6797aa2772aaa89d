import { useEffect, useRef } from "react";
import { Markdown } from "../../ui/Markdown";
import styles from "./ArticleText.module.css";
import type { Article } from "./model";

/** An article's text, scrolled to a heading and that heading marked. */
export function ArticleText({ article, anchor }: { article: Article; anchor: string }) {
  const root = useRef<HTMLDivElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another article has other headings
  useEffect(() => {
    const heading = anchor ? root.current?.querySelector(`#${CSS.escape(anchor)}`) : null;
    if (!heading) return;
    heading.setAttribute("data-cited", "");
    heading.scrollIntoView({ block: "start" });
    return () => heading.removeAttribute("data-cited");
  }, [anchor, article]);
  return (
    <div ref={root} className={styles.text}>
      <Markdown text={article.markdown} sections={article.sections} />
    </div>
  );
}
