"""Bodies that are expensive to refuse. What is refused is in integration/test_bad_input.py."""

import time
import tracemalloc

import pytest
from pydantic import BaseModel, ValidationError

from multitenant.errors import DomainError
from multitenant.middleware.strict_json import MAX_ERRORS, parse_object
from multitenant.schemas.payload import Email

MEBIBYTE = 1024 * 1024


def test_a_duplicate_among_many_keys_is_found_in_linear_time() -> None:
    keys = ",".join(f'"{number}":1' for number in range(60_000))
    started = time.process_time()
    with pytest.raises(DomainError, match="The key z stands twice"):
        parse_object(f'{{{keys},"z":1,"z":1}}'.encode())
    assert time.process_time() - started < 2, "quadratic, it would take half a minute"


def test_a_body_full_of_errors_costs_little_memory() -> None:
    key = "\N{GRINNING FACE}" * 60
    body = f'{{"{key}":' * 29 + "[" + ",".join(['"\\u0000"'] * 100_000) + "]" + "}" * 29
    assert len(body.encode()) < MEBIBYTE
    tracemalloc.start()
    with pytest.raises(DomainError) as caught:
        parse_object(body.encode())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(caught.value.errors or []) == MAX_ERRORS
    assert peak < 64 * MEBIBYTE


def test_an_email_that_is_too_long_is_refused_before_it_is_normalised() -> None:
    class Model(BaseModel):
        email: Email

    started = time.process_time()
    with pytest.raises(ValidationError, match="at most 254 characters"):
        Model(email="a" + "\u0300\u0316" * 100_000 + "@b.com")
    assert time.process_time() - started < 1, "normalising it would take ten seconds"
