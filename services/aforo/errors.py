"""Every fault this platform can name, and what each one means to its caller.

::

    AforoError                     1   something went wrong, and the message says what, where and what to do
    ├── UseCaseError               2   use_case.yaml, or what it refers to, is wrong
    ├── SettingsError              2   the environment is wrong or incomplete
    ├── DataError                  1   the data is not what the contract says
    │   ├── SourceError            1   a source cannot be read
    │   ├── TooManyBadRows         1   more rows were quarantined than the contract allows
    │   ├── SnapshotDamaged        1   the stored bytes are not those that were recorded
    │   └── SkewFound              1   a model is asked about other rows than it learnt from
    ├── TrainingError              1   a candidate cannot be fitted
    ├── ExportError                1   a predictor cannot be turned into an exact graph
    ├── ExplanationTooSlow         1   an explanation was not ready at its deadline
    ├── StepNotReady               2   a step was asked for before the step it reads from
    ├── BundleRefused              1   a bundle is damaged, unsigned, or does not reproduce its golden rows
    ├── ModelNotFound              1   no model, version or alias of that name
    ├── LedgerError                1   the ledger contradicts itself or the registry
    ├── NotReproduced              1   a version was made again, and is not what was registered
    ├── GateRefused               99   the candidate was judged, and is not good enough
    ├── NothingAsked              99   the gate has decided by itself, and asks nobody
    ├── NothingChanged            99   training again would give the same model again
    ├── ObjectMissing              1   the store has no object of that key
    └── StoreUnavailable          75   a store, database or server does not answer now; trying again may help

The number is the exit code of ``aforo``. Airflow shows 99 as *skipped*; 75 is ``EX_TEMPFAIL``.
"""

from __future__ import annotations


class AforoError(Exception):
    """A fault that a person can act on.

    Parameters
    ----------
    message
        What is wrong, where, and what was expected instead.
    hint
        What to do about it, as one imperative clause without a full stop.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class UseCaseError(AforoError):
    exit_code = 2


class SettingsError(AforoError):
    exit_code = 2


class DataError(AforoError):
    pass


class SourceError(DataError):
    pass


class TooManyBadRows(DataError):
    pass


class SnapshotDamaged(DataError):
    pass


class SkewFound(DataError):
    pass


class TrainingError(AforoError):
    pass


class ExportError(AforoError):
    pass


class ExplanationTooSlow(AforoError):
    pass


class StepNotReady(AforoError):
    exit_code = 2


class BundleRefused(AforoError):
    pass


class ModelNotFound(AforoError):
    pass


class LedgerError(AforoError):
    pass


class NotReproduced(AforoError):
    pass


class GateRefused(AforoError):
    exit_code = 99


class ObjectMissing(AforoError):
    pass


class NothingAsked(AforoError):
    exit_code = 99


class NothingChanged(AforoError):
    exit_code = 99


class StoreUnavailable(AforoError):
    exit_code = 75
