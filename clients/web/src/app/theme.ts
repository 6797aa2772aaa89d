import { useState } from "react";

export type Theme = "system" | "light" | "dark";

/** `public/theme.js` reads the same key before the first paint. */
const KEY = "deskmesh.theme";

export function useTheme(): readonly [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useState<Theme>(() => toTheme(localStorage.getItem(KEY)));
  const choose = (next: Theme) => {
    setTheme(next);
    if (next === "system") {
      localStorage.removeItem(KEY);
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem(KEY, next);
      document.documentElement.dataset.theme = next;
    }
  };
  return [theme, choose];
}

function toTheme(value: string | null): Theme {
  return value === "light" || value === "dark" ? value : "system";
}
