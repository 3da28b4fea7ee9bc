"""Trees of vectors kept as rows of two matrices, one of floats and one of integers.

Elements that are read and written together lie next to each other, so that on CPU a
gather or a scatter of rows costs little more than one of single elements.
"""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._tiles import put


class Rows(eqx.Module):
    """`n` places that each hold a tree of scalars, all floats of one type."""

    floats: Float[Array, "n floats"]
    ints: Int[Array, "n ints"]
    treedef: Any = eqx.field(static=True)
    is_float: tuple[bool, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, tree: PyTree[Array]) -> "Rows":
        """From leaves of shape `[n]`."""
        leaves, treedef = jax.tree.flatten(tree)
        is_float = tuple(jnp.issubdtype(x.dtype, jnp.floating) for x in leaves)
        return cls(*_stack(leaves, is_float), treedef, is_float)

    @classmethod
    def empty(cls, n: int, tree: PyTree) -> "Rows":
        """`n` places of zeros, for trees of the types of this one."""
        zeros = jax.tree.map(lambda x: jnp.zeros(n, x.dtype), tree)
        return cls.of(zeros)

    def _tree(self, floats: Array, ints: Array) -> PyTree:
        columns = iter(jnp.moveaxis(floats, -1, 0)), iter(jnp.moveaxis(ints, -1, 0))
        leaves = [next(columns[0 if x else 1]) for x in self.is_float]
        return jax.tree.unflatten(self.treedef, leaves)

    def tree(self) -> PyTree[Array]:
        """All places, leaves of shape `[n]`."""
        return self._tree(self.floats, self.ints)

    def take(self, place: Int[Array, "*shape"]) -> PyTree[Array]:
        """What places hold, which must be in range; of the shape of `place`."""
        pick = lambda x: x.at[place].get(mode="promise_in_bounds")
        return self._tree(pick(self.floats), pick(self.ints))

    def slice(self, start: Array, size: int) -> PyTree[Array]:
        """What `size` places from `start` on hold."""
        pick = lambda x: lax.dynamic_slice_in_dim(x, start, size)
        return self._tree(pick(self.floats), pick(self.ints))

    def put(
        self, place: Int[Array, " tile"], mask: Bool[Array, " tile"], tree: PyTree
    ) -> "Rows":
        """With the masked entries of a tree written at distinct places."""
        floats, ints = _stack(jax.tree.leaves(tree), self.is_float)
        floats = put(self.floats, place, mask, floats)
        return Rows(
            floats, put(self.ints, place, mask, ints), self.treedef, self.is_float
        )


def _stack(leaves: list[Array], is_float: tuple[bool, ...]) -> tuple[Array, Array]:
    def stack(which, dtype):
        columns = [x for x, y in zip(leaves, is_float, strict=True) if y is which]
        if not columns:
            return jnp.zeros((*leaves[0].shape, 0), dtype)
        return jnp.stack(columns, axis=-1)

    return stack(True, jnp.float32), stack(False, jnp.int32)
