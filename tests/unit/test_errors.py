"""Every error of the domain has its status, and the table is the contract's."""

from multitenant import errors
from multitenant.middleware.error_handlers import CODE_OF_HTTP_STATUS, STATUS_OF_CODE

CONTRACT = {
    400: {"malformed_json", "invalid_cursor"},
    401: {
        *("token_missing", "token_invalid", "token_expired", "token_revoked"),
        "credentials_invalid",
    },
    403: {
        *("role_required", "tenant_mismatch", "tenant_suspended", "module_disabled"),
        "csrf_failed",
    },
    404: {"not_found"},
    405: {"method_not_allowed"},
    409: {"already_exists", "tenant_required", "user_limit_reached", "conflict"},
    413: {"payload_too_large"},
    415: {"unsupported_media_type"},
    422: {"validation_failed"},
    429: {"rate_limited", "tenant_busy"},
    503: {"tenant_maintenance", "database_unavailable"},
    500: {"internal_error"},
}


def test_the_table_of_codes_is_the_contracts() -> None:
    by_status: dict[int, set[str]] = {}
    for code, status in STATUS_OF_CODE.items():
        by_status.setdefault(status, set()).add(code)
    assert by_status == CONTRACT


def test_every_error_of_the_domain_has_a_status_a_message_and_a_reason() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DomainError)
    ]
    assert len(kinds) > 15
    for kind in kinds:
        assert kind.code in STATUS_OF_CODE
        assert kind().message
        if kind is not errors.DomainError:
            assert (kind.__doc__ or "").startswith("Raised ")


def test_werkzeugs_errors_have_the_status_of_their_code() -> None:
    for status, (code, message) in CODE_OF_HTTP_STATUS.items():
        assert STATUS_OF_CODE[code] == status
        assert message
