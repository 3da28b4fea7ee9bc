from ._base import AbstractSolver as AbstractSolver
from ._clocked import Clocked as Clocked
from ._closed_form import ClosedForm as ClosedForm
from ._diffrax_event import DiffraxEvent as DiffraxEvent
