"""Random networks and spikes for fuzzing: all shapes fixed, all values drawn.

What Hypothesis draws is a seed and the kinds of values there are, so that what it finds
stays small to read; the numbers come from the seed.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from networks import dense, random_lif

import eventjax as ej


BATCH, INPUTS, EVENTS, T1 = 16, 3, 40, 40.0
TAUS = "mixed", "equal", "near", "swapped", "tiny mem", "tiny syn", "far apart"
WEIGHTS = "usual", "strong", "huge", "tiny", "inhibition", "grazing", "few"
RECURRENT = "usual", "none", "huge inhibition", "excitation", "huge both"
DELAYS = "mixed", "zero", "equal", "short", "beyond the end"
PATTERNS = (
    "spread", "ties", "empty", "one", "burst", "neighbours", "ends", "late",
)  # fmt: skip
CUTS = "anywhere", "input", "spike"


@dataclasses.dataclass(frozen=True)
class Kinds:
    """What is drawn."""

    seed: int
    taus: str
    weights: str
    recurrent: str
    delays: str
    cut: str
    patterns: tuple[str, ...]


def kinds() -> st.SearchStrategy[Kinds]:
    pattern = st.sampled_from(PATTERNS)
    return st.builds(
        Kinds,
        seed=st.integers(0, 2**32 - 1),
        taus=st.sampled_from(TAUS),
        weights=st.sampled_from(WEIGHTS),
        recurrent=st.sampled_from(RECURRENT),
        delays=st.sampled_from(DELAYS),
        cut=st.sampled_from(CUTS),
        patterns=st.lists(pattern, min_size=BATCH, max_size=BATCH).map(tuple),
    )


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is compiled: the size of the layers, and what they are made of."""

    hidden: int
    recurrent: bool = False
    delayed: bool = False  # own spikes come back late
    synaptic: bool = False  # delays of the input are those of single synapses
    refractory: bool = False
    outputs: int = 0  # of a second layer and of a readout behind it
    dtype: Any = np.float64


def _lif(rng, size: int, taus: str) -> dict[str, np.ndarray]:
    known = taus in ("mixed", "equal", "near", "swapped")
    lif = random_lif(rng, size, taus if known else "mixed")
    lif = {name: np.array(x) for name, x in lif.items()}
    if taus == "tiny mem":
        lif["tau_mem"] = lif["tau_mem"] * rng.choice([1e-2, 1], size)
    elif taus == "tiny syn":
        lif["tau_syn"] = lif["tau_syn"] * rng.choice([2e-2, 1], size)
    elif taus == "far apart":
        lif["tau_mem"] = lif["tau_mem"] * 10 ** rng.uniform(-2, 3, size)
    return lif


def _peak(lif) -> np.ndarray:
    """The largest voltage after a unit of current."""
    mem, syn = lif["tau_mem"], lif["tau_syn"]
    close = np.abs(mem / syn - 1) < 1e-6
    power = mem / np.where(close, 1, mem - syn)
    return np.where(close, np.exp(-1.0), (syn / mem) ** power)


def _weight(rng, lif: dict, rows: int, kind: str) -> np.ndarray:
    """Weights of an input; some kinds come with thresholds or biases of their own."""
    size = len(lif["tau_mem"])
    scale = 0.15 / _peak(lif)
    weight = rng.normal(1.0, 1.6, (rows, size))
    if kind == "strong":
        weight = 8 * weight
    elif kind == "huge":
        weight = 3e4 * weight
        lif["v_threshold"] = lif["v_threshold"] * rng.choice([1e3, 1e4], size)
    elif kind == "tiny":
        weight = 1e-6 * weight
        lif["bias"] = lif["bias"] * 0.0 + rng.choice([0.5, 1.5], size)
    elif kind == "inhibition":
        weight = -100 * np.abs(weight)
        lif["bias"] = lif["bias"] + rng.choice([0.0, 1.2], size)
    elif kind == "grazing":
        lif["bias"] = 0 * lif["bias"]
        near = rng.choice([0, 1e-15, -1e-15, 1e-12, -1e-12, 1e-7, -1e-7], (rows, size))
        weight, scale = lif["v_threshold"] * (1 + near), 1 / _peak(lif)
    elif kind == "few":
        weight = 4 * weight * (rng.uniform(size=weight.shape) < 0.2)
    return weight * scale


def _back(rng, lif: dict, size: int, kind: str) -> np.ndarray:
    scale = 0.15 / _peak(lif) * np.abs(lif["v_threshold"])
    back = rng.normal(-0.3, 1.0, (size, size))
    if kind == "none":
        back = 0 * back
    elif kind == "huge inhibition":
        back = -1e4 * np.abs(back)
    elif kind == "excitation":
        back = np.abs(back)
    elif kind == "huge both":
        back = 1e4 * back * (rng.uniform(size=back.shape) < 0.1)
        back = np.where(back > 0, back * 1e-3, back)
    return back * scale


def draw_delay(rng, shape, kind: str) -> np.ndarray:
    if kind == "zero":
        return np.zeros(shape)
    if kind == "equal":
        return np.full(shape, rng.uniform(0.5, 3))
    if kind == "short":
        return rng.choice([0.0, 1e-9, 1e-3, 0.1], shape)
    if kind == "beyond the end":
        return rng.uniform(0, 2 * T1, shape)
    return rng.uniform(0.5, 6, shape) * rng.integers(0, 2, shape)


def _sample(rng, pattern: str, dtype) -> np.ndarray:
    """Times of one sample, ascending, `EVENTS` of them at most."""
    count = int(rng.integers(1, EVENTS + 1))
    if pattern == "empty":
        return np.zeros(0)
    if pattern == "one":
        count = 1
    times = rng.uniform(0, T1, count)
    if pattern == "ties":
        times = rng.choice(rng.uniform(0, T1, 5), count)
    elif pattern == "burst":
        times = rng.uniform(0, T1) + rng.uniform(0, 1e-3, count)
    elif pattern == "neighbours":
        times = np.array([rng.uniform(0, T1)], dtype)
        while len(times) < count:
            times = np.append(times, np.nextafter(times[-1], np.array(1e9, dtype)))
    elif pattern == "ends":
        # Smaller numbers than `tiny` are zero to XLA.
        before = np.nextafter(np.array(T1, dtype), np.array(0.0, dtype))
        times = rng.choice([0.0, np.finfo(dtype).tiny, before, T1], count)
    elif pattern == "late":
        times = rng.uniform(0.5 * T1, 1.5 * T1, count)
    return np.sort(times)


def draw_spikes(kinds: Kinds, dtype) -> ej.Spikes:
    rng = np.random.default_rng([kinds.seed, 1])
    times = np.full((BATCH, EVENTS), np.inf)
    sources = np.zeros((BATCH, EVENTS), np.int32)
    for k, pattern in enumerate(kinds.patterns):
        one = _sample(rng, pattern, dtype)
        times[k, : len(one)] = one
        sources[k, : len(one)] = rng.integers(0, INPUTS, len(one))
    return ej.Spikes(jnp.asarray(times.astype(dtype)), jnp.asarray(sources))


def draw_network(kinds: Kinds, shape: Shape, capacity: int) -> ej.Network:
    rng = np.random.default_rng([kinds.seed, 0])
    array = lambda x: jnp.asarray(np.asarray(x, shape.dtype))
    arrays = lambda lif: {name: array(x) for name, x in lif.items()}

    lif = _lif(rng, shape.hidden, kinds.taus)
    connection = dense(array(_weight(rng, lif, INPUTS, kinds.weights)))
    if shape.synaptic:
        delay = array(draw_delay(rng, (INPUTS, shape.hidden), kinds.delays))
        connection = ej.SynapticDelay(connection, delay)
    back = None
    if shape.recurrent:
        weight = array(_back(rng, lif, shape.hidden, kinds.recurrent))
        late = (
            array(draw_delay(rng, shape.hidden, kinds.delays))
            if shape.delayed
            else None
        )
        back = dense(weight, late)
    neuron = ej.LIF(shape.hidden, **arrays(lif))
    if shape.refractory:
        neuron = ej.Refractory(neuron, array(rng.choice([0.0, 0.5, 3.0], shape.hidden)))
    layers = [ej.Layer(connection, neuron, back, capacity=capacity)]
    if shape.outputs:
        lif = _lif(rng, shape.outputs, kinds.taus)
        weight = array(_weight(rng, lif, shape.hidden, kinds.weights))
        delay = array(draw_delay(rng, shape.hidden, kinds.delays))
        neuron = ej.LIF(shape.outputs, **arrays(lif))
        layers.append(ej.Layer(dense(weight, delay), neuron, capacity=capacity))
        weight = array(rng.normal(size=(shape.outputs, 2)))
        readout = ej.LeakyIntegrator(2, tau_mem=array([9.0, 0.5]))
        layers.append(ej.Layer(dense(weight), readout))
    return ej.Network(layers)


def start(network: ej.Network, events: int = EVENTS) -> tuple[ej.LayerState, ...]:
    """Rest, as a run that was ended gives a state, so that one program serves for both."""
    states, room, is_first = [], events, True

    def nothing(capacity, dtype):
        shape = BATCH, capacity
        return ej.Spikes(jnp.full(shape, np.inf, dtype), jnp.zeros(shape, jnp.int32))

    for layer in network.layers:
        rest: Any = layer.neuron.initial_state()
        dtype = rest.v.dtype
        full = lambda x: jnp.broadcast_to(x[None], (BATCH, *x.shape))
        late = is_first or layer.connection.delays() is not None
        back = layer.recurrent is not None and layer.recurrent.delays() is not None
        states.append(
            ej.LayerState(
                jax.tree.map(full, rest),
                nothing(room, dtype) if late else None,
                nothing(layer.capacity, dtype) if back else None,
            )
        )
        room, is_first = layer.capacity, False
    return tuple(states)


def reordered(network: ej.Network, order: np.ndarray) -> ej.Network:
    """The neurons of the first layer in another order: number `k` is what `order[k]`
    was."""
    first, *rest = network.layers
    per_neuron = lambda x: x[order] if eqx.is_array(x) else x
    columns = lambda x: x[:, order] if eqx.is_array(x) and x.ndim == 2 else x
    connection = jax.tree.map(columns, first.connection)
    neuron, back = jax.tree.map(per_neuron, first.neuron), first.recurrent
    if back is not None:
        both = lambda x: x[order][:, order] if x.ndim == 2 else x[order]
        back = jax.tree.map(both, back)
    first = ej.Layer(connection, neuron, back, capacity=first.capacity)
    if rest:
        rows = jax.tree.map(per_neuron, rest[0].connection)
        second = ej.Layer(rows, rest[0].neuron, capacity=rest[0].capacity)
        rest = [second, *rest[1:]]
    return ej.Network([first, *rest])
