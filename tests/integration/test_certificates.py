"""A platform that logs in to MongoDB by a certificate (MONGODB-X509), at ADMIN_DB_URI and at a
cluster: everything works that works with a password."""

import datetime
import ipaddress
import json
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pymongo import MongoClient

from multitenant.cli import cli
from multitenant.embedded import COMPRESSORS, find_mongod
from multitenant.tenancy.actor import Actor
from tests.conftest import data_directory, leakless_worlds, variables_of
from tests.support import PASSWORD, World, answer, eventually

pytestmark = pytest.mark.slow

Key = ec.EllipticCurvePrivateKey


def name_of(common_name: str) -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, common_name), (NameOID.COMMON_NAME, common_name)]
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])


def certify(name: str, issuer: str, key: Key, signed_by: Key, *, ca: bool) -> bytes:
    """A certificate for 127.0.0.1, and its key."""
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name_of(name))
        .issuer_name(name_of(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(signed_by, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture(scope="module")
def x509_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a replica set, as a user who has all rights and no password."""
    files = tmp_path_factory.mktemp("certificates")
    authority, server, client = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    (files / "ca.pem").write_bytes(certify("ca", "ca", authority, authority, ca=True))
    (files / "server.pem").write_bytes(certify("server", "ca", server, authority, ca=False))
    (files / "client.pem").write_bytes(certify("client", "ca", client, authority, ca=False))
    (files / "keyfile").write_text(secrets.token_hex(64))
    (files / "keyfile").chmod(0o600)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tls = {"tls": True, "tlsCAFile": str(files / "ca.pem")}
    tls |= {"tlsCertificateKeyFile": str(files / "client.pem")}
    with data_directory(tmp_path_factory) as data:
        command = (
            *(str(find_mongod()), "--dbpath", str(data), "--port", str(port)),
            *("--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", "certified"),
            *("--keyFile", str(files / "keyfile"), "--networkMessageCompressors", COMPRESSORS),
            *("--tlsMode", "requireTLS", "--tlsCAFile", str(files / "ca.pem")),
            *("--tlsCertificateKeyFile", str(files / "server.pem")),
            *("--wiredTigerCacheSizeGB", "0.3"),
        )
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            with MongoClient("127.0.0.1", port, directConnection=True, **tls) as admin:  # type: ignore[var-annotated,arg-type]
                host = f"127.0.0.1:{port}"
                members = [{"_id": 0, "host": host}]
                admin.admin.command("replSetInitiate", {"_id": "certified", "members": members})
                eventually(lambda: bool(admin.admin.command("hello")["isWritablePrimary"]))
                subject = "CN=client,O=client"
                roles = [{"role": "root", "db": "admin"}]
                admin.admin.command("createUser", "root", pwd="root", roles=roles)
            with MongoClient(  # type: ignore[var-annotated]
                "127.0.0.1",
                port,
                username="root",
                password="root",
                **tls,  # type: ignore[arg-type]
            ) as admin:
                admin["$external"].command("createUser", subject, roles=roles)
            yield (
                f"mongodb://127.0.0.1:{port}/?replicaSet=certified&authMechanism=MONGODB-X509"
                f"&tls=true&tlsCAFile={files}/ca.pem&tlsCertificateKeyFile={files}/client.pem"
            )
        finally:
            process.kill()
            process.wait()


def work_in_both_kinds(world: World, **placed: str) -> None:
    """A shared and a dedicated tenant there."""
    for isolation in ("shared", "dedicated"):
        owner = world.tenant(isolation.title(), isolation=isolation, **placed)
        assert owner.post("/api/to-do-list", {"title": "x"}).status_code == 201
        rotated = world.operator.post(f"/api/tenants/{owner.tenant_id}/rotate-credentials")
        assert rotated.status_code in (200, 409), rotated.text
        assert len(answer(owner.get("/api/to-do-list"))["items"]) == 1


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_the_admin_database_is_reached_by_a_certificate(
    x509_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = variables_of(x509_uri, "certified", tmp_path)
    with leakless_worlds(environment) as make:
        world = make()
        work_in_both_kinds(world)
        monkeypatch.chdir(tmp_path)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert json.loads(run("doctor", "--json"))["ok"]
        for tenant in ("Shared", "Dedicated"):
            assert run("tenants", "shell", tenant, "-c", "db.todos.count_documents({})") == "1\n"
        run("backup", "--all", "--output", str(tmp_path / "backup"))
        tenant_id = world.login("owner@dedicated.example", PASSWORD).tenant_id
        run("restore", f"{tmp_path}/backup/{tenant_id}", "--into-tenant", "Dedicated", "--yes")
        assert world.login("owner@dedicated.example", PASSWORD)


def test_a_cluster_is_reached_by_a_certificate(world: World, x509_uri: str) -> None:
    found = world.platform.clusters.add("certified", x509_uri, {}, Actor.on_command_line())
    assert found.dedicated
    work_in_both_kinds(world, cluster="certified")
