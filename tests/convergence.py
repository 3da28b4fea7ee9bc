"""How fast runs on a time grid come near to the exact one, for tests of any neuron."""

import jax
import jax.numpy as jnp
import numpy as np

import eventjax as ej


def spike_times(spikes: ej.Spikes | ej.Frames, size: int) -> list[np.ndarray]:
    """The spike times of each neuron of each sample; on a grid the ends of steps."""
    late = 0.0
    if isinstance(spikes, ej.Frames):
        late = spikes.dt
        spikes = spikes.to_spikes(int(spikes.counts.sum((1, 2)).max()) + 1)
    return [
        times[sources == n] + late
        for times, sources in spikes.to_ragged()
        for n in range(size)
    ]


def slopes(
    network: ej.Network,
    spikes: ej.Spikes,
    t1: float,
    dts: list[float],
    record: np.ndarray | None = None,
    exact: ej.AbstractSolver = ej.ClosedForm(),
) -> tuple[float, float | None]:
    """The order in `dt` at which spike times of all layers that spike, and voltages of the
    last layer at times of `record`, come near to those of an exact solver: slopes of
    straight lines through the logarithms of mean errors. Fails if a spike is missing or
    one too many."""
    more = {} if record is None else {"record": jnp.asarray(record)}

    def run(solver, adjoint):
        # The network's arrays are constants, so delays are known.
        def go():
            sol = ej.simulate(
                network, spikes, t1, solver=solver, adjoint=adjoint, **more
            )
            voltages = None if record is None else sol.voltages[-1]
            return [x or y for x, y in zip(sol.spikes, sol.frames)], voltages

        return jax.jit(go)()

    # `Direct` compiles faster than `Eventprop`, and finds the same spikes.
    exact_spikes, exact_voltages = run(exact, ej.Direct())
    layers = [k for k, spikes in enumerate(exact_spikes) if spikes is not None]
    time_errors, voltage_errors = [], []
    for dt in dts:
        frames, voltages = run(ej.Clocked(dt), ej.Surrogate())
        errors = []
        for k in layers:
            size = network.layers[k].neuron.size
            pairs = spike_times(frames[k], size), spike_times(exact_spikes[k], size)
            for one, two in zip(*pairs, strict=True):
                assert one.shape == two.shape, (dt, k, one, two)
                errors.append(np.abs(one - two))
        errors = np.concatenate(errors)
        assert len(errors) >= 8, len(errors)
        time_errors.append(errors.mean())
        if record is not None:
            voltage_errors.append(np.abs(voltages - exact_voltages).mean())

    def slope(errors):
        return float(np.polyfit(np.log(dts), np.log(errors), 1)[0])

    return slope(time_errors), None if record is None else slope(voltage_errors)
