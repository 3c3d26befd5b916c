"""Everything this stack raises on purpose.

    StackError
    ├── ConfigError      a setting is missing, unknown or wrong
    ├── DataError        a table is not the one that src/core/wine.py describes
    ├── StoreError       the bucket cannot be reached or rejects us       (worth a retry)
    ├── MissingError     the bucket holds no such object
    ├── IntegrityError   bytes are not what their pointer says
    │   ├── FormatError     newer code wrote them
    │   └── SignatureError  nobody who is trusted says that they are a release
    ├── ConflictError    another change of the same object came first
    ├── RegistryError    a promotion or roll-back that makes no sense
    ├── SearchError      the search cannot start or go on
    └── TrackingError    ClearML did not take what was reported

A message gives the value seen, what was expected and, where there is one, the command that repairs it.
"""


class StackError(Exception):
    """Base of all errors that a person can act on."""


class ConfigError(StackError):
    """A setting is missing, unknown or wrong."""


class DataError(StackError):
    """A table is not the one that ``src/core/wine.py`` describes."""


class StoreError(StackError):
    """The bucket cannot be reached, or rejects these credentials."""


class MissingError(StackError):
    """The bucket holds no such object."""


class IntegrityError(StackError):
    """Bytes are not what their pointer says."""


class FormatError(IntegrityError):
    """Newer code wrote these bytes."""

    def __init__(self, where: str, number: int, newest: int) -> None:
        """Say that ``where`` has format ``number``, beyond the ``newest`` that this code knows."""
        super().__init__(
            f"{where} has format {number}, and this code reads formats up to {newest}; "
            "update the code, in a container its image"
        )


class SignatureError(IntegrityError):
    """Nobody who is trusted says that these bytes are a release."""


class ConflictError(StackError):
    """Another change of the same object came first."""


class RegistryError(StackError):
    """A promotion or a roll-back that makes no sense."""


class SearchError(StackError):
    """The search cannot start or go on."""


class TrackingError(StackError):
    """ClearML did not take what was reported."""
