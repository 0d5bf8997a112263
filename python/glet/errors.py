"""The error tree: one root, one class per kind of broken promise.

The C++ core throws classes of the same names (csrc/glet/error.h). Late, full and unmet are outcomes
inside glet; only at the client's edge do they become the exceptions at the end of this file.
"""


class GletError(Exception):
    """Root of every error that glet raises on purpose."""

    exit_code = 1


class ConfigError(GletError):
    """Raised when a file, option or plan that the user wrote is wrong."""

    exit_code = 2


class ArgumentError(GletError):
    """Raised when a caller broke the contract of a function."""

    exit_code = 2


class ProfileError(GletError):
    """Raised when a profile is missing, malformed or asked beyond what was measured."""

    exit_code = 2


class WireError(GletError):
    """Raised for bytes from a peer that are not the protocol."""


class PeerLostError(GletError):
    """Raised when a peer went away."""


class DeviceError(GletError):
    """Raised when a device, or a library that drives it, failed."""


class ModelError(GletError):
    """Raised when a model could not be loaded, or threw while it ran."""


class RequestError(GletError):
    """Root of what a client sees instead of a result."""

    code = "failed"


class LateError(RequestError):
    """Raised when a request could not be answered by its deadline."""

    code = "late"


class OverloadedError(RequestError):
    """Raised when the model's queues were full."""

    code = "full"


class ModelNotFoundError(RequestError):
    """Raised when no such model is served."""

    code = "model_not_found"
    exit_code = 2


class InvalidInputError(RequestError):
    """Raised when the inputs do not fit the model's signature, or the message is malformed."""

    code = "invalid_input"
    exit_code = 2


class UnavailableError(RequestError):
    """Raised when nothing that serves the model can be reached."""

    code = "unavailable"


class ModelFailedError(RequestError, ModelError):
    """Raised when the model threw on the batch this request was in."""

    code = "failed"


class ProtocolVersionError(RequestError, WireError):
    """Raised when the peer speaks another version of the protocol."""

    code = "version"


class RequestCancelledError(RequestError):
    """Raised when the request was taken back before it ran."""

    code = "cancelled"


REQUEST_ERRORS: dict[str, type[RequestError]] = {
    cls.code: cls
    for cls in (
        LateError,
        OverloadedError,
        ModelNotFoundError,
        InvalidInputError,
        UnavailableError,
        ModelFailedError,
        ProtocolVersionError,
        RequestCancelledError,
    )
}
"""Wire code of an error -> the class that the client raises."""
