"""Sessions in cookies in a real browser: the page on `app.saas.example`, the API on
`api.saas.example`, and a page of somebody else's on `evil.saas.example`."""

import http.client
import os
import shutil
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from selenium import webdriver

from tests.e2e.server import MULTITENANT_RUN, Server
from tests.e2e.test_docs_page import FLAGS, SECONDS
from tests.support import PASSWORD

pytestmark = pytest.mark.slow

PAGE = b"<!DOCTYPE html><html lang='en'><title>A page</title></html>"
RUN = """
const [api, method, path, csrf, body, done] = arguments;
fetch(api + path, {
  method: method,
  credentials: "include",
  headers: {
    ...(csrf ? {"X-CSRF-TOKEN": csrf} : {}),
    ...(body ? {"Content-Type": "application/json"} : {}),
  },
  body: body ? JSON.stringify(body) : undefined,
}).then(async (response) => done([response.status, (await response.json()).responseObject]))
  .catch((error) => done([0, String(error)]));
"""


@dataclass
class Site:
    """The hosts of one site, and a browser."""

    browser: webdriver.Chrome
    scheme: str
    port: int
    email: str

    def origin(self, host: str) -> str:
        return f"{self.scheme}://{host}.saas.example:{self.port}"

    def open(self, host: str) -> None:
        self.browser.get(f"{self.origin(host)}/page")

    def call(self, method: str, path: str, csrf: str | None = None, body: Any = None) -> Any:
        """The status and object of what the API answers to the page; 0 where the browser does not
        let the page see it."""
        return self.browser.execute_async_script(RUN, self.origin("api"), method, path, csrf, body)

    def run(self, script: str) -> Any:
        return self.browser.execute_script(script)

    def log_in(self) -> Any:
        body = {"email": self.email, "password": PASSWORD, "useCookies": True}
        status, session = self.call("POST", "/api/login", body=body)
        assert status == 200, session
        return session


def certificate(directory: Path) -> ssl.SSLContext:
    """A TLS server's context, with a certificate that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "saas.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "tls.pem").write_bytes(private + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "tls.pem")
    return context


def front(upstream: list[int]) -> type[BaseHTTPRequestHandler]:
    """The handler of a server that passes what is for `api.` to the port, and answers a page for
    any other host."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not self.headers["Host"].startswith("api."):
                self._answer(200, [("Content-Type", "text/html")], PAGE)
                return
            connection = http.client.HTTPConnection("127.0.0.1", upstream[0], timeout=60)
            try:
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                response = connection.getresponse()
                self._answer(response.status, response.getheaders(), response.read())
            finally:
                connection.close()

        do_POST = do_OPTIONS = do_GET

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture(
    params=[("production", ""), ("production", "saas.example"), ("development", "")],
    ids=["__Host-", "domain", "without TLS"],
)
def site(
    request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path
) -> Iterator[Site]:
    """A platform with a tenant, in front of it the hosts, and a browser that knows them."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        if os.environ.get("REQUIRE_ALL_TOOLS"):
            pytest.fail("no chromium or chromedriver is installed")
        pytest.skip("no chromium and chromedriver on this machine")
    mode, domain = request.param
    upstream: list[int] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), front(upstream)) as hosts:
        scheme, port = "http", hosts.server_port
        if mode == "production":
            scheme = "https"
            hosts.socket = certificate(tmp_path).wrap_socket(hosts.socket, server_side=True)
        changed = environment | {
            "MULTITENANT_ENV": mode,
            "COOKIE_DOMAIN": domain,
            "BASE_DOMAIN": "saas.example",
            "BCRYPT_ROUNDS": "10",
            "OPERATOR_EMAIL": "operator@saas.example",
            "CORS_ORIGINS": f"{scheme}://app.saas.example:{port}",
            "WORKERS": "2",
        }
        serving = threading.Thread(target=hosts.serve_forever)
        serving.start()
        try:
            with Server(MULTITENANT_RUN, changed, tmp_path / "server") as server:
                server.wait_until_ready()
                upstream.append(server.port)
                email = server.add_tenant("Acme")
                options = webdriver.ChromeOptions()
                options.binary_location = chromium
                for flag in (
                    *FLAGS,
                    f"--user-data-dir={tmp_path / 'profile'}",
                    "--host-resolver-rules=MAP *.saas.example 127.0.0.1",
                    "--ignore-certificate-errors",
                ):
                    options.add_argument(flag)
                service = webdriver.ChromeService(driver)
                with webdriver.Chrome(options=options, service=service) as browser:
                    browser.set_script_timeout(SECONDS)
                    yield Site(browser, scheme, port, email)
        finally:
            hosts.shutdown()
            serving.join()


def test_a_page_on_another_host_has_a_session_from_login_to_logout(
    site: Site, request: pytest.FixtureRequest
) -> None:
    site.open("app")
    session = site.log_in()
    csrf, refresh_csrf = session["csrfToken"], session["refreshCsrfToken"]
    readable = csrf in site.run("return document.cookie")
    assert readable is (request.node.callspec.id == "domain")
    assert site.call("GET", "/api/users/me")[0] == 200
    todo = {"title": "Buy milk"}
    assert site.call("POST", "/api/to-do-list", body=todo)[0] == 403
    assert site.call("POST", "/api/to-do-list", csrf, todo)[0] == 201

    assert site.call("POST", "/api/refresh")[0] == 403
    status, renewed = site.call("POST", "/api/refresh", refresh_csrf)
    assert (status, renewed) == (200, session)
    # The page in a second tab has seen nothing of that.
    assert site.call("POST", "/api/to-do-list", csrf, todo)[0] == 201
    assert site.call("POST", "/api/refresh", refresh_csrf)[0] == 200

    # Somebody else's page of the same site sees nothing, and can put cookies in the way.
    site.open("evil")
    assert site.call("GET", "/api/users/me") == [0, "TypeError: Failed to fetch"]
    secure = "; secure" if site.scheme == "https" else ""
    names = ("access_token_cookie", "refresh_token_cookie", "csrf_access_token")
    for name in (*names, *(f"__Host-{name}" for name in names)):
        for path in ("/", "/api/users", "/api/to-do-list", "/api/refresh", "/api/logout"):
            tossed = f"{name}=tossed; domain=saas.example; path={path}{secure}"
            site.run(f"document.cookie = '{tossed}'")
    site.open("app")
    assert "csrf_access_token=tossed" in site.run("return document.cookie")
    assert site.call("GET", "/api/users/me")[0] == 200
    assert site.call("POST", "/api/to-do-list", csrf, todo)[0] == 201
    assert site.call("POST", "/api/refresh", refresh_csrf)[0] == 200

    assert site.call("POST", "/api/logout", csrf)[0] == 200
    assert site.call("GET", "/api/users/me")[0] == 401
    session = site.log_in()
    assert site.call("POST", "/api/to-do-list", session["csrfToken"], todo)[0] == 201
