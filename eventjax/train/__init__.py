"""Training: one compiled step, a loop around it, and records of what happened.

The loop never hides trouble. A step whose buffers were too small is not applied: the
layer's capacity is doubled and the step is repeated. A step with a gradient that is not
finite is skipped and counted. Both are in the log. Anything else that goes wrong is an
error. The progress bar needs the extra `eventjax[train]`; the rest does not.
"""

from ._capacity import grow as grow
from ._fit import (
    evaluate as evaluate,
    Failure as Failure,
    fit as fit,
    Fitted as Fitted,
)
from ._records import (
    environment as environment,
    MetricsLog as MetricsLog,
    save_arrays as save_arrays,
    save_json as save_json,
)
from ._step import make_step as make_step, Report as Report
