"""Training: one compiled step, a loop around it, and records of what happened.

The loop never hides trouble. A step whose buffers were too small is not applied: the
layer's capacity is doubled and the step is repeated. A step with a gradient that is not
finite is skipped and counted. Both are in the log. Anything else that goes wrong is an
error. A run that was interrupted goes on from its checkpoint as if nothing had happened.
Batches can be divided between devices, of one host or many, and `sweep` runs many seeds.
The progress bar and checkpoints need the extra `eventjax[train]`; the rest does not.
"""

from ._capacity import grow as grow
from ._epoch_state import AbstractEpochState as AbstractEpochState
from ._fit import (
    evaluate as evaluate,
    fit as fit,
    Fitted as Fitted,
)
from ._floor import keep_above as keep_above
from ._plateau import plateau as plateau, PlateauState as PlateauState
from ._records import (
    environment as environment,
    MetricsLog as MetricsLog,
    save_arrays as save_arrays,
    save_json as save_json,
)
from ._run import Failure as Failure
from ._schedule import ease_in as ease_in
from ._silent import lift_silent as lift_silent, LiftState as LiftState
from ._step import make_step as make_step, Report as Report
from ._sweep import sweep as sweep, SweepFailure as SweepFailure
