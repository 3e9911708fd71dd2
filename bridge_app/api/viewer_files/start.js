// Shows the bridge's own OpenAPI document. validatorUrl null: nothing is sent to any other host.
SwaggerUIBundle({
  url: "/schema/openapi.json",
  dom_id: "#viewer",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
