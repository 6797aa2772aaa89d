/* The policy of the site allows no script in the page itself. */
window.SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: -1,
  // Nobody else is asked about the document, and nothing of a sign-in stays in the browser.
  validatorUrl: null,
  persistAuthorization: false,
});
