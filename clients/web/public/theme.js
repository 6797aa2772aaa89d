// Before the first paint, so that a chosen theme never flashes the other one. No inline script: the page's policy forbids it.
try {
  const chosen = localStorage.getItem("deskmesh.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is blocked: the system's theme holds.
}
