"""FastAPI and PyMongo's asynchronous client: one client, a database for each tenant."""

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import bcrypt
import jwt
from bson import ObjectId
from fastapi import Depends, FastAPI, Header, HTTPException, Query
from fastapi.responses import ORJSONResponse
from pydantic import BaseModel, Field
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

KEY = os.environ["JWT_SECRET_KEYS"]
OPTIONS: Any = {"verify_aud": False}  # whom a token is for, other peers do not look at either
ROUNDS = int(os.environ["BCRYPT_ROUNDS"])
PREFIX = os.environ["TENANT_DB_PREFIX"]
INDEXES = json.loads(os.environ["TENANT_INDEXES"])
NOBODYS = bcrypt.hashpw(b"nobody's password", bcrypt.gensalt(ROUNDS))

client: AsyncMongoClient[dict[str, Any]]
tenants: dict[str, asyncio.Future[AsyncDatabase[dict[str, Any]] | None]] = {}


@asynccontextmanager
async def lifespan(_: FastAPI):
    global client
    client = AsyncMongoClient(os.environ["ADMIN_DB_URI"], tz_aware=True)
    await client.aconnect()
    yield
    await client.close()


app = FastAPI(lifespan=lifespan, default_response_class=ORJSONResponse, openapi_url=None)


def admin() -> AsyncDatabase[dict[str, Any]]:
    return client[os.environ["ADMIN_DB_NAME"]]


async def load(tenant_id: str) -> AsyncDatabase[dict[str, Any]] | None:
    tenant = await admin()["tenants"].find_one({"_id": ObjectId(tenant_id)})
    return client[tenant["dbName"]] if tenant and tenant["status"] == "active" else None


async def database_of(tenant_id: str) -> AsyncDatabase[dict[str, Any]] | None:
    """Any number of first requests look a tenant up once."""
    if tenant_id not in tenants:
        tenants[tenant_id] = asyncio.ensure_future(load(tenant_id))
    return await tenants[tenant_id]


class Session(BaseModel, arbitrary_types_allowed=True):
    claims: dict[str, Any]
    db: Any


async def session(authorization: Annotated[str, Header()] = "") -> Session:
    try:
        token = authorization.removeprefix("Bearer ")
        claims = jwt.decode(token, KEY, algorithms=["HS256"], options=OPTIONS)
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "token_invalid") from error
    db = await database_of(claims["tenantId"])
    if db is None:
        raise HTTPException(403, "tenant_suspended")
    return Session(claims=claims, db=db)


LoggedIn = Annotated[Session, Depends(session)]


def answer(result: dict[str, Any], message: str, status: int = 200) -> ORJSONResponse:
    return ORJSONResponse(
        {"success": True, "statusCode": status, "message": message, "responseObject": result},
        status_code=status,
    )


def shown(document: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {"id": str(document["_id"]), **{name: document.get(name) for name in fields}}


USER = ("email", "role", "status", "createdAt", "updatedAt")
TODO = ("title", "done", "dueAt", "createdAt", "updatedAt")


class Credentials(BaseModel):
    email: str
    password: str


class NewTenant(BaseModel):
    name: str = Field(min_length=1, max_length=100)
    email: str
    password: str | None = None


class NewTodo(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    done: bool = False
    dueAt: datetime | None = None


@app.get("/readyz")
async def ready():
    return answer({}, "Ready")


@app.post("/api/login")
async def login(body: Credentials):
    membership = await admin()["tenantusers"].find_one({"email": body.email})
    db = await database_of(str(membership["tenantId"])) if membership else None
    user = await db["users"].find_one({"_id": membership["_id"]}) if db is not None else None
    hashed = user["password"].encode() if user else NOBODYS
    fits = await asyncio.to_thread(bcrypt.checkpw, body.password.encode(), hashed)
    if user is None or not fits:
        raise HTTPException(401, "credentials_invalid")
    now = int(time.time())
    claims = {
        "sub": str(user["_id"]),
        "tenantId": str(membership["tenantId"]),
        "role": user["role"],
        "iat": now,
    }
    return answer(
        {
            "accessToken": jwt.encode({**claims, "type": "access", "exp": now + 900}, KEY),
            "refreshToken": jwt.encode({**claims, "type": "refresh", "exp": now + 2592000}, KEY),
            "userId": claims["sub"],
            "tenantId": claims["tenantId"],
            "role": user["role"],
        },
        "Logged In Successfully",
    )


@app.post("/api/add")
async def add(body: NewTenant, by: LoggedIn):
    if by.claims["role"] != "operator":
        raise HTTPException(403, "role_required")
    tenant_id, user_id, now = ObjectId(), ObjectId(), datetime.now(UTC)
    times = {"createdAt": now, "updatedAt": now}
    hashed = None
    if body.password:
        salt = bcrypt.gensalt(ROUNDS)
        hashed = (await asyncio.to_thread(bcrypt.hashpw, body.password.encode(), salt)).decode()
    db = client[f"{PREFIX}{tenant_id}"]
    await asyncio.gather(
        *(db.command("createIndexes", name, indexes=indexes) for name, indexes in INDEXES.items())
    )
    user = {
        "_id": user_id,
        "email": body.email,
        "password": hashed,
        "role": "owner",
        "status": "active" if hashed else "invited",
        **times,
    }
    tenant = {
        "_id": tenant_id,
        "name": body.name,
        "dbName": db.name,
        "status": "active",
        "cluster": "default",
        **times,
    }
    membership = {"_id": user_id, "email": body.email, "tenantId": tenant_id}

    async def write(transaction: Any) -> None:
        await db["users"].insert_one(user, session=transaction)
        await admin()["tenants"].insert_one(tenant, session=transaction)
        await admin()["tenantusers"].insert_one(membership, session=transaction)

    async with client.start_session() as transaction:
        await transaction.with_transaction(write)
    return answer(
        {"tenantId": str(tenant_id), "userId": str(user_id)}, "Tenant added successfully", 201
    )


@app.get("/api/users/me")
async def me(by: LoggedIn):
    user = await by.db["users"].find_one({"_id": ObjectId(by.claims["sub"])})
    if user is None:
        raise HTTPException(401, "token_revoked")
    return answer(shown(user, *USER), "User")


@app.get("/api/to-do-list")
async def list_todos(by: LoggedIn, limit: Annotated[int, Query(ge=1, le=100)] = 20):
    order = [("createdAt", 1), ("_id", 1)]
    items = await by.db["todos"].find().sort(order).limit(limit + 1).to_list()
    cursor = str(items[limit - 1]["_id"]) if len(items) > limit else None
    found = [shown(item, *TODO) for item in items[:limit]]
    return answer({"items": found, "nextCursor": cursor}, "To-do list")


@app.post("/api/to-do-list")
async def add_todo(body: NewTodo, by: LoggedIn):
    now = datetime.now(UTC)
    item = {**body.model_dump(), "createdAt": now, "updatedAt": now}
    await by.db["todos"].insert_one(item)
    return answer(shown(item, *TODO), "To-do item added successfully", 201)
