"""The exact form of gated layers written again, slowly and otherwise: an integrator of
differential equations that looks for events, and formulas along a known order of events."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Unrolled:
    """Spikes, final current and potential by formulas along an order of events, to be
    differentiated as they stand."""

    def __init__(self, order, frame, delay):
        self.order, self.frame, self.delay = order, frame, delay

    def __call__(self, p, t1):
        shift, units = p["shift"], p["shift"].shape[0] // 2
        time_constant = self.frame / jnp.log1p(jnp.exp(-shift[:units]))
        c = jnp.maximum(shift[units:], 0)
        t, i, v, times = 0.0, jnp.zeros(units), jnp.zeros(units), []

        def volts(h, i, v):
            e = 1 - jnp.exp(-h / time_constant)
            return v + (c * h + (i - c) * time_constant * e) / self.frame

        def amps(h, i):
            return c + (i - c) * jnp.exp(-h / time_constant)

        for kind, which, found in self.order:
            if kind == "spike":
                h = jax.lax.stop_gradient(jnp.asarray(found) - t)
                for _ in range(2):  # steps of Newton, from the root to the root
                    gap = volts(h, i, v)[which] - p["threshold"]
                    h = h - gap * self.frame / amps(h, i)[which]
                times.append(t + h)
                i, v, t = amps(h, i), volts(h, i, v), t + h
                v = v.at[which].add(-p["threshold"])
                continue
            if kind == "input":
                at = p["times"][which]
                row = p["sizes"][which] * p["weight"][p["sources"][which]]
            else:
                unit = [x[1] for x in self.order if x[0] == "spike"][which]
                at = times[which] + self.delay
                row = p["threshold"] * p["recurrent"][unit]
            i, v, t = amps(at - t, i), volts(at - t, i, v), at
            f = jax.nn.sigmoid((row + shift)[:units])
            i = f * i + (1 - f) * jnp.maximum((row + shift)[units:], 0)
        return jnp.stack(times), amps(t1 - t, i), volts(t1 - t, i, v)


def integrate(p, t1, frame, delay, coincidence=0.0):
    """Spikes `(time, unit)`, final current and potential, and the order of events, by an
    integrator with a tolerance of 1e-12. `p["recurrent"]` may be `None`."""
    p = {k: None if x is None else np.asarray(x) for k, x in p.items()}
    shift, threshold = p["shift"], float(p["threshold"])
    units = len(shift) // 2
    rate, c = np.log1p(np.exp(-shift[:units])) / frame, np.maximum(shift[units:], 0)
    waiting = [
        (t, "input", k) for k, t in enumerate(p["times"]) if t <= t1
    ]  # arrivals, with what sent them
    y, t, spikes, order = np.zeros(2 * units), 0.0, [], []
    drive, start = shift, None

    def field(_, y):
        return np.concatenate([rate * (c - y[:units]), y[:units] / frame])

    def reaches(unit):
        event = lambda _, y: y[units + unit] - threshold
        event.terminal, event.direction = True, 1
        return event

    events = [reaches(unit) for unit in range(units)]
    while True:
        waiting.sort()
        end = waiting[0][0] if waiting else t1
        if end > t:
            run = solve_ivp(
                field, (t, end), y, "DOP853", events=events, rtol=1e-12, atol=1e-13
            )
            t, y = run.t[-1], run.y[:, -1].copy()
            fired = [u for u in range(units) if len(run.t_events[u])]
            for unit in fired:
                y[units + unit] -= threshold
                order.append(("spike", unit, t))
                if p["recurrent"] is not None and t + delay <= t1:
                    waiting.append((t + delay, "own", len(spikes)))
                spikes.append((t, unit))
            if fired:
                continue
        if not waiting:
            return spikes, y[:units], y[units:], order
        _, kind, which = waiting.pop(0)
        order.append((kind, which, t))
        if kind == "input":
            row = p["sizes"][which] * p["weight"][p["sources"][which]]
        else:
            row = threshold * p["recurrent"][spikes[which][1]]
        drive, start = drive + row, t if start is None else start
        if not waiting or min(waiting)[0] > start + coincidence:
            f = sigmoid(drive[:units])
            y[:units] = f * y[:units] + (1 - f) * np.maximum(drive[units:], 0)
            drive, start = shift, None
