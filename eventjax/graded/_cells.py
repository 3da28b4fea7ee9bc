"""GRU and LSTM layers, to compare with."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ._base import AbstractLayer, check_layer, dropout_mask, Passed, prepare
from ._gated import gate_shift
from ._membrane import run_frames
from ._normalisation import AbstractNormalisation, Normalisation


class Cells(AbstractLayer):
    """A layer of Equinox's `GRUCell` or `LSTMCell`, without spikes, in the place of a
    spiking one: the same input, normalisation of input products, and readout.

    Products of inputs and weights are taken for all frames at once; their normalisation
    has the cell's bias. What differs from the code of Ponghiran and Roy: Equinox's GRU
    resets the product of its hidden state rather than the state, and has a bias there;
    recurrent weights are Equinox's, not orthogonal; and dropout is of outputs to the next
    layer, since a cell has no place for it inside.

    **Arguments:**

    - `cell`: `equinox.nn.GRUCell` or `equinox.nn.LSTMCell`.
    - `inputs`, `units`: sizes.
    - `dropout`: the share of outputs left out, drawn for each sequence.
    - `memory`: as for `Gated`, in frames; of the GRU's update gate, and of the LSTM's
        forget gate with the opposite for its input gate.
    - `key`: a `jax.random` key for the weights.

    **Raises:** `ValueError` for values out of range, and for another cell.
    """

    cell: eqx.nn.GRUCell | eqx.nn.LSTMCell
    normalisation: AbstractNormalisation
    dropout: float = eqx.field(static=True)
    inputs: int = eqx.field(static=True)
    units: int = eqx.field(static=True)

    def __init__(
        self,
        cell: type[eqx.nn.GRUCell] | type[eqx.nn.LSTMCell],
        inputs: int,
        units: int,
        *,
        dropout: float = 0.0,
        memory: float | None = None,
        key: PRNGKeyArray,
    ):
        check_layer(inputs, units, dropout)
        if cell not in (eqx.nn.GRUCell, eqx.nn.LSTMCell):
            raise ValueError(
                f"`cell` must be `equinox.nn.GRUCell` or `equinox.nn.LSTMCell`, got {cell}."
            )
        made = cell(inputs, units, key=key)
        self.cell = eqx.tree_at(lambda c: c.bias, made, None)  # see `__call__`
        self.normalisation = Normalisation(self.blocks * units)
        if memory is not None:
            shift, zeros = gate_shift(units, memory, key), jnp.zeros(units)
            if self._is_gru:  # reset, update, candidate
                shifts = [zeros, shift, zeros]
            else:  # input, forget, candidate, output
                shifts = [-shift, shift, zeros, zeros]
            new = jnp.concatenate(shifts)
            where = lambda x: x.shift
            self.normalisation = eqx.tree_at(where, self.normalisation, new)
        self.dropout, self.inputs, self.units = dropout, inputs, units

    @property
    def _is_gru(self) -> bool:
        return isinstance(self.cell, eqx.nn.GRUCell)

    @property
    def blocks(self) -> int:
        return 3 if self._is_gru else 4

    @property
    def elementwise(self) -> int:
        return 12

    def initial_state(
        self, batch: int, dtype: Any
    ) -> PyTree[Float[Array, "batch units"]]:
        zeros = jnp.zeros((batch, self.units), dtype)
        return zeros if self._is_gru else (zeros, zeros)

    def __call__(
        self,
        frames: Float[Array, "batch frames inputs"],
        valid: Bool[Array, "batch frames"] | None = None,
        state: PyTree[Float[Array, "batch ..."]] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Passed:
        training = key is not None
        frames, valid, state = prepare(self, frames, valid, state, training)
        product = frames @ self.cell.weight_ih.T
        drive, drift = self.normalisation(product, valid, training=training)
        mask = dropout_mask(self.dropout, len(frames), self.units, drive.dtype, key)

        # The cell sees no input: what the inputs add up to stands in for its bias.
        nothing = jnp.zeros(0, drive.dtype)
        no_weight = jnp.zeros((self.blocks * self.units, 0), drive.dtype)
        parts = lambda c: (c.weight_ih, c.bias)

        def cell(drive: Array, state: PyTree):
            here = eqx.tree_at(
                parts, self.cell, (no_weight, drive), is_leaf=lambda x: x is None
            )
            return here(nothing, state)

        def step(state: PyTree, drive: Array):
            state = jax.vmap(cell)(drive, state)
            return state, mask * (state if self._is_gru else state[0]), None

        outputs, state, _ = run_frames(step, state, drive, valid)
        return Passed(outputs, state, drift)

    def matrices(self) -> list[Any]:
        return [self.cell.weight_ih, self.cell.weight_hh]

    def folded(self) -> "Cells":
        weight, shift = self.normalisation.folded(self.cell.weight_ih.T)
        where = lambda x: (x.cell.weight_ih, x.normalisation)
        return eqx.tree_at(where, self, (weight.T, shift))
