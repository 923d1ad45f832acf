// A story told with openapi-fetch and the types of openapi-typescript.

import createClient from "openapi-fetch";
import { email, expectEqual, given, name, owner, password, url } from "./expect.js";
import type { components, paths } from "./schema.js";

const nobody = createClient<paths>({ baseUrl: url });

async function logIn(body: components["schemas"]["Login"]) {
  const { data } = await nobody.POST("/api/login", { body });
  const token = given(data?.responseObject.accessToken);
  return createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
}

const operator = await logIn({ email, password });
const added = await operator.POST("/api/tenants", { body: { name, ...owner } });
const { tenantId } = given(added.data).responseObject;
const shown = await operator.GET("/api/tenants/{id}", { params: { path: { id: tenantId } } });
const status: components["schemas"]["TenantStatus"] | null = given(shown.data).responseObject.status;
expectEqual(status, "active");
// @ts-expect-error There is no such status.
await operator.GET("/api/tenants", { params: { query: { status: "asleep" } } });

const client = await logIn(owner);
const made = await client.POST("/api/to-do-list", { body: { title: "Milk" } });
const todo = given(made.data).responseObject;
const path = { id: todo.id };
const changed = await client.PATCH("/api/to-do-list/{id}", { params: { path }, body: { done: false } });
expectEqual(given(changed.data).responseObject.title, "Milk");
const listed = await client.GET("/api/to-do-list", { params: { query: { limit: 5 } } });
expectEqual(given(listed.data).responseObject.items.map((item) => item.id), [todo.id]);

const refused = await client.POST("/api/to-do-list", { body: { title: "" } });
expectEqual(refused.error?.responseObject.code, "validation_failed");
expectEqual(refused.error?.responseObject.incorrectField, "title");
const missing = await client.GET("/api/to-do-list/{id}", { params: { path: { id: tenantId } } });
expectEqual(missing.error?.responseObject.code, "not_found");

await client.POST("/api/logout");
const late = await client.GET("/api/users/me");
expectEqual(late.error?.responseObject.code, "token_revoked");
