"""Integrals from each of many times to the end, put together from those in between."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._neuron._quick_psp import quick_psp
from ._prefixes import prefixes


Number = Array | float


class Segment(eqx.Module):
    """What happens over a stretch of time: what is left at its end of a unit of voltage
    (`mem`) and, of a unit of current, the current (`syn`) and the voltage (`gain`); and the
    weighted integrals of both over it."""

    mem: Number
    syn: Number
    gain: Number
    of_v: Number
    of_i: Number

    @classmethod
    def of(cls, length: Array, taus: tuple[Array, Array], of_v, of_i) -> "Segment":
        mem, syn = taus
        gain = quick_psp(length, mem, syn)
        return cls(jnp.exp(-length / mem), jnp.exp(-length / syn), gain, of_v, of_i)

    def then(self, later: "Segment") -> "Segment":
        """This one and the next as one."""
        return Segment(
            self.mem * later.mem,
            self.syn * later.syn,
            self.gain * later.mem + self.syn * later.gain,
            self.of_v + self.mem * later.of_v,
            self.of_i + self.gain * later.of_v + self.syn * later.of_i,
        )


def to_the_end(segments: Segment) -> Segment:
    """From the start of each segment to the end of the last, along the first axis, with
    one more of no length behind."""
    nothing = Segment(1.0, 1.0, 0.0, 0.0, 0.0)
    shape = jnp.broadcast_shapes(*(x.shape for x in jax.tree.leaves(segments)))
    back = lambda x: jnp.flip(x, axis=0)
    segments = jax.tree.map(lambda x: back(jnp.broadcast_to(x, shape)), segments)
    found = prefixes(lambda later, one: one.then(later), segments, nothing)
    pad = lambda x, fill: jnp.concatenate([back(x), jnp.full_like(x[:1], fill)])
    return jax.tree.map(pad, found, nothing)
