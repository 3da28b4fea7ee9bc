"""Pictures of stored results.

Each function reads a file that a run has left behind, returns a `matplotlib` figure and,
if asked to, saves it in one piece. A label can be mended without running anything again.
No window is opened and no global state touched. Needs the extra `eventjax[plot]`.
"""

from ._compare import compare_curves as compare_curves
from ._learning_curve import learning_curve as learning_curve
from ._raster import raster as raster
from ._spike_time_map import spike_time_map as spike_time_map
from ._voltage import voltage as voltage
