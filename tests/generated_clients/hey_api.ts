// The same story, told with the functions that @hey-api/openapi-ts makes.

import { createClient } from "./hey/client/index.js";
import {
  addTenant,
  addTodo,
  changeTodo,
  getTenant,
  getTodo,
  listTodos,
  login,
  logout,
  me,
} from "./hey/sdk.gen.js";
import type { ErrorCode, Login, TenantStatus } from "./hey/types.gen.js";
import { email, expectEqual, given, name, owner, password, url } from "./expect.js";

const nobody = createClient({ baseUrl: url });

async function logIn(body: Login) {
  const { data } = await login({ client: nobody, body });
  const token = given(data?.responseObject.accessToken);
  return createClient({ baseUrl: url, auth: token });
}

const operator = await logIn({ email, password });
const added = await addTenant({ client: operator, body: { name, ...owner } });
const { tenantId } = given(added.data).responseObject;
const shown = await getTenant({ client: operator, path: { id: tenantId } });
const status: TenantStatus | null = given(shown.data).responseObject.status;
expectEqual(status, "active");

const client = await logIn(owner);
const made = await addTodo({ client, body: { title: "Milk" } });
const todo = given(made.data).responseObject;
const changed = await changeTodo({ client, path: { id: todo.id }, body: { done: false } });
expectEqual(given(changed.data).responseObject.title, "Milk");
const listed = await listTodos({ client, query: { limit: 5 } });
expectEqual(given(listed.data).responseObject.items.map((item) => item.id), [todo.id]);

const refused = await addTodo({ client, body: { title: "" } });
const code: ErrorCode = given(refused.error).responseObject.code;
expectEqual(code, "validation_failed");
expectEqual(given(refused.error).responseObject.incorrectField, "title");
const missing = await getTodo({ client, path: { id: tenantId } });
expectEqual(given(missing.error).responseObject.code, "not_found");

await logout({ client });
const late = await me({ client });
expectEqual(given(late.error).responseObject.code, "token_revoked");
