"use strict";

// Draws /api/docs. Whoever is signed in at the console may try calls out: those that change something need its CSRF token.
const place = document.getElementById("swagger-ui");

function csrfToken() {
  const found = document.cookie.match(/(?:^|; )aurora_csrf=([^;]+)/);
  return found ? decodeURIComponent(found[1]) : "";
}

window.SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  presets: [window.SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  docExpansion: "none",
  deepLinking: true,
  validatorUrl: null, // would send the schema's address to a server elsewhere
  requestInterceptor: (request) => {
    if (request.method && request.method !== "GET" && new URL(request.url, location.href).origin === location.origin) {
      request.headers["X-CSRFToken"] = csrfToken();
    }
    return request;
  },
});
