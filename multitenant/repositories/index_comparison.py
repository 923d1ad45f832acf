"""Whether an index is the one that was declared.

MongoDB reports an index in its own words: the keys of a text index become two of its own, options
are completed by their defaults, versions are added, and an index takes the collation of its
collection. So both sides are brought into one form, in which every option counts.
"""

from collections.abc import Mapping
from typing import Any

from multitenant.repositories.model import MongoDocument

MADE_BY_MONGODB = ("v", "ns", "textIndexVersion", "2dsphereIndexVersion")
"""Compared only where they are declared."""
FORM_ONLY = ("name", "background")
"""What says nothing of the index itself."""
FLAGS = ("unique", "sparse", "hidden", "prepareUnique")
"""Not there means no."""
TEXT_DEFAULTS = {"default_language": "english", "language_override": "language"}
FLAT_DEFAULTS = {"bits": 26, "min": -180, "max": 180}
"""Of an index of the kind 2d."""
COLLATION_DEFAULTS = {"strength": 3, "caseLevel": False, "numericOrdering": False}
"""Those that are the same for every locale."""
SIMPLE = "simple"


def is_as_declared(
    declared: Mapping[str, Any], actual: Mapping[str, Any], collation: Mapping[str, Any] | None
) -> bool:
    """Whether the index that MongoDB reports is the declared one, whatever its name. `collation` is
    its collection's."""
    wanted = _normalised({"collation": collation, **declared})
    found = _normalised(actual)
    for option in MADE_BY_MONGODB:
        if option not in declared:
            found.pop(option, None)
    of_wanted, of_found = wanted.pop("collation"), found.pop("collation")
    return wanted == found and _is_same_collation(of_wanted, of_found)


def _normalised(index: Mapping[str, Any]) -> MongoDocument:
    """The index in the form in which MongoDB reports it, with every default."""
    options = {name: value for name, value in index.items() if name not in FORM_ONLY}
    for flag in FLAGS:
        options[flag] = bool(options.get(flag))
    keys = list(dict(options.pop("key")).items())
    kinds = [kind for _, kind in keys]
    if "2d" in kinds:
        options = {**FLAT_DEFAULTS, **options}
    if "text" in kinds:
        options = {**TEXT_DEFAULTS, **options}
        options["weights"] = dict(options.get("weights", {}))
        if ("_fts", "text") not in keys:
            text = [field for field, kind in keys if kind == "text"]
            first = kinds.index("text")
            others = [key for key in keys if key[1] != "text"]
            keys = [*others[:first], ("_fts", "text"), ("_ftsx", 1), *others[first:]]
            options["weights"] = dict.fromkeys(text, 1) | options["weights"]
    options["keys"] = keys
    collation = options.get("collation")
    options["collation"] = collation if collation and collation["locale"] != SIMPLE else None
    return options


def _is_same_collation(wanted: Mapping[str, Any] | None, found: Mapping[str, Any] | None) -> bool:
    if wanted is None or found is None:
        return wanted is found
    expected = {**COLLATION_DEFAULTS, **wanted}
    expected.pop("version", None)
    return all(found.get(name) == value for name, value in expected.items())
