// What the collection's "Story" does, in order. A step is a route of the document and:
//
//   as       whose access token it sends (the variable `${as}Token`), or
//   token    the variable of the token it sends; no token without either
//   path     the values of the path's parameters        query   those of the query
//   headers  more headers                               body    instead of the document's example
//   expect   the status, or [status, code of the error]
//   keep     variables to set from the answer: {name: "field.of.the.responseObject"}
//   check    more tests: {what: "a statement about `answer`"}

const PASSWORD = "a password for the story";
const NO_SUCH_ID = "0123456789abcdef01234567";
const idOf = (variable) => ({ id: `{{${variable}}}` });

function addTenant(name, owner) {
  return {
    name: `The operator adds ${name}`,
    route: "POST /api/add",
    as: "operator",
    headers: { "Idempotency-Key": `{{run}}-${name}` },
    body: {
      name: `${name} {{run}}`,
      subdomain: `${name.toLowerCase()}-{{run}}`,
      email: `${owner}-{{run}}@example.com`,
      password: PASSWORD,
    },
    expect: 201,
    keep: { [`${name.toLowerCase()}Id`]: "tenantId", [`${owner}Id`]: "userId" },
  };
}

function logIn(who, name, expect = 200) {
  return {
    name,
    route: "POST /api/login",
    body: { email: `${who}-{{run}}@example.com`, password: PASSWORD },
    expect,
    keep: expect === 200 ? { [`${who}Token`]: "accessToken", [`${who}Refresh`]: "refreshToken" } : {},
  };
}

export const story = [
  {
    name: "1. The operator adds two tenants",
    steps: [
      {
        name: "The application is ready",
        route: "GET /readyz",
        expect: 200,
        check: {
          // What this run is called: names and emails of another run are not in its way.
          "names this run": 'pm.collectionVariables.set("run", Date.now().toString(36))',
        },
      },
      {
        name: "The operator logs in",
        route: "POST /api/login",
        body: { email: "{{operatorEmail}}", password: "{{operatorPassword}}" },
        expect: 200,
        keep: { operatorToken: "accessToken" },
        check: { "is an operator": 'pm.expect(answer.role).to.eql("operator")' },
      },
      addTenant("Acme", "ann"),
      {
        ...addTenant("Acme", "ann"),
        name: "Sent again with its Idempotency-Key, the first answer comes back",
        keep: {},
        check: {
          "is the same tenant":
            'pm.expect(answer.tenantId).to.eql(pm.collectionVariables.get("acmeId"))',
        },
      },
      {
        ...addTenant("Acme", "ann"),
        name: "Without the key, the name is taken",
        headers: {},
        expect: [409, "already_exists"],
        keep: {},
        check: { "names the field": 'pm.expect(answer.incorrectField).to.eql("name")' },
      },
      addTenant("Globex", "gil"),
      {
        name: "The operator looks at Acme, and sees no URI and no credential",
        route: "GET /api/tenants/:id",
        as: "operator",
        path: idOf("acmeId"),
        expect: 200,
        check: {
          "is active": 'pm.expect(answer.status).to.eql("active")',
          "shows no secret": 'pm.expect(answer).to.not.have.any.keys("dbUri", "credentials")',
        },
      },
    ],
  },
  {
    name: "2. Acme works",
    steps: [
      logIn("ann", "Ann, who owns Acme, logs in"),
      {
        name: "Ann is in Acme",
        route: "GET /api/users/me",
        as: "ann",
        expect: 200,
        check: { "owns it": 'pm.expect(answer.role).to.eql("owner")' },
      },
      {
        name: "Ann invites Ben",
        route: "POST /api/users",
        as: "ann",
        body: { email: "ben-{{run}}@example.com", role: "member" },
        expect: 201,
        keep: { benId: "id", benInvitation: "invitationToken" },
        check: { "is invited": 'pm.expect(answer.status).to.eql("invited")' },
      },
      {
        name: "Ben accepts, and chooses a password",
        route: "POST /api/invitations/accept",
        body: { token: "{{benInvitation}}", password: PASSWORD },
        expect: 200,
      },
      {
        name: "An invitation works once",
        route: "POST /api/invitations/accept",
        body: { token: "{{benInvitation}}", password: PASSWORD },
        expect: [401, "token_revoked"],
      },
      logIn("ben", "Ben logs in"),
      {
        name: "Ben, a member, may not add users",
        route: "POST /api/users",
        as: "ben",
        body: { email: "eve-{{run}}@example.com" },
        expect: [403, "role_required"],
      },
      { name: "Ann notes what to do", route: "POST /api/to-do-list", as: "ann", expect: 201, keep: { todoId: "id" } },
      {
        name: "Ben has done it",
        route: "PATCH /api/to-do-list/:id",
        as: "ben",
        path: idOf("todoId"),
        body: { done: true },
        expect: 200,
        check: { "is done": "pm.expect(answer.done).to.be.true" },
      },
      { name: "Ann adds an employee", route: "POST /api/employees", as: "ann", expect: 201 },
      { name: "Ann writes a post", route: "POST /api/posts", as: "ann", expect: 201, keep: { postId: "id" } },
      {
        name: "Ben comments on it",
        route: "POST /api/posts/:id/comments",
        as: "ben",
        path: idOf("postId"),
        expect: 201,
      },
      {
        name: "The published posts, with their comments",
        route: "GET /api/posts/published",
        as: "ben",
        query: { include: "comments" },
        expect: 200,
        check: { "has the comment": "pm.expect(answer.items[0].comments.items).to.have.length(1)" },
      },
      {
        name: "Ann places an order; its total is exact",
        route: "POST /api/orders",
        as: "ann",
        body: {
          items: [
            { name: "Anvil", quantity: 3, price: "0.10" },
            { name: "Rope", quantity: 1, price: "19.90" },
          ],
        },
        expect: 201,
        check: { "adds up": 'pm.expect(answer.total).to.eql("20.20")' },
      },
      {
        name: "An operator where a string belongs is refused",
        route: "POST /api/to-do-list",
        as: "ann",
        body: { title: { $ne: null } },
        expect: [422, "validation_failed"],
        check: { "names it": 'pm.expect(answer.incorrectField).to.eql("title.$ne")' },
      },
      {
        name: "Ann chooses a theme",
        route: "PUT /api/settings/:key",
        as: "ann",
        path: { key: "theme" },
        expect: 200,
      },
    ],
  },
  {
    name: "3. Globex sees nothing of it",
    steps: [
      logIn("gil", "Gil, who owns Globex, logs in"),
      {
        name: "Gil's list is empty",
        route: "GET /api/to-do-list",
        as: "gil",
        expect: 200,
        check: { "is empty": "pm.expect(answer.items).to.be.empty" },
      },
      {
        name: "Acme's item is not there for Gil",
        route: "GET /api/to-do-list/:id",
        as: "gil",
        path: idOf("todoId"),
        expect: [404, "not_found"],
        check: {
          "keeps the answer": 'pm.collectionVariables.set("refusal", pm.response.json().message)',
        },
      },
      {
        name: "An id that nobody has gets the same answer",
        route: "GET /api/to-do-list/:id",
        as: "gil",
        path: { id: NO_SUCH_ID },
        expect: [404, "not_found"],
        check: {
          "says the same":
            'pm.expect(pm.response.json().message).to.eql(pm.collectionVariables.get("refusal"))',
        },
      },
      {
        name: "Gil cannot delete Acme's post",
        route: "DELETE /api/posts/:id",
        as: "gil",
        path: idOf("postId"),
        expect: [404, "not_found"],
      },
      {
        name: "Gil's token does not work on Acme",
        route: "GET /api/users/me",
        as: "gil",
        headers: { "X-Tenant-Id": "{{acmeId}}" },
        expect: [403, "tenant_mismatch"],
      },
      {
        name: "Gil cannot log in to Acme",
        route: "POST /api/login",
        headers: { "X-Tenant-Id": "{{acmeId}}" },
        body: { email: "gil-{{run}}@example.com", password: PASSWORD },
        expect: [401, "credentials_invalid"],
      },
      {
        name: "Gil is no operator",
        route: "GET /api/tenants",
        as: "gil",
        expect: [403, "role_required"],
      },
      {
        name: "Acme's item is as it was",
        route: "GET /api/to-do-list/:id",
        as: "ann",
        path: idOf("todoId"),
        expect: 200,
      },
    ],
  },
  {
    name: "4. Sessions",
    steps: [
      {
        name: "Ben renews his tokens",
        route: "POST /api/refresh",
        token: "benRefresh",
        expect: 200,
        keep: { benToken: "accessToken" },
      },
      {
        name: "For some seconds it works again: another tab may have sent it",
        route: "POST /api/refresh",
        token: "benRefresh",
        expect: 200,
      },
      {
        name: "He is logged in as before",
        route: "GET /api/users/me",
        as: "ben",
        expect: 200,
      },
      { name: "Gil logs out", route: "POST /api/logout", as: "gil", expect: 200 },
      {
        name: "His token is dead",
        route: "GET /api/users/me",
        as: "gil",
        expect: [401, "token_revoked"],
      },
    ],
  },
  {
    name: "5. The operator's work",
    steps: [
      {
        name: "Acme is suspended",
        route: "POST /api/tenants/:id/suspend",
        as: "operator",
        path: idOf("acmeId"),
        expect: 200,
      },
      {
        name: "A token that was issued before is refused",
        route: "GET /api/users/me",
        as: "ann",
        expect: [403, "tenant_suspended"],
      },
      {
        name: "Acme is active again",
        route: "POST /api/tenants/:id/activate",
        as: "operator",
        path: idOf("acmeId"),
        expect: 200,
      },
      { name: "Ann works on", route: "GET /api/to-do-list", as: "ann", expect: 200 },
      {
        name: "Acme loses the module orders",
        route: "PATCH /api/tenants/:id",
        as: "operator",
        path: idOf("acmeId"),
        body: { modules: ["todos", "posts"] },
        expect: 200,
      },
      {
        name: "Orders are closed",
        route: "GET /api/orders",
        as: "ann",
        expect: [403, "module_disabled"],
      },
      {
        name: "The operator acts as Ann, for a reason",
        route: "POST /api/tenants/:id/impersonate",
        as: "operator",
        path: idOf("acmeId"),
        body: { userId: "{{annId}}", reason: "Ann asked for help" },
        expect: 200,
        keep: { actingToken: "accessToken" },
      },
      { name: "And sees what she sees", route: "GET /api/to-do-list", as: "acting", expect: 200 },
      {
        name: "What Acme stores",
        route: "GET /api/tenants/:id/usage",
        as: "operator",
        path: idOf("acmeId"),
        expect: 200,
      },
      {
        name: "All of it is in the audit",
        route: "GET /api/audit",
        as: "operator",
        query: { tenantId: "{{acmeId}}" },
        expect: 200,
        check: {
          "tells of the impersonation":
            'pm.expect(answer.items.map((entry) => entry.action)).to.include("tenant.impersonate")',
        },
      },
    ],
  },
  {
    name: "6. Everything goes",
    steps: ["acme", "globex"].flatMap((tenant) => {
      const name = tenant[0].toUpperCase() + tenant.slice(1);
      const path = idOf(`${tenant}Id`);
      return [
        {
          name: `${name} is not purged before it is deleted`,
          route: "POST /api/tenants/:id/purge",
          as: "operator",
          path,
          body: { confirm: `${name} {{run}}` },
          expect: [409, "conflict"],
        },
        { name: `${name} is deleted`, route: "DELETE /api/tenants/:id", as: "operator", path, expect: 200 },
        {
          name: `${name} is purged`,
          route: "POST /api/tenants/:id/purge",
          as: "operator",
          path,
          body: { confirm: `${name} {{run}}` },
          expect: 200,
        },
        {
          name: `${name} is gone`,
          route: "GET /api/tenants/:id",
          as: "operator",
          path,
          expect: [404, "not_found"],
        },
      ];
    }),
  },
];
