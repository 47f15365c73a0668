"""Every error the toolkit raises on purpose.

    StreamlationError            code           exit
    ├── UsageError               usage             2
    ├── DataError                data             65
    │   ├── MalformedRecord      malformed        65
    │   ├── TruncatedStream      truncated        65
    │   ├── WrongProtocol        protocol         65
    │   └── DamagedMedia         damaged          65
    ├── InputMissing             no-input         66
    ├── Unavailable              unavailable      69
    │   ├── ModelMissing         model-missing    69
    │   ├── ModelDamaged         model-damaged    69
    │   ├── PairMissing          pair-missing     69
    │   └── OfflineRefused       offline          69
    ├── OutputFailed             output           74
    ├── TryAgain                 temporary        75
    └── ConfigError              config           78

`code` is what an `error` record carries; `cli.py` alone turns it into an exit status, so a failure means the same
in the process where it happened and in every process downstream of it. A message is one line: what, where, what to do.
"""

from __future__ import annotations


class StreamlationError(Exception):
    """Root of the tree; its message is one line for a person."""

    code = "internal"

    @property
    def message(self) -> str:
        """The message on one line."""
        return " ".join(str(self).split())


class UsageError(StreamlationError):
    """The command line asks for something that makes no sense."""

    code = "usage"


class DataError(StreamlationError):
    """The input is there but is not what it should be."""

    code = "data"


class MalformedRecord(DataError):
    """A line is not a record."""

    code = "malformed"

    def __init__(self, line_number: int, reason: str, excerpt: str) -> None:
        super().__init__(f"line {line_number}: {reason}: {excerpt}")
        self.line_number = line_number
        self.reason = reason
        self.excerpt = excerpt


class TruncatedStream(DataError):
    """A session stopped without `eos` or a fatal `error`."""

    code = "truncated"


class WrongProtocol(DataError):
    """The stream speaks a major protocol version this program does not."""

    code = "protocol"


class DamagedMedia(DataError):
    """Part of a media file could not be decoded."""

    code = "damaged"


class InputMissing(StreamlationError):
    """The named input does not exist or cannot be opened."""

    code = "no-input"


class Unavailable(StreamlationError):
    """A service, device, engine or extra that is needed is not there."""

    code = "unavailable"


class ModelMissing(Unavailable):
    """Weights are not installed; the message says how to get them."""

    code = "model-missing"


class ModelDamaged(Unavailable):
    """Weights are not what their SHA-256 says; the message says how to get good ones."""

    code = "model-damaged"


class PairMissing(Unavailable):
    """No installed engine translates this language pair; the message says which pairs there are."""

    code = "pair-missing"


class OfflineRefused(Unavailable):
    """`--offline` was given and this would have opened a socket."""

    code = "offline"


class OutputFailed(StreamlationError):
    """Writing failed: disk full, no permission, no such folder."""

    code = "output"


class TryAgain(StreamlationError):
    """It failed now and may work later: a network that timed out, a busy server."""

    code = "temporary"


class ConfigError(StreamlationError):
    """A profile or setting is wrong."""

    code = "config"
