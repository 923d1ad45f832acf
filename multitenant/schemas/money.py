"""Amounts of money: decimal everywhere, never a float, which has no 0.10."""

import re
from decimal import Decimal
from typing import Annotated, Any

from bson import Decimal128
from pydantic import BeforeValidator, PlainSerializer, PlainValidator, WithJsonSchema

MAX_PRICE = Decimal("9999999999.99")
CENT = Decimal("0.01")
PRICE = re.compile(r"[0-9]{1,10}(\.[0-9]{1,2})?", re.ASCII)


def _price(value: Any) -> Any:
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str) or not PRICE.fullmatch(value):
        raise ValueError(
            "must be a decimal string such as '1.50': up to 10 digits, and up to 2 behind the point"
        )
    return Decimal(value).quantize(CENT)


def _stored_amount(value: Any) -> Decimal:
    amount = value.to_decimal() if isinstance(value, Decimal128) else value
    if not isinstance(amount, Decimal) or not amount.is_finite():
        raise ValueError("must be a finite Decimal128")
    return amount


def _amount_text(amount: Decimal) -> str:
    return f"{amount:.2f}"


Price = Annotated[
    Decimal,
    BeforeValidator(_price),
    WithJsonSchema({"type": "string", "pattern": f"^{PRICE.pattern}$", "example": "1.50"}),
]
"""What a caller sends, from 0 to MAX_PRICE; read with two digits behind the point."""
Amount = Annotated[
    Decimal,
    PlainValidator(_stored_amount),
    PlainSerializer(_amount_text, return_type=str),
    WithJsonSchema({"type": "string", "example": "1.50"}),
]
"""What is stored as Decimal128, answered with two digits behind the point."""
