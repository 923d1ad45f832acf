"""The floor: the least that Flask and PyMongo need for these answers, with one tenant in one
database, on the same server. It is no design to copy: no tenants, no revocation, no validation."""

import os
from datetime import UTC, datetime
from typing import Any

import flask
import jwt
from bson import ObjectId
from pymongo import MongoClient

KEY = os.environ["JWT_SECRET_KEYS"]
OPTIONS: Any = {"verify_aud": False}  # whom a token is for, other peers do not look at either
app = flask.Flask("floor")
_client: MongoClient[dict[str, Any]] | None = None


def db() -> Any:
    """The one database; opened after the fork."""
    global _client
    if _client is None:
        _client = MongoClient(os.environ["ADMIN_DB_URI"], tz_aware=True)
    return _client[os.environ["FLOOR_DB_NAME"]]


def user_id() -> ObjectId:
    token = flask.request.headers["Authorization"].removeprefix("Bearer ")
    return ObjectId(jwt.decode(token, KEY, algorithms=["HS256"], options=OPTIONS)["sub"])


def answer(result: dict[str, Any], message: str, status: int = 200) -> tuple[Any, int]:
    body = {"success": True, "statusCode": status, "message": message, "responseObject": result}
    return flask.jsonify(body), status


def shown(document: dict[str, Any]) -> dict[str, Any]:
    moments = ("createdAt", "updatedAt", "dueAt")
    return {
        "id": str(document["_id"]),
        **{key: value for key, value in document.items() if key not in (*moments, "_id")},
        **{key: document[key].isoformat() for key in moments if document.get(key)},
    }


@app.get("/readyz")
def ready() -> tuple[Any, int]:
    return answer({}, "Ready")


@app.get("/api/users/me")
def me() -> tuple[Any, int]:
    user = db()["users"].find_one({"_id": user_id()}, {"password": 0})
    if user is None:
        flask.abort(401)
    return answer(shown(user), "User")


@app.get("/api/to-do-list")
def list_todos() -> tuple[Any, int]:
    user_id()
    limit = flask.request.args.get("limit", 20, int)
    items = list(db()["todos"].find().sort([("createdAt", 1), ("_id", 1)]).limit(limit + 1))
    cursor = str(items[limit - 1]["_id"]) if len(items) > limit else None
    return answer({"items": [shown(item) for item in items[:limit]], "nextCursor": cursor}, "List")


@app.post("/api/to-do-list")
def add_todo() -> tuple[Any, int]:
    user_id()
    now = datetime.now(UTC)
    item = {"title": flask.request.get_json()["title"], "done": False}
    item |= {"createdAt": now, "updatedAt": now}
    db()["todos"].insert_one(item)
    return answer(shown(item), "To-do item added", 201)
