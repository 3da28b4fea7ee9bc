from ._base import AbstractSolver as AbstractSolver
from ._closed_form import ClosedForm as ClosedForm
