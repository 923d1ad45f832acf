"""Health checks, as they are answered."""

from typing import Literal

from multitenant.schemas.payload import Answer


class HealthAnswer(Answer):
    """It is well; if it were not, this would be an error."""

    status: Literal["ok", "ready"]
