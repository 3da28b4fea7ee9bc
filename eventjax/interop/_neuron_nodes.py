"""NIR's neurons and ours, in both directions.

With time in NIR's unit and $a$ the integral over a spike (`Dialect.area`), what reaches a
neuron through weights $W$ and the bias $c$ of an `nir.Affine` is
$S(t) = \\sum_k W a\\,\\delta(t - t_k) + c$. NIR's equations are

$$\\tau_{syn} \\dot I = -I + w_{in} S, \\qquad \\tau_{mem} \\dot v = v_{leak} - v + R I,$$

so a spike adds $w_{in} W a / \\tau_{syn}$ to $I$. Ours are
$\\tau_{mem} \\dot V = -V + I' + b$ with $I' = R I$: a spike adds $g W$ to $I'$ with the
gain $g = R w_{in} a / \\tau_{syn}$, and $b = v_{leak}$. What is left is
$w_{in} c$, which NIR's synapse filters: $I$ approaches it with $\\tau_{syn}$. Once settled
it adds $R w_{in} c$ to $b$.

Without synapse, $\\tau \\dot v = v_{leak} - v + R S$, a spike adds $g W$ to $v$ with
$g = R a / \\tau$, and $b = v_{leak} + R c$.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import nir
import numpy as np

from .._neuron import AbstractNeuron, DeltaIntegrator, DeltaLIF, LeakyIntegrator, LIF
from ._dialect import Dialect


Arrays = dict[str, np.ndarray]
NEURON_NODES = nir.LIF, nir.CubaLIF, nir.LI, nir.CubaLI


@dataclasses.dataclass(frozen=True)
class Read:
    """A population as NIR's node describes it; arrays of shape `[neurons]`, in ms.

    - `make`: our neuron of these parameters.
    - `gain`: what the weights are multiplied by.
    - `bias_gain`: the same for the biases of weights, which add to `parameters["bias"]`.
    - `filtered`: whether such biases pass the synapse.
    """

    make: Callable[..., AbstractNeuron]
    parameters: Arrays
    gain: np.ndarray
    bias_gain: np.ndarray
    filtered: bool


def read_neuron(node: Any, dialect: Dialect) -> Read:
    """What a node says, in our terms. Raises a `ValueError` for values not finite."""
    filtered = isinstance(node, (nir.CubaLIF, nir.CubaLI))
    spiking = isinstance(node, (nir.LIF, nir.CubaLIF))
    names = ("tau_mem", "tau_syn", "w_in") if filtered else ("tau",)
    names += ("r", "v_leak", *(("v_threshold", "v_reset") if spiking else ()))
    given = {name: _array(name, getattr(node, name)) for name in names}
    tau = given.get("tau", given.get("tau_mem"))
    assert tau is not None
    parameters = {"tau_mem": tau * dialect.time_unit, "bias": given["v_leak"]}
    parameters |= {x: given[x] for x in ("v_threshold", "v_reset") if spiking}
    # Divided in this order the gain of what `write_neuron` makes is one to the last bit.
    if filtered:
        parameters["tau_syn"] = given["tau_syn"] * dialect.time_unit
        gain = given["r"] * (given["w_in"] / (given["tau_syn"] / dialect.area))
        bias_gain = given["r"] * given["w_in"]
        make = LIF if spiking else LeakyIntegrator
        return Read(make, parameters, gain, bias_gain, True)
    gain = given["r"] / (tau / dialect.area)
    make = _delta_lif(dialect.subtract) if spiking else DeltaIntegrator
    return Read(make, parameters, gain, given["r"], False)


def write_neuron(neuron: Any, dialect: Dialect) -> tuple[Any, np.ndarray]:
    """NIR's node for a population, and the gain that its weights are divided by.

    $w_{in}$ and $R$ take up the units, so that the weights stay as they are. Simulators
    with time steps often pass over both and add the weights to $I$, and $I$ to $v$, once a
    step: with a `dt` in the dialect $R = \\tau_{mem} / a$ makes that right, and the weights
    take up the gain.
    """
    names = ["tau_mem", "tau_syn", "bias", "v_threshold", "v_reset"]
    full = lambda x: np.full(neuron.size, np.asarray(x, np.float64))
    given = {x: full(getattr(neuron, x)) for x in names if hasattr(neuron, x)}
    tau_mem = given["tau_mem"] / dialect.time_unit
    shared = {"v_leak": given["bias"]}
    shared |= {x: given[x] for x in ("v_threshold", "v_reset") if x in given}
    ones = np.ones(neuron.size)
    if "tau_syn" not in given:
        node = nir.LIF if isinstance(neuron, DeltaLIF) else nir.LI
        return node(tau=tau_mem, r=tau_mem / dialect.area, **shared), ones
    tau_syn = given["tau_syn"] / dialect.time_unit
    gain = ones if dialect.dt is None else tau_mem / dialect.area
    node = nir.CubaLIF if isinstance(neuron, LIF) else nir.CubaLI
    w_in = tau_syn / dialect.area
    return node(tau_mem=tau_mem, tau_syn=tau_syn, r=gain, w_in=w_in, **shared), gain


def _delta_lif(subtract: bool) -> Callable[..., AbstractNeuron]:
    return lambda size, **parameters: DeltaLIF(size, subtract=subtract, **parameters)


def _array(name: str, value: Any) -> np.ndarray:
    """Neurons in a row, in C order."""
    array = np.asarray(value, np.float64).reshape(-1)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"`{name}` has values that are not finite.")
    return array
