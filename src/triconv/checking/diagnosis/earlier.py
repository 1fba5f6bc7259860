"""What the results of one check were explained by before: one bug is often that of the value and of every derivative."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from triconv.checking.findings.causes import Cause
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.oracles.comparison import WrongResult, same
from triconv.checking.oracles.convolution import ConvolutionModel

Key = tuple[str, bool, int, int]


@dataclass
class Earlier:
    """Diagnoses of one check.

    Parameters
    ----------
    models : list of (Diagnosis, ConvolutionModel)
        Those that another model gave.
    diagnoses : dict
        By the result.
    is_unexplained : bool
        Whether a result of first order was not explained: then what follows from it is not, either.
    """

    models: list[tuple[Diagnosis, ConvolutionModel]] = field(default_factory=list)
    diagnoses: dict[Key, Diagnosis] = field(default_factory=dict)
    is_unexplained: bool = False

    def same_result(self, r: WrongResult) -> Diagnosis | None:
        """Return the diagnosis of the same numbers where the same were right."""
        return self.diagnoses.get(_key(r))

    def same_model(self, r: WrongResult) -> Diagnosis | None:
        """Return the diagnosis of a model that gives this result, too."""
        for diagnosis, model in self.models:
            if same(r.predicted(model), r.found):
                return diagnosis
        return None

    def add(self, r: WrongResult, diagnosis: Diagnosis, model: ConvolutionModel | None = None) -> None:
        """Keep a diagnosis, and the model that gave it."""
        self.diagnoses[_key(r)] = diagnosis
        if model is not None:
            self.models.append((diagnosis, model))
        self.is_unexplained |= diagnosis.cause == Cause.NONE


def _key(r: WrongResult) -> Key:
    return r.role, r.is_value, _hash(r.found), _hash(r.expected)


def _hash(a: np.ndarray) -> int:
    return hash((a.shape, np.ascontiguousarray(a).tobytes()))
