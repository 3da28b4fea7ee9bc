"""Networks to NIR and back, and the graphs of others."""

import json
import math
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from nir_reference import solve

import eventjax as ej


nir = pytest.importorskip("nir")
Dialect = ej.interop.Dialect
T1 = 30.0  # ms


@eqx.filter_jit
def run(network, spikes):
    return ej.simulate(network, spikes, T1)


def make_inputs(sources: int, events: int = 12, seed: int = 0) -> ej.Spikes:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 0.8 * T1, events))
    chosen = rng.integers(0, sources, events, np.int32)
    return ej.Spikes(jnp.asarray(times), jnp.asarray(chosen))


def shape(*sizes: int) -> np.ndarray:
    return np.array(sizes)


# NIR's equations -----------------------------------------------------------------------

N = 3


def make_node(kind, rng):
    """Parameters of no special value, times in s."""
    draw = lambda low, high: rng.uniform(low, high, N)
    given = dict(r=draw(0.5, 2.0), v_leak=draw(-0.2, 0.3))
    if kind in (nir.CubaLIF, nir.CubaLI):
        given |= dict(tau_mem=draw(0.006, 0.02), tau_syn=draw(0.002, 0.008))
        given |= dict(w_in=draw(0.005, 0.015))
    else:
        given |= dict(tau=draw(0.006, 0.02))
    if kind in (nir.LIF, nir.CubaLIF):
        given |= dict(v_threshold=draw(0.6, 0.9), v_reset=draw(-0.3, 0.1))
    return kind(**given)


@pytest.mark.parametrize(
    "kind, dialect",
    [
        *((x, Dialect()) for x in (nir.CubaLIF, nir.CubaLI, nir.LIF, nir.LI)),
        (nir.CubaLIF, Dialect(dt=0.5, time_unit=2000.0)),
        (nir.LI, Dialect(dt=0.5, time_unit=2000.0)),
    ],
)
def test_equations_of_nir(kind, dialect):
    rng = np.random.default_rng(3)
    node = make_node(kind, rng)
    filtered, spiking = (
        kind in (nir.CubaLIF, nir.CubaLI),
        kind in (nir.LIF, nir.CubaLIF),
    )
    # What one spike adds is of order one, whatever its area and the unit of time.
    unit = dialect.area / (1.5 if filtered else 0.015)
    weight = rng.uniform(0.2, 1.2, (N, 4)) / unit
    back = rng.normal(0, 0.4, (N, N)) / unit
    delays = rng.uniform(0.0005, 0.002, N)
    bias = rng.uniform(0.05, 0.2, N)
    nodes = {
        "in": nir.Input({"input": shape(4)}),
        "weight": nir.Affine(weight, bias),
        "cells": node,
        "out": nir.Output({"output": shape(N)}),
    }
    edges = [("weight", "cells"), ("cells", "out"), ("in", "weight")]
    if spiking:
        nodes |= {"later": nir.Delay(delays), "back": nir.Linear(back)}
        edges += [("cells", "later"), ("later", "back"), ("back", "cells")]
    network = ej.interop.from_nir(
        nir.NIRGraph(nodes, edges), dialect, settled=True, capacity=64
    )
    spikes = make_inputs(4)
    sol = run(network, spikes)

    times = np.asarray(spikes.times) / dialect.time_unit
    start = np.zeros(2 * N)
    if filtered:  # settled
        start[N:] = node.w_in * bias
    elif not spiking:  # `DeltaIntegrator` starts at rest
        start[:N] = node.v_leak + node.r * bias
    expected, neurons, v = solve(
        node,
        weight,
        list(zip(times, np.asarray(spikes.sources), strict=True)),
        T1 / dialect.time_unit,
        area=dialect.area,
        current=bias,
        start=start,
        back=(back, delays) if spiking else None,
    )
    np.testing.assert_allclose(sol.final_state[0].v, v, rtol=1e-6, atol=1e-8)
    if spiking:
        assert len(expected) >= 8
        [(found, sources)] = sol.spikes[0].to_ragged()
        order = np.lexsort((neurons, expected))
        np.testing.assert_allclose(
            found, expected[order] * dialect.time_unit, rtol=1e-7
        )
        np.testing.assert_array_equal(sources, neurons[order])


def test_a_reset_that_subtracts_keeps_what_is_left():
    tau, one = np.array([0.01]), np.ones(1)
    cell = nir.LIF(tau=tau, r=tau, v_leak=0 * one, v_threshold=one)
    graph = nir.NIRGraph.from_list(nir.Linear(np.array([[3.4]])), cell)
    spikes = ej.Spikes(jnp.array([1.0]), jnp.array([0]))
    for subtract, count, left in ((False, 1, 0.0), (True, 3, 0.4)):
        network = ej.interop.from_nir(graph, Dialect(subtract=subtract))
        sol = run(network, spikes)
        assert sol.num_spikes[0] == count
        expected = left * math.exp(-(T1 - 1.0) / 10.0)
        np.testing.assert_allclose(sol.final_state[0].v, expected, atol=1e-12)


# There and back ------------------------------------------------------------------------


def make_network(delta: bool) -> ej.Network:
    """Recurrent with delays, one of them twice, then feed-forward, then a readout."""
    keys = jr.split(jr.key(1), 4)
    mean = 0.3 if delta else 1.5
    dense = lambda k, a, b: ej.Dense(
        a, b, mean=mean, std=0.5 * mean, dtype=jnp.float32, key=keys[k]
    )
    spread = lambda a, b, n: jnp.linspace(a, b, n, dtype=jnp.float32)
    to_it = ej.AxonalDelay(dense(0, 4, 5), spread(0.1, 1.7, 4))
    to_it = ej.AxonalDelay(to_it, 0.3)
    back = ej.AxonalDelay(dense(1, 5, 5), 2.0)
    back = eqx.tree_at(
        lambda c: c.connection.weight, back, replace_fn=lambda w: 0.2 * w
    )
    tau, bias = spread(9.3, 17.7, 5), spread(-0.1, 0.2, 5)
    if delta:
        one = ej.DeltaLIF(5, tau_mem=tau, bias=bias)
        two = ej.DeltaLIF(3, v_reset=-0.2)
        three = ej.DeltaIntegrator(2, bias=spread(-0.1, 0.1, 2))
    else:
        one = ej.LIF(5, tau_mem=tau, tau_syn=spread(3.1, 6.7, 5), bias=bias)
        two = ej.LIF(3, tau_mem=13.0, v_threshold=spread(0.8, 1.2, 3), v_reset=-0.2)
        three = ej.LeakyIntegrator(2, tau_mem=11.0, bias=0.25)
    return ej.Network(
        [
            ej.Layer(to_it, one, back, capacity=256),
            ej.Layer(dense(2, 5, 3), two, capacity=255),
            ej.Layer(dense(3, 3, 2), three, capacity=254),
        ]
    )


def first(network: ej.Network) -> ej.Network:
    """The recurrent layer alone, which compiles faster."""
    return ej.Network(network.layers[:1])


def assert_same_graph(one, two):
    assert one.edges == two.edges
    assert list(one.nodes) == list(two.nodes)
    for name, node in one.nodes.items():
        other = two.nodes[name]
        assert type(node) is type(other)
        for key, value in node.to_dict().items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, other.to_dict()[key])
    json.dumps(one.edges)  # names, nothing else


@pytest.mark.parametrize("delta", [False, True])
def test_there_and_back_to_the_last_bit(delta, tmp_path):
    dialect, capacity = Dialect(subtract=True), (256, 255, 254)
    network = make_network(delta)
    graph = ej.interop.to_nir(network, dialect)
    path = tmp_path / "new" / "network.nir"
    ej.interop.write_nir(path, graph)
    assert [x.name for x in path.parent.iterdir()] == ["network.nir"]
    read = ej.interop.read_nir(path)
    for given in (graph, read):
        back = ej.interop.from_nir(given, dialect, capacity=capacity, dtype=jnp.float32)
        assert eqx.tree_equal(network, back)
        assert_same_graph(graph, ej.interop.to_nir(back, dialect))
    spikes = make_inputs(4)
    before, after = (run(first(x), spikes) for x in (network, back))
    assert int(before.num_spikes[0]) >= 10
    assert eqx.tree_equal(before, after)


def test_there_and_back_with_time_steps():
    """The weights take up a gain here, so they come back to rounding."""
    dialect = Dialect(dt=0.1)
    network = make_network(False)
    graph = ej.interop.to_nir(network, dialect)
    back = ej.interop.from_nir(
        graph, dialect, capacity=(256, 255, 254), dtype=jnp.float32
    )
    for x, y in zip(*map(jax.tree.leaves, (network, back)), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-7)
    spikes = make_inputs(4)
    before, after = (run(first(x), spikes) for x in (network, back))
    np.testing.assert_array_equal(before.spikes[0].sources, after.spikes[0].sources)
    np.testing.assert_allclose(before.spikes[0].times, after.spikes[0].times, rtol=1e-5)


def test_with_time_steps_scales_may_be_left_out():
    """Simulators that pass over R and w_in add weights to I, and I to v, once a step."""
    dt, tau_mem = 0.1, 20.0
    dense = ej.Dense(2, 1, key=jr.key(0))
    for neuron, factor in ((ej.LIF(1), dt / tau_mem), (ej.DeltaLIF(1), 1.0)):
        graph = ej.interop.to_nir(
            ej.Network([ej.Layer(dense, neuron)]), Dialect(dt, subtract=True)
        )
        np.testing.assert_allclose(
            graph.nodes["weights_0"].weight, factor * dense.weight.T, rtol=1e-15
        )


# Graphs of others ----------------------------------------------------------------------


def cuba(n: int, **given):
    full = lambda x: np.full(n, x, np.float32)
    return nir.CubaLIF(
        tau_mem=full(0.02),
        tau_syn=full(0.005),
        r=full(1.0),
        v_leak=full(0.0),
        v_threshold=full(1.0),
        w_in=full(0.005),
        **given,
    )


def lif(shape, **given):
    full = lambda x: np.full(shape, x)
    names = dict(tau=0.02, r=0.02, v_leak=0.0, v_threshold=1.0) | given
    return nir.LIF(**{name: full(x) for name, x in names.items()})


def test_a_graph_of_another_hand():
    """Arbitrary names, edges in no order, a recurrent layer as a graph of its own, images
    and weights of other types."""
    rng = np.random.default_rng(0)
    back = rng.normal(size=(3, 3)).astype(np.float16)
    first = rng.integers(-3, 4, (3, 6))
    recurrent = nir.NIRGraph(
        {
            "x": nir.Input({"input": shape(3)}),
            "y": nir.Output({"output": shape(3)}),
            "w": nir.Linear(back),
            "cells": cuba(3),
        },
        [("w", "cells"), ("cells", "y"), ("cells", "w"), ("x", "cells")],
    )
    graph = nir.NIRGraph(
        {
            "z": lif((3,)),
            "all.of.it": nir.Flatten({"input": shape(1, 2, 3)}, start_dim=0),
            "recurrent layer": recurrent,
            "b": nir.Affine(first, np.zeros(3)),
            "pixels": lif((1, 2, 3)),
            "half": nir.Scale(np.array([0.5, 1.0, 2.0])),
            "7": nir.Input({"input": shape(1, 2, 3)}),
            "end": nir.Output({"output": shape(3)}),
        },
        [
            ("recurrent layer", "half"),
            ("z", "end"),
            ("b", "recurrent layer"),
            ("half", "z"),
            ("pixels", "all.of.it"),
            ("all.of.it", "b"),
            ("7", "pixels"),
        ],
    )
    before = {name: type(node) for name, node in graph.nodes.items()}
    network = ej.interop.from_nir(graph, capacity=[7, None, 9])
    assert {name: type(node) for name, node in graph.nodes.items()} == before
    pixels, hidden, out = network.layers
    assert [type(x.neuron) for x in network.layers] == [
        ej.DeltaLIF,
        ej.LIF,
        ej.DeltaLIF,
    ]
    assert [x.capacity for x in network.layers] == [7, 32, 9]
    np.testing.assert_allclose(pixels.connection.weight, np.eye(6))
    np.testing.assert_allclose(hidden.connection.weight, first.T, rtol=1e-6)
    np.testing.assert_allclose(hidden.recurrent.weight, back.T.astype(float), rtol=1e-6)
    np.testing.assert_allclose(out.connection.weight, np.diag([0.5, 1.0, 2.0]))
    assert hidden.connection.weight.dtype == jnp.float64
    np.testing.assert_allclose([hidden.neuron.tau_mem, hidden.neuron.tau_syn], [20, 5])
    assert not out.neuron.subtract
    assert out.neuron.v_threshold == 1.0
    assert pixels.recurrent is None


def test_one_graph_flat_and_nested():
    """As simulators write a recurrent layer: a cycle of edges, or a graph of its own."""
    back = np.arange(9.0).reshape(3, 3)
    cells, parts = cuba(3), {"w": nir.Linear(back)}
    ends = {"a": nir.Input({"input": shape(3)}), "b": nir.Output({"output": shape(3)})}
    cycle = [("c", "w"), ("w", "c"), ("c", "b"), ("a", "c")]
    flat = nir.NIRGraph(ends | parts | {"c": cells}, cycle)
    ends = {"i": nir.Input({"input": shape(3)}), "o": nir.Output({"output": shape(3)})}
    nested = nir.NIRGraph(ends | {"inner": flat}, [("inner", "o"), ("i", "inner")])
    one, two = (ej.interop.from_nir(x) for x in (flat, nested))
    np.testing.assert_allclose(one.layers[0].recurrent.weight, back.T, rtol=1e-6)
    assert eqx.tree_equal(one, two)


# What is refused -----------------------------------------------------------------------

DENSE = ej.Dense(2, 2, key=jr.key(0))


def alone(neuron=None, connection=DENSE, **given):
    return ej.Network([ej.Layer(connection, neuron or ej.LIF(2), **given)])


OURS = {
    "Refractory": lambda: alone(ej.Refractory(ej.LIF(2), 1.0)),
    "`ALIF`": lambda: alone(ej.ALIF(2)),
    "Izhikevich": lambda: alone(ej.Izhikevich(2)),
    "subtract=True": lambda: alone(ej.DeltaLIF(2)),
    "layers.0..connection.*SynapticDelay": lambda: alone(
        connection=ej.SynapticDelay(DENSE, jnp.ones((2, 2)))
    ),
    "DelayLine": lambda: alone(
        connection=ej.AxonalDelay(ej.DelayLine(DENSE, [0.0, 1.0]), 1.0)
    ),
    "layers.0..recurrent.*Masked": lambda: alone(
        recurrent=ej.Masked(DENSE, ~np.eye(2, dtype=bool))
    ),
    "ImageConnection": lambda: alone(
        connection=ej.ImageConnection(ej.Conv2d(1, 1, 1, key=jr.key(0)), (1, 1, 2))
    ),
    "feedback": lambda: alone(feedback=jnp.ones((2, 1))),
}


@pytest.mark.parametrize("what", OURS)
def test_what_nir_cannot_hold_is_refused_by_name(what):
    network = OURS[what]()
    with pytest.raises(ValueError, match=what):
        ej.interop.to_nir(network)


def graph_of(edges, type_check=True, **nodes):
    ends = dict(
        start=nir.Input({"input": shape(2)}), end=nir.Output({"output": shape(2)})
    )
    pairs = [tuple(edge.split(">")) for edge in edges.split()]
    return nir.NIRGraph(ends | nodes, pairs, type_check=type_check)


def weights(rows=2, columns=2, value=1.0):
    return nir.Linear(np.full((rows, columns), value))


SIMPLE = "start>w w>c c>end"
THEIRS = {
    "'c' is of type `IF`": lambda: graph_of(
        SIMPLE, w=weights(), c=nir.IF(np.ones(2), np.ones(2))
    ),
    "'k' is of type `Threshold`": lambda: graph_of(
        "start>w w>c c>k k>end", w=weights(), c=cuba(2), k=nir.Threshold(np.ones(2))
    ),
    "'u' follow other weights": lambda: graph_of(
        "start>w w>u u>c c>end", w=weights(), u=weights(), c=cuba(2)
    ),
    "'d' comes after weights": lambda: graph_of(
        "start>w w>d d>c c>end", w=weights(), d=nir.Delay(np.ones(2)), c=cuba(2)
    ),
    "must not be negative": lambda: graph_of(
        "start>d d>w w>c c>end", w=weights(), d=nir.Delay(-np.ones(2)), c=cuba(2)
    ),
    "'e' send spikes back to the earlier neurons 'c'": lambda: graph_of(
        "start>w w>c c>u u>e e>b b>c",
        w=weights(),
        u=weights(),
        b=weights(),
        c=cuba(2),
        e=cuba(2),
        type_check=False,
    ),
    r"ways lead to \['e', 'f'\]": lambda: graph_of(
        "start>c c>e c>f e>end", c=cuba(2), e=cuba(2), f=cuba(2), type_check=False
    ),
    "'c' ways lead to nothing": lambda: graph_of(
        "start>c", c=cuba(2), type_check=False
    ),
    "2 ways lead from the neurons 'c' back": lambda: graph_of(
        "start>c c>w w>c c>u u>c c>end", c=cuba(2), w=weights(), u=weights()
    ),
    "2 edges lead to the node 'w'": lambda: graph_of(
        "start>w c>w w>c c>end", c=cuba(2), w=weights()
    ),
    "one `Output` node, got .'end', 'other'": lambda: graph_of(
        "start>c c>end c>other", c=cuba(2), other=nir.Output({"output": shape(2)})
    ),
    "one `Input` node": lambda: graph_of(
        "start>c o>c c>end", c=cuba(2), o=nir.Input({"input": shape(2)})
    ),
    "come the nodes .'w'": lambda: graph_of(
        "start>c c>w w>end", c=cuba(2), w=weights()
    ),
    "has no neurons": lambda: graph_of("start>w w>end", w=weights()),
    "'i', 'w'. are not on the way": lambda: graph_of(
        SIMPLE.replace("w", "v") + " i>w w>i",
        v=weights(),
        c=cuba(2),
        i=cuba(2),
        w=weights(),
        type_check=False,
    ),
    "No edge leads on": lambda: graph_of(
        "start>c c>w c>end", c=cuba(2), w=weights(), type_check=False
    ),
    "'nothing', 'c'. references": lambda: graph_of(
        "start>c nothing>c c>end", c=cuba(2), type_check=False
    ),
    "`weight` of the node 'w' must have shape .neurons, 2.": lambda: graph_of(
        SIMPLE, w=weights(2, 5), c=cuba(2), type_check=False
    ),
    "must reach 2 neurons, but reaches 5": lambda: graph_of(
        SIMPLE, w=weights(5, 2), c=cuba(2), type_check=False
    ),
    "`weight` of the node 'w' has values that are not finite": lambda: graph_of(
        SIMPLE, w=weights(value=np.nan), c=cuba(2)
    ),
    "On the way to 'c': `r` has values that are not finite": lambda: graph_of(
        SIMPLE, w=weights(), c=lif((2,), r=np.inf)
    ),
    "On the way to 'c': `tau_mem` must be positive": lambda: graph_of(
        SIMPLE, w=weights(), c=lif((2,), tau=-1.0)
    ),
    "On the way to 'c': .*v_reset": lambda: graph_of(
        SIMPLE, w=weights(), c=lif((2,), v_reset=1.0)
    ),
    "settled=True": lambda: graph_of(
        SIMPLE, w=nir.Affine(np.ones((2, 2)), np.ones(2)), c=cuba(2)
    ),
}


@pytest.mark.parametrize("what", THEIRS)
def test_what_eventjax_cannot_hold_is_refused_by_name(what):
    graph = THEIRS[what]()
    with pytest.raises(ValueError, match=what):
        ej.interop.from_nir(graph)


def test_a_cycle_beside_weights_on_the_way_in_is_refused():
    """Some write the input of a recurrent layer through its recurrent weights."""
    inner = graph_of("start>w w>c c>w c>end", w=weights(), c=cuba(2))
    graph = graph_of("start>v v>layer layer>end", v=weights(), layer=inner)
    with pytest.raises(ValueError, match="2 edges lead to the node 'layer.w'"):
        ej.interop.from_nir(graph)


@pytest.mark.parametrize(
    "given, what", [(dict(dt=0.0), "dt"), (dict(time_unit=np.nan), "time_unit")]
)
def test_dialects_are_checked(given, what):
    with pytest.raises(ValueError, match=f"`{what}` must be positive"):
        Dialect(**given)


def test_capacity_for_each_layer():
    graph = ej.interop.to_nir(alone())
    assert ej.interop.from_nir(graph, capacity=5).layers[0].capacity == 5
    with pytest.raises(ValueError, match="each of 1 layers, got 2"):
        ej.interop.from_nir(graph, capacity=[5, 6])


# Files ---------------------------------------------------------------------------------


def test_files_that_are_damaged_are_refused(tmp_path):
    path = tmp_path / "network.nir"
    with pytest.raises(FileNotFoundError, match="no file"):
        ej.interop.read_nir(path)
    ej.interop.write_nir(path, ej.interop.to_nir(alone()))
    whole = path.read_bytes()
    for damaged in (b"", b"no HDF5", whole[: len(whole) // 2], b"x" + whole[1:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="no graph that nir can read"):
            ej.interop.read_nir(path)
    nir.write(path, cuba(2))
    with pytest.raises(ValueError, match="no graph"):
        ej.interop.read_nir(path)


def test_flipped_bytes_lead_to_a_graph_or_a_clear_error(tmp_path):
    path, rng = tmp_path / "network.nir", np.random.default_rng(0)
    ej.interop.write_nir(path, ej.interop.to_nir(alone()))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    refused = 0
    for _ in range(60):
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), 40)] ^= 255
        path.write_bytes(damaged.tobytes())
        try:
            ej.interop.from_nir(ej.interop.read_nir(path))
        except ValueError:
            refused += 1
    assert refused > 20


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "network.nir"
    graph = ej.interop.to_nir(alone())
    ej.interop.write_nir(path, graph)
    whole = path.read_bytes()

    def half(beside, graph):
        Path(beside).write_bytes(whole[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(nir, "write", half)
    with pytest.raises(OSError, match="No space"):
        ej.interop.write_nir(path, graph)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


# Another simulator ---------------------------------------------------------------------


@pytest.mark.slow
def test_spyx_spikes_alike():
    pytest.importorskip("tyro")
    from experiments import interchange
    from experiments.benchmark import make_peers

    if not make_peers.is_made("spyx"):
        pytest.skip("spyx is not installed: run `make peers`")
    settings = interchange.Settings(
        inputs=8, hidden=10, outputs=5, steps=(0.25, 0.0625)
    )
    kinds = "recurrent LIF", "DeltaLIF"
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        rows, versions = interchange.run(settings, kinds)
    assert versions["spyx"] == "1.0.0"
    assert [(row["kind"], row["dt"]) for row in rows] == [
        (kind, dt) for kind in kinds for dt in settings.steps
    ]
    _check_rows(rows)


def test_stored_comparison_with_spyx():
    path = Path(__file__).parents[1] / "experiments" / "results" / "nir" / "spyx.json"
    record = json.loads(path.read_text())
    assert record["spyx"]["spyx"] == "1.0.0"
    assert {row["kind"] for row in record["rows"]} == {
        "LIF",
        "recurrent LIF",
        "DeltaLIF",
        "recurrent DeltaLIF",
    }
    _check_rows(record["rows"])


def _check_rows(rows):
    """At the finest step nearly all spikes match, and the difference falls as the step
    does."""
    for kind in {row["kind"] for row in rows}:
        found = sorted(
            (row for row in rows if row["kind"] == kind), key=lambda x: x["dt"]
        )
        fine, coarse = found[0], found[-1]
        for one, two in zip(fine["layers"], coarse["layers"], strict=True):
            a, b = one["exact"], two["exact"]
            assert a["ours"] >= 20
            assert a["matched"] >= 0.97 * max(a["ours"], a["theirs"])
            ratio = coarse["dt"] / fine["dt"]
            assert a["median_difference_ms"] < 1.5 / ratio * b["median_difference_ms"]
            same = one["same_grid"]
            assert same["matched"] >= 0.95 * max(same["ours"], same["theirs"])
