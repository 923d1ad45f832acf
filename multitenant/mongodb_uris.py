"""Which options a MongoDB URI may have: one decision for ADMIN_DB_URI, the URIs of clusters, and
tenants' `dbUri`.

An option is followed, ignored (it is taken out before the driver sees it, since the platform
decides that itself), or refused with a reason. docs/configuration.md has the list for people.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.common import URI_OPTIONS_VALIDATOR_MAP
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

SCHEMES = ("mongodb", "mongodb+srv")
TLS_FILES = frozenset(
    {"tlscafile", "tlscertificatekeyfile", "tlscertificatekeyfilepassword", "tlscrlfile"}
)
TLS_WEAKER = frozenset(
    {
        "tlsallowinvalidcertificates",
        "tlsallowinvalidhostnames",
        "tlsdisableocspendpointcheck",
        "tlsinsecure",
    }
)
LOGIN = frozenset({"replicaset", "authsource", "authmechanism", "tls", "ssl"})
TIMES = frozenset(
    {
        "connecttimeoutms",
        "heartbeatfrequencyms",
        "localthresholdms",
        "serverselectiontimeoutms",
        "sockettimeoutms",
        "waitqueuetimeoutms",
    }
)
TRANSPORT = frozenset(
    {
        "compressors",
        "enableoverloadretargeting",
        "maxadaptiveretries",
        "maxconnecting",
        "srvallowedhostssuffix",
        "srvmaxhosts",
        "srvservicename",
        "zlibcompressionlevel",
    }
)
SRV_ONLY = frozenset({"srvallowedhostssuffix", "srvmaxhosts", "srvservicename"})
READS = frozenset(
    {
        "maxstalenessseconds",
        "readconcernlevel",
        "readpreference",
        "readpreferencetags",
        "retryreads",
        "retrywrites",
    }
)
WRITES = frozenset({"fsync", "journal", "wtimeoutms"})
CLIENT = frozenset(
    {
        "connect",
        "datetime_conversion",
        "maxidletimems",
        "maxpoolsize",
        "minpoolsize",
        "servermonitoringmode",
        "timeoutms",
        "tz_aware",
        "unicode_decode_error_handler",
        "uuidrepresentation",
        "waitqueuemultiple",
    }
)
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-1")
X509 = "MONGODB-X509"
"""Login by the certificate of `tlsCertificateKeyFile`."""


@dataclass(frozen=True, slots=True)
class Limited:
    """An option that may have some values only."""

    values: tuple[Any, ...]
    otherwise: str
    """What is wrong with any other."""


ELECTIONS = Limited((False,), "which would not follow an election")
BALANCER = Limited((False,), "but the platform has to know each server of its deployment")


@dataclass(frozen=True, slots=True)
class Rules:
    """What one kind of URIs may have; names in small letters."""

    followed: frozenset[str]
    ignored: frozenset[str]
    limited: Mapping[str, Limited] = field(default_factory=dict)


PLATFORM = Rules(
    followed=LOGIN | TLS_FILES | TLS_WEAKER | TIMES | TRANSPORT,
    ignored=READS | WRITES | CLIENT | {"appname", "w"},
    limited={
        "directconnection": ELECTIONS,
        "loadbalanced": BALANCER,
        "authmechanism": Limited(
            (*SCRAM, "DEFAULT", X509),
            f"other than {', '.join(SCRAM)} and {X509}",
        ),
    },
)
"""ADMIN_DB_URI and the URIs of clusters, which who runs this machine has chosen."""
TENANT = Rules(
    followed=LOGIN,
    ignored=READS | {"appname"},
    limited={
        "directconnection": ELECTIONS,
        "loadbalanced": BALANCER,
        "authmechanism": Limited(SCRAM, f"other than {' and '.join(SCRAM)}"),
        "w": Limited(("majority",), "other than majority"),
    },
)
"""A tenant's `dbUri`, which must neither read files of this machine, nor use its identity, nor
weaken TLS."""

NAMES = {
    name.lower(): name
    for name in (
        *("appName", "authMechanism", "authMechanismProperties", "authSource", "connectTimeoutMS"),
        *("directConnection", "heartbeatFrequencyMS", "loadBalanced", "localThresholdMS"),
        *("maxConnecting", "maxIdleTimeMS", "maxPoolSize", "maxStalenessSeconds", "minPoolSize"),
        *("readConcernLevel", "readPreference", "readPreferenceTags", "replicaSet", "retryReads"),
        *("retryWrites", "serverSelectionTimeoutMS", "socketTimeoutMS", "timeoutMS", "tlsCAFile"),
        *("tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames", "tlsCertificateKeyFile"),
        *("tlsCertificateKeyFilePassword", "tlsCRLFile", "tlsInsecure", "wTimeoutMS", "tls", "w"),
        *("srvMaxHosts", "srvServiceName", "compressors", "journal", "zlibCompressionLevel"),
    )
}
"""As MongoDB's documentation writes them."""
NO_URI = (
    "is not a MongoDB URI such as mongodb://user:password@host1,host2/?replicaSet=rs0;"
    " in user and password, characters such as @ : / ? # % are written as %XX"
)


def check_uri(uri: str, rules: Rules) -> dict[str, Any]:
    """Return the URI as the driver understands it, without asking the DNS: `nodelist`, `username`,
    `password`, `database`, `collection` and `options`.

    Raises ValueError that says what is wrong, and has nothing of the URI but an option's name.
    """
    scheme, _, rest = uri.partition("://")
    if scheme not in SCHEMES:
        raise ValueError("must begin with mongodb:// or mongodb+srv://")
    names = _names(rest)
    for name in names:
        if names.count(name) > 1 and name != "readpreferencetags":
            raise ValueError(f"has the option {_shown(name)} more than once")
        if _is_known(name):
            _ensure_known_is_taken(name, rules)  # before a file that it names is looked for
    try:
        understood = parse_uri(f"mongodb://{_without(rest, SRV_ONLY)}", warn=False)
    except OSError as error:
        raise ValueError("names a file that is not there, or that cannot be read") from error
    except (PyMongoError, ValueError, TypeError) as error:  # its words may have the password
        raise ValueError(_why_not(rest, names)) from error
    ensure_options_taken(understood["options"], rules)
    return dict(understood)


def ensure_options_taken(options: Mapping[str, Any], rules: Rules) -> None:
    """Return if all options, as the driver has understood them, are taken. Raises as check_uri()
    does."""
    for name, value in options.items():
        limited = rules.limited.get(name.lower())
        if limited is None:
            _ensure_known_is_taken(name.lower(), rules)
        elif value not in limited.values:
            raise ValueError(f"has the option {_shown(name.lower())}, {limited.otherwise}")


def followed(uri: str, rules: Rules) -> str:
    """Return the URI, which has been checked, without the options that are ignored."""
    return _without(uri, rules.ignored | rules.limited.keys() - rules.followed)


def _ensure_known_is_taken(name: str, rules: Rules) -> None:
    every = rules.followed | rules.ignored | {*rules.limited}
    if name not in every:
        taken = ", ".join(map(_shown, sorted(every)))
        raise ValueError(f"has the option {_shown(name)}, which is not taken; taken are {taken}")


def _why_not(rest: str, names: list[str]) -> str:
    """What is wrong with what the driver does not take."""
    try:
        parse_uri(f"mongodb://{rest.partition('?')[0]}", warn=False)
    except (PyMongoError, ValueError, TypeError):
        return NO_URI
    for name in names:
        if not _is_known(name):
            if "@" in rest.partition("?")[2] or not re.fullmatch(r"[A-Za-z0-9_]{1,40}", name):
                return NO_URI  # perhaps a piece of a password with a '?'
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"; is it {NAMES[near[0]]}?" if near else ""
            return f"has the option {name}, which MongoDB's driver does not know{hint}"
        try:
            _parse_option(rest, name)
        except (PyMongoError, ValueError, TypeError):
            return f"has the option {_shown(name)} with a value that it cannot have"
    return "has options that do not go together"


def _is_known(name: str) -> bool:
    return name in URI_OPTIONS_VALIDATOR_MAP


def _parse_option(rest: str, wanted: str) -> None:
    """Let the driver understand this option alone."""
    others = frozenset(_names(rest)) - {wanted}
    parse_uri(f"mongodb://{_without(rest, others)}", warn=False)


def _names(uri: str) -> list[str]:
    query = uri.partition("?")[2]
    return [part.partition("=")[0].lower() for part in _parts(query) if part]


def _parts(query: str) -> list[str]:
    return query.split(";" if ";" in query and "&" not in query else "&")


def _without(uri: str, names: frozenset[str]) -> str:
    base, _, query = uri.partition("?")
    kept = [part for part in _parts(query) if part.partition("=")[0].lower() not in names]
    return f"{base}?{'&'.join(kept)}" if any(kept) else base


def _shown(name: str) -> str:
    return NAMES.get(name, name)
