import "@fontsource-variable/inter";
import "../src/app/tokens.css";
import "../src/app/base.css";
import { createRoot } from "react-dom/client";
import { App } from "../src/app/App";
import { FakeServices } from "./fake/services";

const root = document.getElementById("root");
if (!root) throw new Error("the page has no root");
const services = new FakeServices();
// For `shots.mjs`, and for whoever wants to try a state in the console.
Object.assign(window, { services });
createRoot(root).render(<App transport={services.transport} />);
