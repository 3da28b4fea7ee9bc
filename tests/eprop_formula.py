"""e-prop with exact spike times straight from its formula, in plain NumPy: eligibilities
carried forward along one neuron and one sample, and learning signals of readouts."""

import numpy as np


def kernel(h, tau_mem, tau_syn):
    """The voltage at `h` that a unit current at 0 leads to."""
    scale = tau_syn / (tau_mem - tau_syn)
    return scale * (np.exp(-h / tau_mem) - np.exp(-h / tau_syn))


def kernel_slope(h, tau_mem, tau_syn):
    scale = tau_syn / (tau_mem - tau_syn)
    return scale * (np.exp(-h / tau_syn) / tau_syn - np.exp(-h / tau_mem) / tau_mem)


def spike_time_slopes(p: dict, weight, arrivals, spikes) -> np.ndarray:
    """The derivatives of all spike times of a neuron by its incoming weights,
    `[spikes, sources]`: -(eps_v - beta eps_a) / (V' - beta a').

    `p`: its parameters; `arrivals`: (time, source) of each; `spikes`: when it spikes.
    """
    v = i = a = 0.0
    eps_v, eps_i, eps_a = np.zeros((3, len(weight)))
    mem, syn, adapt = p["tau_mem"], p["tau_syn"], p["tau_adapt"]
    # Its own spike comes before what arrives at the same time.
    events = sorted([(t, 0, 0) for t in spikes] + [(t, 1, s) for t, s in arrivals])
    t, slopes = 0.0, []
    for time, kind, source in events:
        h, t = time - t, time
        fall = np.exp(-h / mem)
        v = v * fall + p["bias"] * (1 - fall) + i * kernel(h, mem, syn)
        eps_v = eps_v * fall + eps_i * kernel(h, mem, syn)
        i, eps_i = i * np.exp(-h / syn), eps_i * np.exp(-h / syn)
        a, eps_a = a * np.exp(-h / adapt), eps_a * np.exp(-h / adapt)
        if kind == 1:
            i, eps_i = i + weight[source], eps_i + np.eye(len(weight))[source]
            continue
        np.testing.assert_allclose(v, p["v_threshold"] + p["beta"] * a, rtol=1e-9)
        rise = (i + p["bias"] - v) / mem + p["beta"] * a / adapt
        slope = -(eps_v - p["beta"] * eps_a) / rise
        slopes.append(slope)
        # After the reset the state is a constant at a time that moves.
        v = p["v_reset"]
        eps_v = -(i + p["bias"] - v) / mem * slope
        a, eps_a = a + 1, eps_a + slope / adapt
    return np.array(slopes).reshape(-1, len(weight))


def learning_signal(spikes, feedback, errors, record, slope_of) -> np.ndarray:
    """The derivative of the loss by the times of spikes of one neuron. `errors` are those
    of voltages, `[times, outputs]`, `slope_of(h)` is d/dh of what a spike adds."""
    signal = np.zeros(len(spikes))
    for k, t in enumerate(spikes):
        for error, at in zip(errors, record, strict=True):
            if at > t:
                signal[k] -= np.sum(error * feedback * slope_of(at - t))
    return signal


def layer_gradient(
    parameters: dict, weight, given, sent, feedback, errors, record, slope_of
) -> np.ndarray:
    """The gradient of one sample by all weights into a layer, `[sources, neurons]`. `given`
    are (times, sources) of all arrivals, `sent` those of the layer's spikes."""
    gradient = np.zeros(weight.shape)
    for j in range(weight.shape[1]):
        p = {name: x[j] for name, x in parameters.items()}
        spikes = sent[0][sent[1] == j]
        slopes = spike_time_slopes(p, weight[:, j], list(zip(*given)), spikes)
        signal = learning_signal(spikes, feedback[j], errors, record, slope_of)
        gradient[:, j] = signal @ slopes
    return gradient
