import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** The page over an in-memory stand-in of the services, for work on how it looks. Not part of the built page. */
export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  publicDir: fileURLToPath(new URL("../public", import.meta.url)),
  plugins: [react()],
  server: {
    host: "127.0.0.1",
    port: 5173,
    fs: { allow: [fileURLToPath(new URL("../../..", import.meta.url))] },
  },
  cacheDir: fileURLToPath(new URL("../node_modules/.vite-dev", import.meta.url)),
  build: { outDir: fileURLToPath(new URL("../node_modules/.dev-dist", import.meta.url)), emptyOutDir: true },
});
