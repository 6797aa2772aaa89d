import { Lexer, Marked, type Token, type TokenizerAndRendererExtension } from "marked";

/** A marker such as [1], which points at a source of an answer. */
export interface CitationToken {
  readonly type: "citation";
  readonly raw: string;
  readonly number: number;
}

const citation: TokenizerAndRendererExtension = {
  name: "citation",
  level: "inline",
  start: (source) => source.search(/\[\d{1,2}\](?![(:[])/),
  tokenizer(source) {
    const match = /^\[(\d{1,2})\](?![(:[])/.exec(source);
    return match
      ? ({ type: "citation", raw: match[0], number: Number(match[1]) } satisfies CitationToken)
      : undefined;
  },
};

const plain = new Marked({ gfm: true });
const cited = new Marked({ gfm: true, breaks: true, extensions: [citation] });

/** Markdown as a tree of tokens; `Markdown.tsx` makes elements of them. */
export function parse(markdown: string, withCitations: boolean): readonly Token[] {
  return new Lexer(withCitations ? cited.defaults : plain.defaults).lex(markdown);
}

/** Web and mail addresses, paths of this page, and headings; undefined for everything else, scripts above all. */
export function safeAddress(href: string): string | undefined {
  return /^(?:https?:\/\/|mailto:|tel:|\/(?![/\\])|#)/i.test(href) ? href : undefined;
}

/** The anchor of a heading that has none of its own: "What you pay" → "what-you-pay". */
export function slugOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s-]/gu, "")
    .trim()
    .replace(/\s+/g, "-");
}
