// The two ways to reach a tenant's database with Mongoose: a connection of its own, as the design
// has it that is best known, or `useDb` on one connection.

import mongoose from "mongoose";

const { ADMIN_DB_URI, ADMIN_DB_NAME } = process.env;

const times = { timestamps: true, versionKey: false };
const userSchema = new mongoose.Schema(
  {
    email: { type: String, required: true },
    password: String,
    role: { type: String, enum: ["owner", "admin", "member"], required: true },
    status: { type: String, enum: ["active", "invited", "disabled"], required: true },
    tokenVersion: Number,
  },
  times,
);
const todoSchema = new mongoose.Schema(
  {
    title: { type: String, required: true, maxlength: 200 },
    done: { type: Boolean, required: true, default: false },
    dueAt: Date,
  },
  times,
);
const tenantSchema = new mongoose.Schema(
  { name: { type: String, unique: true }, dbName: String, status: String, cluster: String },
  times,
);
const tenantUserSchema = new mongoose.Schema(
  { email: String, tenantId: mongoose.ObjectId },
  { versionKey: false },
);

const options = { autoIndex: false, autoCreate: false };
export const admin = mongoose.createConnection(ADMIN_DB_URI, { dbName: ADMIN_DB_NAME, ...options });
export const Tenant = admin.model("tenants", tenantSchema, "tenants");
export const TenantUser = admin.model("tenantusers", tenantUserSchema, "tenantusers");

const open = {
  "connection-per-tenant": (dbName) =>
    mongoose.createConnection(ADMIN_DB_URI, { dbName, ...options }).asPromise(),
  "use-db": async (dbName) => admin.useDb(dbName, { useCache: true }),
}[process.env.VARIANT];

// Promises, so that any number of first requests open a tenant once.
const tenants = new Map();

export function tenantOf(id) {
  if (!tenants.has(id)) {
    const opening = load(id);
    tenants.set(id, opening);
    opening.catch(() => tenants.delete(id));
  }
  return tenants.get(id);
}

async function load(id) {
  const tenant = await Tenant.findById(id).lean();
  if (!tenant || tenant.status !== "active") return null;
  return models(await open(tenant.dbName));
}

export function models(connection) {
  return {
    connection,
    User: connection.model("users", userSchema, "users"),
    Todo: connection.model("todos", todoSchema, "todos"),
  };
}

export function openDatabase(dbName) {
  return open(dbName);
}
