import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Packs what is worth it beside the original, so that whoever serves the files need not do it for every request. */
function packed(): Plugin {
  return {
    name: "packed",
    apply: "build",
    writeBundle({ dir = "dist" }) {
      for (const entry of readdirSync(dir, { recursive: true, encoding: "utf8" })) {
        const file = join(dir, entry);
        if (!/\.(js|css|html|json|svg|webmanifest)$/.test(entry) || statSync(file).size < 1024) continue;
        const content = readFileSync(file);
        writeFileSync(`${file}.gz`, gzipSync(content, { level: 9 }));
        // Brotli takes ten seconds for what only few read.
        if (!entry.startsWith("docs")) writeFileSync(`${file}.br`, brotliCompressSync(content));
      }
    },
  };
}

/** The page to read and try the REST API: files of their own, which no other page loads. */
function apiDocs(): Plugin {
  const here = import.meta.dirname;
  const sources = {
    "index.html": join(here, "docs"),
    "start.js": join(here, "docs"),
    "swagger-ui-bundle.js": join(here, "node_modules/swagger-ui-dist"),
    "swagger-ui.css": join(here, "node_modules/swagger-ui-dist"),
    "openapi.json": join(here, "../../gen"),
  };
  return {
    name: "api-docs",
    apply: "build",
    generateBundle() {
      for (const [name, folder] of Object.entries(sources)) {
        this.emitFile({
          type: "asset",
          fileName: `docs/${name}`,
          source: readFileSync(join(folder, name)),
        });
      }
    },
  };
}

/** The page speaks binary protobuf only, yet its transport could speak JSON too: that half is left out. */
function withoutJson(): Plugin {
  const absent = (name: string) =>
    `export const ${name} = () => { throw new Error("no JSON in this build"); };`;
  const NAMES = {
    "to-json": ["toJson", "toJsonString", "enumToJson"],
    "from-json": [
      "fromJson",
      "fromJsonString",
      "mergeFromJson",
      "mergeFromJsonString",
      "enumFromJson",
      "isEnumJson",
    ],
  };
  return {
    name: "without-json",
    apply: "build",
    enforce: "pre",
    load(id) {
      const [, file] = /@bufbuild\/protobuf\/dist\/esm\/(to-json|from-json)\.js$/.exec(id) ?? [];
      return file ? NAMES[file as keyof typeof NAMES].map(absent).join("\n") : undefined;
    },
  };
}

export default defineConfig({
  plugins: [react(), apiDocs(), packed(), withoutJson()],
  // The stand-in of the services, for development and tests, reads the demo shop's articles.
  server: { fs: { allow: ["../.."] } },
  build: {
    // The browsers of the last two years: they know light-dark(), Web Locks and async iteration of streams.
    target: ["chrome123", "firefox123", "safari17.5"],
    cssTarget: ["chrome123", "firefox123", "safari17.5"],
    // The policy of the page allows no data: scripts, and small assets cache better as files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        codeSplitting: {
          // What the first view loads beside the start comes as one file: on a phone each of twenty-five small ones cost
          // the main thread more than its code did.
          groups: [
            { name: "start", tags: ["$initial"], priority: 2 },
            {
              name: "first-view",
              test: /src[\\/](app[\\/]Shell|features[\\/]chat[\\/]ChatPage)\.tsx$/,
              priority: 1,
            },
          ],
        },
      },
    },
  },
  test: {
    environment: "jsdom",
    include: ["tests/**/*.test.{ts,tsx}"],
    setupFiles: ["tests/setup.ts"],
    restoreMocks: true,
    testTimeout: 60_000,
  },
});
