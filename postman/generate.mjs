// Makes the Postman collection and its environment from the OpenAPI document:
//
//     node generate.mjs openapi.json FOLDER
//
// "Story" is story.mjs, each step a request of the document with who sends it, what it sends and
// what must be answered. "Reference" has every route once, in folders by tag. The same document
// and story always make the same files: whatever the converter makes up is removed.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { story } from "./story.mjs";

const { convertV2 } = createRequire(import.meta.url)("openapi-to-postmanv2");

const OPTIONS = {
  folderStrategy: "Tags",
  parametersResolution: "Example",
  requestParametersResolution: "Example",
  exampleParametersResolution: "Example",
};
const SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json";
const DESCRIPTION = `\
Every route of the API ("Reference"), and a story that uses them ("Story"): run that folder from \
top to bottom, as often as you like. It makes two tenants and purges them in the end.

Set \`operatorPassword\` in the environment first. docs/postman.md explains more.`;

const [documentFile, folder] = process.argv.slice(2);
if (!documentFile || !folder) {
  console.error("Usage: node generate.mjs openapi.json FOLDER");
  process.exit(2);
}
const openapi = JSON.parse(readFileSync(documentFile, "utf8"));
const reference = (await convert(openapi)).map((tag) => ({
  name: tag.name,
  item: tag.item.map(cleaned),
}));
const requests = new Map(
  reference.flatMap((tag) => tag.item).map((item) => [routeOf(item.request), item.request]),
);

write("multitenant.postman_collection.json", {
  info: { name: openapi.info.title, description: DESCRIPTION, schema: SCHEMA },
  auth: bearer("accessToken"),
  item: [
    {
      name: "Story",
      description: "Operators add tenants, tenants work, and none sees another's data.",
      item: story.map(({ name, steps }) => ({ name, item: steps.map(step) })),
    },
    { name: "Reference", item: reference },
  ],
});
write("local.postman_environment.json", {
  name: "Multitenant, on this machine",
  values: [
    { key: "baseUrl", value: "http://localhost:5000", type: "default", enabled: true },
    { key: "operatorEmail", value: "operator@example.com", type: "default", enabled: true },
    { key: "operatorPassword", value: "", type: "secret", enabled: true },
  ],
});

function write(name, content) {
  writeFileSync(join(folder, name), `${JSON.stringify(content, null, 2)}\n`);
}

function convert(data) {
  return new Promise((resolve, reject) => {
    convertV2({ type: "json", data }, OPTIONS, (error, { result, reason, output } = {}) => {
      if (error || !result) reject(error ?? new Error(reason));
      else resolve(output[0].data.item);
    });
  });
}

// The converter's request, without what is random in it, and with names instead of sentences.
function cleaned({ name, request }) {
  const { method, header, body, url } = request;
  const route = operation(method, url.path);
  const item = {
    name: name.replace(/\.$/, "").replaceAll("`", ""),
    request: {
      method,
      header: header.map(({ key, value, description }) =>
        description ? optional(key, description) : { key, value },
      ),
      url: {
        raw: `{{baseUrl}}/${url.path.join("/")}`,
        host: url.host,
        path: url.path,
        query: url.query.map(({ key, description }) => optional(key, description)),
        variable: url.variable.map(({ key }) => ({ key, value: "" })),
      },
    },
  };
  if (body.mode) {
    // The converter takes an example that has nothing but a `value` for a wrapper of that value.
    const { example } = route.requestBody.content["application/json"];
    item.request.body = { ...body, raw: JSON.stringify(example, null, 2) };
  }
  if (route.security.length === 0) item.request.auth = { type: "noauth" };
  else if ("refreshToken" in route.security[0]) item.request.auth = bearer("refreshToken");
  if (route.operationId === "login") {
    item.event = tests([
      "const { accessToken, refreshToken } = pm.response.json().responseObject;",
      'pm.collectionVariables.set("accessToken", accessToken);',
      'pm.collectionVariables.set("refreshToken", refreshToken);',
    ]);
  }
  return item;
}

// A parameter that is there to be filled in and ticked.
function optional(key, description) {
  return { key, value: "", description: description.content.trim(), disabled: true };
}

function operation(method, path) {
  const route = `/${path.map((part) => part.replace(/^:(.*)/, "{$1}")).join("/")}`;
  return openapi.paths[route][method.toLowerCase()];
}

function routeOf({ method, url }) {
  return `${method} /${url.path.join("/")}`;
}

// A step of the story, as a request with its tests.
function step({ name, route, as, token, path = {}, query, headers = {}, body, expect, keep = {}, check }) {
  if (!requests.has(route)) throw new Error(`The document has no ${route}`);
  const request = structuredClone(requests.get(route));
  request.header = request.header.filter(({ disabled }) => !disabled);
  for (const [key, value] of Object.entries(headers)) request.header.push({ key, value });
  request.url.variable = request.url.variable.map(({ key }) => {
    if (!(key in path)) throw new Error(`"${name}" needs the path's ${key}`);
    return { key, value: path[key] };
  });
  request.url.query = Object.entries(query ?? {}).map(([key, value]) => ({ key, value }));
  if (request.url.query.length) {
    request.url.raw += `?${request.url.query.map(({ key, value }) => `${key}=${value}`).join("&")}`;
  }
  if (body) request.body.raw = JSON.stringify(body, null, 2);
  const variable = token ?? (as && `${as}Token`);
  request.auth = variable ? bearer(variable) : { type: "noauth" };

  const [status, code] = [expect].flat();
  const script = [`pm.test("answers ${status}", () => pm.response.to.have.status(${status}));`];
  script.push("const answer = pm.response.json().responseObject;");
  if (code) script.push(`pm.test("says ${code}", () => pm.expect(answer.code).to.eql("${code}"));`);
  for (const [variable, field] of Object.entries(keep)) {
    script.push(`pm.collectionVariables.set("${variable}", answer.${field});`);
  }
  for (const [what, expression] of Object.entries(check ?? {})) {
    script.push(`pm.test(${JSON.stringify(what)}, () => { ${expression}; });`);
  }
  return { name, event: tests(script), request };
}

function tests(exec) {
  return [{ listen: "test", script: { type: "text/javascript", exec } }];
}

function bearer(variable) {
  return { type: "bearer", bearer: [{ key: "token", value: `{{${variable}}}`, type: "string" }] };
}
