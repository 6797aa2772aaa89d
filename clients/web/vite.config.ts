import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [react()],
  build: {
    // The browsers of the last two years: they know light-dark(), Web Locks and async iteration of streams.
    target: ["chrome123", "firefox123", "safari17.5"],
    cssTarget: ["chrome123", "firefox123", "safari17.5"],
    // The policy of the page allows no data: scripts, and small assets cache better as files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: {
    environment: "jsdom",
    include: ["tests/**/*.test.{ts,tsx}"],
    setupFiles: ["tests/setup.ts"],
    restoreMocks: true,
  },
});
