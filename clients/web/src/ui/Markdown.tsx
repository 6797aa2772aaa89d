import type { MarkedToken, Token, Tokens } from "marked";
import { createElement, Fragment, memo, type ReactNode, useMemo } from "react";
import { Link } from "../app/router";
import styles from "./Markdown.module.css";
import { type CitationToken, parse, safeAddress, slugOf } from "./markdown";

interface MarkdownProps {
  text: string;
  /** Called with the number of a source; markers such as [1] stay plain text without it. */
  onCite?: ((number: number) => void) | undefined;
  /** Anchors that the headings must have, so that links from elsewhere find them. */
  sections?: readonly { heading: string; anchor: string }[] | undefined;
  /** True while more is to come. */
  streaming?: boolean;
}

/**
 * Markdown as elements. No HTML is ever made from the text, so there is nothing to sanitise: markup in it is shown as the
 * characters it consists of, pictures as their description, and an address that is not one of `safeAddress` is no link.
 */
export function Markdown({ text, onCite, sections, streaming = false }: MarkdownProps) {
  const withCitations = onCite !== undefined;
  const tokens = useMemo(() => parse(text, withCitations), [text, withCitations]);
  const anchors = useMemo(
    () => new Map(sections?.map(({ heading, anchor }) => [heading.trim(), anchor])),
    [sections],
  );
  return (
    <div
      className={`${styles.markdown} ${streaming ? styles.streaming : ""}`}
      data-streaming={streaming || undefined}
    >
      {tokens.map((token, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a block is its place in the text
        <Block key={index} token={token} onCite={onCite} anchors={anchors} streaming={streaming} />
      ))}
    </div>
  );
}

interface BlockProps {
  token: Token;
  onCite: ((number: number) => void) | undefined;
  anchors: ReadonlyMap<string, string>;
  streaming: boolean;
}

/** While a long answer is written only its last block changes, so the others are not drawn again; at its end all are. */
const Block = memo(
  ({ token, onCite, anchors }: BlockProps) => <Rendered tokens={[token]} onCite={onCite} anchors={anchors} />,
  (before, now) =>
    before.token.raw === now.token.raw &&
    before.onCite === now.onCite &&
    before.anchors === now.anchors &&
    before.streaming === now.streaming,
);

interface RenderedProps {
  tokens: readonly Token[] | undefined;
  onCite: ((number: number) => void) | undefined;
  anchors: ReadonlyMap<string, string>;
}

function Rendered({ tokens = [], onCite, anchors }: RenderedProps): ReactNode {
  const inner = (children: readonly Token[] | undefined) => (
    <Rendered tokens={children} onCite={onCite} anchors={anchors} />
  );
  return tokens.map((token, index) => (
    // biome-ignore lint/suspicious/noArrayIndexKey: a token is its place in the text
    <Fragment key={index}>{element(token as MarkedToken | CitationToken)}</Fragment>
  ));

  function element(token: MarkedToken | CitationToken): ReactNode {
    switch (token.type) {
      case "citation":
        return onCite ? (
          <button
            type="button"
            className={styles.cite}
            aria-label={`Source ${token.number}`}
            onClick={() => onCite(token.number)}
          >
            {token.number}
          </button>
        ) : (
          token.raw
        );
      case "paragraph":
        return <p>{inner(token.tokens)}</p>;
      case "heading": {
        const id = anchors.get(token.text.trim()) ?? slugOf(token.text);
        // The page or panel around it holds the first level.
        return createElement(
          `h${Math.min(5, Math.max(2, token.depth))}`,
          { id, tabIndex: -1 },
          inner(token.tokens),
        );
      }
      case "list":
        return createElement(
          token.ordered ? "ol" : "ul",
          token.ordered && token.start !== 1 ? { start: token.start } : null,
          // biome-ignore lint/suspicious/noArrayIndexKey: an item is its place in the list
          token.items.map((item, index) => <li key={index}>{inner(item.tokens)}</li>),
        );
      case "blockquote":
        return <blockquote>{inner(token.tokens)}</blockquote>;
      case "table":
        return <Table table={token} inner={inner} />;
      case "code":
        return (
          <pre>
            <code>{token.text}</code>
          </pre>
        );
      case "codespan":
        return <code>{token.text}</code>;
      case "strong":
        return <strong>{inner(token.tokens)}</strong>;
      case "em":
        return <em>{inner(token.tokens)}</em>;
      case "del":
        return <del>{inner(token.tokens)}</del>;
      case "link":
        return <Address href={token.href}>{inner(token.tokens)}</Address>;
      case "br":
        return <br />;
      case "hr":
        return <hr />;
      case "text":
        return "tokens" in token && token.tokens ? inner(token.tokens) : unescaped(token.text);
      case "escape":
        return unescaped(token.text);
      case "image":
        return token.text;
      case "html":
        return token.text;
      default:
        return null;
    }
  }
}

function Table({ table, inner }: { table: Tokens.Table; inner: (tokens: readonly Token[]) => ReactNode }) {
  return (
    <table>
      <thead>
        <tr>
          {table.header.map((cell, column) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a cell is its column
            <th key={column}>{inner(cell.tokens)}</th>
          ))}
        </tr>
      </thead>
      <tbody>
        {table.rows.map((row, line) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a row is its place
          <tr key={line}>
            {row.map((cell, column) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: a cell is its column
              <td key={column}>{inner(cell.tokens)}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Address({ href, children }: { href: string; children: ReactNode }) {
  const address = safeAddress(href);
  if (!address) return children;
  if (address.startsWith("/") || address.startsWith("#")) return <Link to={address}>{children}</Link>;
  return (
    <a href={address} target="_blank" rel="noopener noreferrer">
      {children}
    </a>
  );
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&amp;": "&",
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&#39;": "'",
  "&nbsp;": "\u00a0",
};

/** Elements need characters where Markdown has entities. */
function unescaped(text: string): string {
  return text.replace(/&(?:amp|lt|gt|quot|#39|nbsp);/g, (entity) => ENTITIES[entity] ?? entity);
}
