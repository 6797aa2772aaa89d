import "@fontsource-variable/inter";
import "./app/tokens.css";
import "./app/base.css";
import { StrictMode, startTransition } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app/App";
import { edgeTransport } from "./rpc/transport";

const root = document.getElementById("root");
if (!root) throw new Error("the page has no root");
startTransition(() =>
  createRoot(root).render(
    <StrictMode>
      <App transport={edgeTransport} />
    </StrictMode>,
  ),
);
