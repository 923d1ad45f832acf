"""Which options a MongoDB URI may have: every one that the driver knows has an answer."""

import warnings
from collections.abc import Callable

import pytest
from pymongo.common import URI_OPTIONS_VALIDATOR_MAP

from multitenant.config import load_settings
from multitenant.errors import ConfigurationError, ValidationFailed
from multitenant.mongodb_uris import PLATFORM, TENANT, check_uri, followed
from multitenant.tenancy.deployments.deployments import check_uri as check_cluster
from multitenant.tenancy.deployments.external import check_uri as check_tenants
from tests.unit.test_config import PRODUCTION

BASE = "mongodb://user:hidden@db.example.com/?"
IGNORED = (
    "maxStalenessSeconds=120",
    "readPreferenceTags=dc:ny",
    "readPreferenceTags=dc:ny&readPreferenceTags=",
    "readPreference=secondary&maxStalenessSeconds=120&readPreferenceTags=dc:ny",
    "readConcernLevel=local",
    "retryReads=false&retryWrites=false",
    "appName=Cluster0",
)
IGNORED_OF_THE_PLATFORM = (
    "w=0",
    "w=0&journal=true",
    "fsync=true&journal=true",
    "minPoolSize=100",
    "maxPoolSize=1",
    "uuidRepresentation=standard",
    "timeoutMS=1",
)


def admin(uri: str) -> None:
    load_settings({**PRODUCTION, "ADMIN_DB_URI": uri}, env_file=None)


def tenants(uri: str) -> None:
    check_tenants(uri, ("db.example.com",))


PLACES = (admin, check_cluster, tenants)
OF_THE_PLATFORM = (admin, check_cluster)
Check = Callable[[str], None]


@pytest.mark.parametrize("name", sorted(URI_OPTIONS_VALIDATOR_MAP))
def test_every_option_that_the_driver_knows_is_in_the_table(name: str) -> None:
    """One that a new release of PyMongo brings has to be put somewhere."""
    known = PLATFORM.followed | PLATFORM.ignored | {*PLATFORM.limited}
    assert name in known | {"authmechanismproperties", "driver", "server_api"}


@pytest.mark.parametrize("check", PLACES)
@pytest.mark.parametrize("options", ["", "replicaSet=rs0&authSource=admin&tls=true", *IGNORED])
def test_what_is_followed_or_ignored_is_taken_everywhere(check: Check, options: str) -> None:
    check(BASE + options)


@pytest.mark.parametrize("check", OF_THE_PLATFORM)
@pytest.mark.parametrize("options", IGNORED_OF_THE_PLATFORM)
def test_what_the_platform_decides_itself_is_ignored(check: Check, options: str) -> None:
    check(BASE + options)


@pytest.mark.parametrize("options", [*IGNORED, *IGNORED_OF_THE_PLATFORM])
def test_the_driver_does_not_see_what_is_ignored(options: str) -> None:
    assert followed(f"{BASE}replicaSet=rs0&{options}", PLATFORM) == f"{BASE}replicaSet=rs0"
    assert followed(BASE + options, PLATFORM) == BASE.rstrip("?")


def refusal_of(check: Check, uri: str) -> str:
    with pytest.raises((ConfigurationError, ValidationFailed)) as refused:
        check(uri)
    assert "hid" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("check", PLACES)
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("directConnection=true", "directConnection, which would not follow an election"),
        ("loadBalanced=true", "loadBalanced, "),
        ("authMechanism=PLAIN", "authMechanism, other than SCRAM-SHA-256"),
        ("authMechanism=GSSAPI", "authMechanism, other than SCRAM-SHA-256"),
        ("replicset=rs0", "replicset, which MongoDB's driver does not know; is it replicaSet?"),
        ("nonsense=1", "nonsense, which MongoDB's driver does not know"),
        ("replicaSet=rs0&colour=red", "colour, which"),
        ("connectTimeoutMS=soon", "connectTimeoutMS"),
        ("tls=true&tls=false", "tls more than once"),
        ("ssl=true&tls=false", "options that do not go together"),
    ],
)
def test_what_is_refused_is_named_alike_everywhere(check: Check, options: str, named: str) -> None:
    assert named in refusal_of(check, BASE + options)


@pytest.mark.parametrize("option", ["tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"])
def test_no_file_is_looked_for_because_a_tenants_uri_names_it(option: str) -> None:
    for path in ("/etc/hostname", "/nowhere"):
        assert "which is not taken" in refusal_of(tenants, f"{BASE}{option}={path}")


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://user:12?hidden=x@db.example.com/",
        "mongodb://user:hid?den=x@db.example.com/",
        "mongodb://user:hid/den?x=hidden@db.example.com/",
    ],
)
@pytest.mark.parametrize("check", OF_THE_PLATFORM)
def test_a_piece_of_a_password_is_not_taken_for_an_option(check: Check, uri: str) -> None:
    assert "not a MongoDB URI" in refusal_of(check, uri)


@pytest.mark.parametrize("check", OF_THE_PLATFORM)
def test_options_of_srv_uris_are_taken_there(check: Check) -> None:
    check("mongodb+srv://user:hidden@db.example.com/?srvMaxHosts=3&srvServiceName=mine")


@pytest.mark.parametrize("check", OF_THE_PLATFORM)
def test_a_certificate_logs_in_everywhere_but_at_a_tenants_server(check: Check) -> None:
    uri = "mongodb://db.example.com/?authMechanism=MONGODB-X509&tls=true"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(uri)
    assert "authMechanism" in refusal_of(tenants, uri)


def test_what_the_driver_understands_is_returned() -> None:
    understood = check_uri(f"{BASE}replicaSet=rs0", TENANT)
    assert understood["nodelist"] == [("db.example.com", 27017)]
    assert understood["options"]["replicaSet"] == "rs0"
