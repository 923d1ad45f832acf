import { createSecretKey } from "node:crypto";
import bcrypt from "bcrypt";
import express from "express";
import jwt from "jsonwebtoken";
import mongoose from "mongoose";
import { admin, models, openDatabase, Tenant, TenantUser, tenantOf } from "./tenants.mjs";

const { JWT_SECRET_KEYS, PORT, TENANT_DB_PREFIX } = process.env;
const INDEXES = JSON.parse(process.env.TENANT_INDEXES);
const ROUNDS = Number(process.env.BCRYPT_ROUNDS);
// With a string, jsonwebtoken makes a key object of it in every call, which costs 0.7 ms.
const KEY = createSecretKey(Buffer.from(JWT_SECRET_KEYS));
const NOBODYS = bcrypt.hashSync("nobody's password", ROUNDS);

const app = express();
app.disable("x-powered-by");
app.disable("etag");
app.use(express.json());

function answer(res, responseObject, message, statusCode = 200) {
  res.status(statusCode).json({ success: true, statusCode, message, responseObject });
}

function refuse(res, statusCode, code) {
  res.status(statusCode).json({ success: false, statusCode, message: code, responseObject: { code } });
}

async function authenticate(req, res, next) {
  let claims;
  try {
    claims = jwt.verify((req.get("authorization") ?? "").slice(7), KEY, { algorithms: ["HS256"] });
  } catch {
    return refuse(res, 401, "token_invalid");
  }
  const tenant = await tenantOf(claims.tenantId);
  if (!tenant) return refuse(res, 403, "tenant_suspended");
  req.claims = claims;
  req.tenant = tenant;
  next();
}

const shown = ({ _id, ...rest }) => ({ id: _id, ...rest });
const shownUser = ({ _id, email, role, status, createdAt, updatedAt }) => ({
  id: _id,
  email,
  role,
  status,
  createdAt,
  updatedAt,
});

app.get("/readyz", (req, res) => answer(res, {}, "Ready"));

app.post("/api/login", async (req, res) => {
  const { email, password } = req.body;
  const membership = await TenantUser.findOne({ email }).lean();
  const tenant = membership && (await tenantOf(String(membership.tenantId)));
  const user = tenant && (await tenant.User.findById(membership._id).lean());
  const fits = await bcrypt.compare(password, user?.password ?? NOBODYS);
  if (!user || !fits) return refuse(res, 401, "credentials_invalid");
  const claims = { tenantId: String(membership.tenantId), role: user.role };
  const sign = (type, expiresIn) =>
    jwt.sign({ ...claims, type }, KEY, { subject: String(user._id), expiresIn });
  answer(
    res,
    {
      accessToken: sign("access", 900),
      refreshToken: sign("refresh", 30 * 86400),
      userId: user._id,
      ...claims,
    },
    "Logged In Successfully",
  );
});

app.post("/api/add", authenticate, async (req, res) => {
  const { name, email, password } = req.body;
  if (req.claims.role !== "operator") return refuse(res, 403, "role_required");
  const tenantId = new mongoose.Types.ObjectId();
  const userId = new mongoose.Types.ObjectId();
  const hash = password && (await bcrypt.hash(password, ROUNDS));
  const dbName = TENANT_DB_PREFIX + tenantId;
  const { connection, User } = models(await openDatabase(dbName));
  await Promise.all(
    Object.entries(INDEXES).map(([createIndexes, indexes]) =>
      connection.db.command({ createIndexes, indexes }),
    ),
  );
  // The user's database is another connection's in one variant: a transaction cannot span both.
  await User.create({
    _id: userId,
    email,
    password: hash,
    role: "owner",
    status: hash ? "active" : "invited",
  });
  await admin.transaction(async (session) => {
    await Tenant.create([{ _id: tenantId, name, dbName, status: "active", cluster: "default" }], {
      session,
    });
    await TenantUser.create([{ _id: userId, email, tenantId }], { session });
  });
  answer(res, { tenantId, userId }, "Tenant added successfully", 201);
});

app.use("/api", authenticate);

app.get("/api/users/me", async (req, res) => {
  const user = await req.tenant.User.findById(req.claims.sub).lean();
  if (!user) return refuse(res, 401, "token_revoked");
  answer(res, shownUser(user), "User");
});

app.get("/api/to-do-list", async (req, res) => {
  const limit = Math.min(Number(req.query.limit ?? 20), 100);
  const items = await req.tenant.Todo.find()
    .sort({ createdAt: 1, _id: 1 })
    .limit(limit + 1)
    .lean();
  const nextCursor = items.length > limit ? String(items[limit - 1]._id) : null;
  answer(res, { items: items.slice(0, limit).map(shown), nextCursor }, "To-do list");
});

app.post("/api/to-do-list", async (req, res) => {
  const { title, done, dueAt } = req.body;
  const item = await req.tenant.Todo.create({ title, done, dueAt });
  answer(res, shown(item.toObject()), "To-do item added successfully", 201);
});

app.use((error, req, res, next) => {
  console.error(error);
  refuse(res, 500, "internal_error");
});

await admin.asPromise();
app.listen(Number(PORT), "127.0.0.1");
