import { type Client, createClient, type Transport } from "@connectrpc/connect";
import type { Passage, Article as PbArticle } from "../../gen/deskmesh/knowledge/v1/article_pb";
import { ArticleService } from "../../gen/deskmesh/knowledge/v1/article_service_pb";
import { SearchService } from "../../gen/deskmesh/knowledge/v1/search_service_pb";
import { CallError } from "../../rpc/errors";
import { startTrace } from "../../rpc/trace";
import { call } from "../../rpc/transport";
import { date } from "../../rpc/wire";
import type { Article, ArticleSummary, Hit, Section } from "./model";

/** The help centre as readers see it: published versions only. */
export class HelpApi {
  readonly #articles: Client<typeof ArticleService>;
  readonly #search: Client<typeof SearchService>;

  constructor(transport: Transport) {
    this.#articles = createClient(ArticleService, transport);
    this.#search = createClient(SearchService, transport);
  }

  async list(): Promise<readonly ArticleSummary[]> {
    const trace = startTrace();
    const articles: ArticleSummary[] = [];
    let pageToken = "";
    do {
      const request = { pageToken, pageSize: 200 };
      const page = await call(trace, (options) => this.#articles.listArticles(request, options));
      articles.push(...page.articles.filter((article) => article.published).map(toSummary));
      pageToken = page.nextPageToken;
    } while (pageToken);
    return articles;
  }

  bySlug(slug: string): Promise<Article> {
    return this.#get({ case: "slug", value: slug });
  }

  byId(articleId: string): Promise<Article> {
    return this.#get({ case: "articleId", value: articleId });
  }

  search(query: string): Promise<readonly Hit[]> {
    return call(startTrace(), async (options) => {
      const { hits } = await this.#search.search({ query, limit: 8 }, options);
      return hits.flatMap(({ passage }) => (passage ? [toHit(passage)] : []));
    });
  }

  #get(key: { case: "slug" | "articleId"; value: string }): Promise<Article> {
    return call(startTrace(), async (options) => {
      const { article, passages } = await this.#articles.getArticle({ key }, options);
      if (!article?.published)
        throw new CallError("no published version", { kind: "missing", reason: "ARTICLE_NOT_FOUND" });
      return { ...toSummary(article), markdown: article.published.markdown, sections: toSections(passages) };
    });
  }
}

function toSections(passages: readonly Passage[]): Section[] {
  const ordered = passages.toSorted((a, b) => a.position - b.position);
  const byAnchor = new Map(
    ordered.filter((one) => one.anchor).map(({ heading, anchor }) => [anchor, { heading, anchor }]),
  );
  return [...byAnchor.values()].map(({ heading, anchor }) => ({ heading, anchor: anchor.replace(/^#/, "") }));
}

function toSummary(article: PbArticle): ArticleSummary {
  return {
    id: article.id,
    slug: article.slug,
    title: article.published?.title ?? article.slug,
    category: article.category,
    updatedAt: date(article.published?.publishedAt ?? article.updatedAt),
  };
}

function toHit({ id, articleTitle, heading, text, url }: Passage): Hit {
  return { passageId: id, title: articleTitle, heading, text, url };
}
