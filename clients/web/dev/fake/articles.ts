import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  type Article,
  ArticleSchema,
  type Passage,
  PassageSchema,
} from "../../src/gen/deskmesh/knowledge/v1/article_pb";
import { slugOf } from "../../src/ui/markdown";

const FILES: Record<string, string> = import.meta.glob("../../../../demo/articles/*.md", {
  query: "?raw",
  import: "default",
  eager: true,
});

export interface FakeArticle {
  readonly article: Article;
  readonly passages: readonly Passage[];
}

export const ARTICLES: readonly FakeArticle[] = Object.values(FILES).map((text) => {
  const [, head = "", markdown = ""] = /^---\n([\s\S]*?)\n---\n([\s\S]*)$/.exec(text) ?? [];
  const field = (name: string) =>
    new RegExp(`^${name}: *(.*)$`, "m").exec(head)?.[1]?.replace(/^"|"$/g, "") ?? "";
  const slug = field("slug");
  const publishedAt = timestampFromDate(new Date(field("updated") || 0));
  const article = create(ArticleSchema, {
    id: `art_${slug}`,
    slug,
    category: field("category"),
    published: { number: 1, title: field("title"), markdown, publishedAt },
  });
  const passages = markdown
    .split(/^## /m)
    .slice(1)
    .map((part, position) => {
      const [heading = "", ...rest] = part.split("\n");
      const anchor = slugOf(heading);
      return create(PassageSchema, {
        id: `psg_${slug}_${position}`,
        articleId: article.id,
        articleSlug: slug,
        articleTitle: field("title"),
        heading,
        anchor,
        position,
        text: rest.join(" ").trim(),
        url: `/help/${slug}#${anchor}`,
      });
    });
  return { article, passages };
});
