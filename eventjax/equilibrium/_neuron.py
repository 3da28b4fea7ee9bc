"""What all neurons of a network share."""

import dataclasses
import math

import equinox as eqx


class Neuron(eqx.Module):
    r"""Leaky integrate-and-fire neurons with a refractory time, and two traces of rates.

    $$\tau_{mem} \dot v = -v + I, \qquad \tau_{syn} \dot x = -x, \qquad
    \tau_f \dot r = x - r$$

    At $v = \theta$ the neuron spikes, $v$ becomes 0 and stays there for the refractory
    time, and $x$ grows by $1/\tau_{syn}$, so that $x$ and $r$ follow the firing rate, in
    spikes per ms and at most one in a refractory time. The trace $x$ is also what the
    neurons on the other side of a synapse receive, one refractory time later.

    **Arguments:**

    - `tau_mem`, `tau_syn`: of membranes and of synapses in ms. One of them must be twice
        the other, which makes the threshold crossing a quadratic equation, and neither may
        be shorter than `refractory`.
    - `tau_filter`: of the second filter, $\tau_f$, in ms: the same as `tau_syn`, or
        different from it by at least one per cent.
    - `v_threshold`: $\theta$, positive, dimensionless.
    - `refractory`: in ms. It is also the delay of every synapse.

    The values are a reconstruction's: those of the paper are unconfirmed.

    **Raises:** `ValueError` for values that break these rules.
    """

    tau_mem: float = eqx.field(static=True, default=5.0)
    tau_syn: float = eqx.field(static=True, default=10.0)
    tau_filter: float = eqx.field(static=True, default=20.0)
    v_threshold: float = eqx.field(static=True, default=0.1)
    refractory: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, (int, float)) and 0 < value < math.inf):
                raise ValueError(
                    f"`{field.name}` must be a positive, finite Python number, got {value}."
                )
        slow, fast = max(self.tau_mem, self.tau_syn), min(self.tau_mem, self.tau_syn)
        if not math.isclose(slow, 2 * fast, rel_tol=1e-9):
            raise ValueError(
                "one of `tau_mem` and `tau_syn` must be twice the other, so that spike "
                f"times have a closed form, got {self.tau_mem} and {self.tau_syn} ms: take "
                "5 and 10, or simulate other ratios with `ej.simulate`."
            )
        if fast < self.refractory:
            raise ValueError(
                "`tau_mem` and `tau_syn` must not be shorter than `refractory`, got "
                f"{self.tau_mem}, {self.tau_syn} and {self.refractory} ms."
            )
        apart = abs(self.tau_filter / self.tau_syn - 1)
        if 0 < apart < 0.01:
            raise ValueError(
                "`tau_filter` and `tau_syn` must be equal or differ by at least one per "
                "cent, since digits are lost in between, got "
                f"{self.tau_filter} and {self.tau_syn} ms."
            )

    @property
    def max_rate(self) -> float:
        """Spikes per ms that no neuron exceeds."""
        return 1 / self.refractory
