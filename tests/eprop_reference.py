"""e-prop straight from its equations: a loop over steps with everything in it, and the
recursions of eligibility traces written out. Slow and plain."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

import eventjax as ej


ALPHA, RHO, KAPPA = 0.8, 0.975, 0.7
BETA, THR, GAMMA, DELTA = 0.3, 1.0, 0.3, 2


def tau(factor: float) -> float:
    return -1 / math.log(factor)


@dataclasses.dataclass
class Setting:
    """One network: `kind` of neurons, `sizes` of hidden layers."""

    kind: str
    sizes: tuple[int, ...] = (4,)
    inputs: int = 3
    outputs: int = 2

    def neuron(self, size: int):
        both = dict(
            tau_mem=tau(ALPHA),
            tau_adapt=tau(RHO),
            v_threshold=THR,
            refractory=float(DELTA),
        )
        if self.kind == "STDPALIF":
            return ej.STDPALIF(size, beta=BETA, **both)
        if self.kind == "SteppedIzhikevich":
            return ej.SteppedIzhikevich(size)
        beta = 0.0 if self.kind == "LIF" else BETA
        return ej.SteppedALIF(size, beta=beta, **both)

    @property
    def shape(self):
        if self.kind == "SteppedIzhikevich":
            return ej.surrogates.Exponential(30.0, GAMMA)
        return ej.surrogates.Triangle(THR, GAMMA)


def draw(setting: Setting, key: jax.Array) -> dict:
    """Weights that make the neurons spike: `w`, `r` without autapses, and `b` of each
    hidden layer, and `out`."""
    gain = 30.0 if setting.kind == "SteppedIzhikevich" else 1.0
    keys = iter(jax.random.split(key, 3 * len(setting.sizes) + 2))
    normal = lambda *shape: jax.random.normal(next(keys), shape)
    p, before = {"w": [], "r": [], "b": []}, setting.inputs
    for n in setting.sizes:
        p["w"].append(gain * (0.5 + normal(before, n)))
        p["r"].append(0.3 * gain * normal(n, n) * (1 - jnp.eye(n)))
        p["b"].append(normal(n, setting.outputs))
        before = n
    p["out"] = normal(before, setting.outputs)
    p["bias"] = normal(setting.outputs)
    return p


def network(setting: Setting, p: dict) -> ej.Network:
    layers = [
        ej.Layer(with_(w), setting.neuron(n), with_(r), feedback=b)
        for n, w, r, b in zip(setting.sizes, p["w"], p["r"], p["b"], strict=True)
    ]
    readout = ej.DeltaIntegrator(setting.outputs, tau_mem=tau(KAPPA), bias=p["bias"])
    return ej.Network([*layers, ej.Layer(with_(p["out"]), readout)])


def with_(weight: jax.Array) -> ej.Dense:
    dense = ej.Dense(*weight.shape, key=jax.random.key(0))
    return eqx.tree_at(lambda d: d.weight, dense, weight)


@jax.custom_jvp
def spike(distance, slope, fires):
    del distance, slope
    return fires


spike.defjvps(lambda d, out, distance, slope, fires: slope * d, None, None)


def _start(kind: str, batch: int, n: int) -> dict:
    zeros = jnp.zeros((batch, n))
    v, u = (zeros - 65.0, zeros) if kind == "SteppedIzhikevich" else (zeros, zeros)
    return dict(v=v, a=u, z=zeros, seen=zeros, since=zeros + jnp.inf)


def _neuron_step(kind: str, s: dict, current) -> dict:
    """One step of the papers' equations; resets are constants to gradients."""
    cut, z = lax.stop_gradient, s["z"]
    since = s["since"] + 1
    if kind == "SteppedIzhikevich":
        v = jnp.where(cut(z) > 0, -65.0, s["v"])
        u = s["a"] + 2.0 * cut(z)
        new = v + 0.04 * v * v + 5 * v + 140 - u + current
        a = u + 0.02 * (0.2 * v - u)
        fires = (new >= 30).astype(new.dtype)
        slope = GAMMA * jnp.exp((jnp.minimum(new, 30.0) - 30.0) / 30.0)
        return dict(v=new, a=a, z=spike(new, cut(slope), fires), since=since)
    a = RHO * s["a"] + z
    if kind == "STDPALIF":
        again = s["since"] == DELTA
        kept = jnp.where((cut(z) > 0) | again, 0.0, s["v"])
        v = ALPHA * kept + current
    else:
        v = ALPHA * s["v"] + current - cut(z) * THR
    beta = 0.0 if kind == "LIF" else BETA
    distance, free = v - (THR + beta * a), since > DELTA
    fires = ((distance >= 0) & free).astype(v.dtype)
    refractory = -GAMMA if kind == "STDPALIF" else 0.0
    triangle = GAMMA * jnp.maximum(0.0, 1 - jnp.abs(distance) / THR)
    slope = jnp.where(free, triangle, refractory)
    since = jnp.where(fires > 0, 0.0, since)
    return dict(v=v, a=a, z=spike(distance, cut(slope), fires), since=since)


def run(setting: Setting, p: dict, x, *, rule: str = "bptt", probe=None):
    """Outputs `[steps, batch, outputs]` and spikes of each hidden layer. `rule` is
    "bptt", or "symmetric", "random" or "adaptive" for e-prop by autodiff of a graph with
    cut and routed paths. A `probe` is added to what others see of the spikes, to
    differentiate by it: a neuron's own adaptation is part of its eligibility."""
    cut = lax.stop_gradient
    local = rule != "bptt"
    if probe is None:
        probe = [jnp.zeros((*x.shape[:2], n)) for n in setting.sizes]

    def step(carry, given):
        states, y = carry
        below, shifts = given
        after = []
        for k, (s, shift) in enumerate(zip(states, shifts, strict=True)):
            back = cut(s["seen"]) if local else s["seen"]
            s = _neuron_step(setting.kind, s, below @ p["w"][k] + back @ p["r"][k])
            s["seen"] = s["z"] + shift
            after.append(s)
            below = cut(s["seen"]) if local else s["seen"]
        top, out = after[-1]["seen"], p["out"]
        total = (cut(top) if local else top) @ out
        for k, s in enumerate(after if local else []):
            b = out if rule == "symmetric" else p["b"][k]
            total = total + (s["z"] - cut(s["z"])) @ cut(b)
            if rule == "adaptive":
                total = total + cut(top) @ (b - cut(b))
        y = KAPPA * y + total
        return (after, y), (y + p["bias"][None], [s["z"] for s in after])

    batch = x.shape[1]
    start = [_start(setting.kind, batch, n) for n in setting.sizes]
    y = jnp.zeros((batch, setting.outputs))
    return lax.scan(step, (start, y), (x, probe))[1]


def traces(setting: Setting, p: dict, x, error, matrices):
    """Gradients by `w` and `r` of each hidden layer from the recursions of eligibility
    traces; `error` is that of the outputs, `matrices` bring it back."""
    _, zs = run(setting, p, x)
    return [
        _layer_traces(setting, p, k, x if k == 0 else zs[k - 1], zs[k], error, matrix)
        for k, matrix in enumerate(matrices)
    ]


def _layer_traces(setting: Setting, p: dict, k: int, source, z, error, matrix):
    kind, batch, n = setting.kind, source.shape[1], setting.sizes[k]
    late = jnp.concatenate([jnp.zeros((1, batch, n)), z[:-1]])
    pre = jnp.concatenate([source, late], axis=2)
    weight = jnp.concatenate([p["w"][k], p["r"][k]])
    each = lambda v: v[:, None, :]

    def step(carry, given):
        before, eps_v, eps_a, e, bar, total = carry
        pre, error = given
        state = _neuron_step(kind, before, pre @ weight) | {"seen": before["seen"]}
        s = pre[:, :, None]
        if kind == "SteppedIzhikevich":
            keep, old = each(1 - before["z"]), eps_v
            eps_v = keep * (1 + 0.08 * each(before["v"]) + 5) * old - eps_a + s
            eps_a = 0.004 * keep * old + (1 - 0.02) * eps_a
            v = jnp.minimum(state["v"], 30.0)
            e = each(GAMMA * jnp.exp((v - 30) / 30)) * eps_v
        else:
            eps_a = RHO * eps_a + e
            again = (before["since"] == DELTA).astype(float)
            hard = kind == "STDPALIF"
            keep = 1 - before["z"] - again if hard else jnp.ones_like(again)
            eps_v = ALPHA * each(keep) * eps_v + s
            beta = 0.0 if kind == "LIF" else BETA
            distance = state["v"] - (THR + beta * state["a"])
            free = before["since"] + 1 > DELTA
            psi = GAMMA * jnp.maximum(0.0, 1 - jnp.abs(distance) / THR)
            psi = jnp.where(free, psi, -GAMMA if hard else 0.0)
            e = each(psi) * (eps_v - beta * eps_a)
        bar = KAPPA * bar + e
        total = total + jnp.einsum("bn,bin->in", error @ matrix.T, bar)
        return (state, eps_v, eps_a, e, bar, total), None

    zeros = jnp.zeros((batch, pre.shape[2], n))
    start = _start(kind, batch, n), *[zeros] * 4, jnp.zeros(weight.shape)
    *_, total = lax.scan(step, start, (pre, error))[0]
    return total[: source.shape[2]], total[source.shape[2] :]
