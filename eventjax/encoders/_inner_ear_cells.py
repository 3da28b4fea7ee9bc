"""From what the filters of an ear let through to spikes: adaptation and cells."""

import numpy as np
from jaxtyping import Float, Int


def adapt(
    drive: Float[np.ndarray, "steps channels"], strength: float, rate: float
) -> Float[np.ndarray, "steps channels"]:
    """The drive less `strength` times its running mean, and not below 0.

    **Arguments:**

    - `drive`: one value for each step.
    - `strength`: in [0, 1).
    - `rate`: the part by which the running mean comes nearer to the drive in a step.

    **Returns:** an array like `drive`.
    """
    out = np.empty_like(drive)
    mean = np.zeros_like(drive[0])
    for k, value in enumerate(drive):
        mean += rate * (value - mean)
        np.maximum(value - strength * mean, 0, out=out[k])
    return out


def fire(
    drive: Float[np.ndarray, "steps channels"], step: float, tau: float
) -> tuple[Float[np.ndarray, " spikes"], Int[np.ndarray, " spikes"]]:
    r"""Spikes of leaky integrate-and-fire cells, $\tau \dot v = -v + I$ with threshold 1
    and reset to 0, that begin at rest.

    Within a step the drive $I$ is constant. So $v$ goes from $v_0$ towards $I$ without a
    turn, crosses the threshold if and only if it ends above it, and does so after
    $\tau \ln \frac{I - v_0}{I - 1}$.

    **Arguments:**

    - `drive`: $I$ in each step.
    - `step`: the length of a step, in ms.
    - `tau`: $\tau$, in ms.

    **Returns:** times in ms, ascending, and channels. At equal times lower channels come
    first.
    """
    drive = np.asarray(drive, np.float64)
    decay = np.exp(-step / tau)
    v = np.zeros(drive.shape[1])
    times, channels = [np.zeros(0)], [np.zeros(0, np.int64)]
    for k, target in enumerate(drive):
        before = v
        v = target + (before - target) * decay
        # With a drive of at most 1 only rounding can have led to the threshold.
        (fired,) = np.nonzero((v >= 1) & (target > 1))
        v0, left = before[fired], np.full(len(fired), step)
        # A strong drive makes a cell spike several times in a step.
        while len(fired):
            towards = target[fired]
            left -= np.minimum(tau * np.log((towards - v0) / (towards - 1)), left)
            times.append((k + 1) * step - left)
            channels.append(fired)
            v[fired] = -towards * np.expm1(-left / tau)
            again = v[fired] >= 1
            fired, left = fired[again], left[again]
            v0 = np.zeros(len(fired))
    time, channel = np.concatenate(times), np.concatenate(channels)
    order = np.lexsort((channel, time))
    return time[order], channel[order].astype(np.int32)
