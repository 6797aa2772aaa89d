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
    const passage = [heading, ...passageUnder(heading)];
    for (const element of passage) element.setAttribute("data-cited", "");
    heading.scrollIntoView({ block: "start" });
    return () => {
      for (const element of passage) element.removeAttribute("data-cited");
    };
  }, [anchor, article]);
  return (
    <div ref={root} className={styles.text}>
      <Markdown text={article.markdown} sections={article.sections} />
    </div>
  );
}

/** What stands under a heading, up to the next one. */
function passageUnder(heading: Element): Element[] {
  const found: Element[] = [];
  for (
    let next = heading.nextElementSibling;
    next && !/^H\d$/.test(next.tagName);
    next = next.nextElementSibling
  ) {
    found.push(next);
  }
  return found;
}
