export interface ArticleSummary {
  readonly id: string;
  readonly slug: string;
  readonly title: string;
  readonly category: string;
  readonly updatedAt: Date;
}

export interface Section {
  readonly heading: string;
  /** Without "#". */
  readonly anchor: string;
}

export interface Article extends ArticleSummary {
  readonly markdown: string;
  readonly sections: readonly Section[];
}

export interface Hit {
  readonly passageId: string;
  readonly title: string;
  readonly heading: string;
  readonly text: string;
  readonly url: string;
}

/** "gift-cards" → "Gift cards". */
export function categoryTitle(category: string): string {
  const words = category.replaceAll("-", " ").trim();
  return words ? words.charAt(0).toUpperCase() + words.slice(1) : "Other";
}

/** Splits an address as "/help/returns-policy#condition"; undefined when it is not one of the help centre. */
export function parseHelpUrl(url: string): { slug: string; anchor: string } | undefined {
  const match = /^\/help\/([a-z0-9-]+)(?:#(.*))?$/.exec(url);
  return match ? { slug: match[1] ?? "", anchor: decodeURIComponent(match[2] ?? "") } : undefined;
}
