import abc

import equinox as eqx
from jax import lax
from jaxtyping import Array, Float


class AbstractFeedback(eqx.Module):
    """Which weights $B$ bring errors back to a layer."""

    @property
    @abc.abstractmethod
    def has_weights(self) -> bool:
        """Whether $B$ is `Layer.feedback`, not the weights of the readout."""

    @abc.abstractmethod
    def matrix(
        self,
        readout: Float[Array, "last outputs"],
        own: Float[Array, "neurons outputs"] | None,
    ) -> Float[Array, "neurons outputs"]:
        """$B$, of the weights of the readout and the layer's own feedback weights. It gets
        the gradient that the readout's weights get, where it passes one."""


class Symmetric(AbstractFeedback):
    """The weights of the readout, to each layer. Layers below the last one have no
    connection to the readout, so what they get is not a gradient; they need as many
    neurons as the last one."""

    @property
    def has_weights(self) -> bool:
        return False

    def matrix(
        self,
        readout: Float[Array, "last outputs"],
        own: Float[Array, "neurons outputs"] | None,
    ) -> Float[Array, "last outputs"]:
        return lax.stop_gradient(readout)


class Random(AbstractFeedback):
    """`Layer.feedback`, which has no gradient and stays as it is. (An optimiser with
    weight decay shrinks whatever it is given: leave it out of that.)"""

    @property
    def has_weights(self) -> bool:
        return True

    def matrix(
        self,
        readout: Float[Array, "last outputs"],
        own: Float[Array, "neurons outputs"] | None,
    ) -> Float[Array, "neurons outputs"]:
        return lax.stop_gradient(_there(own))


class Adaptive(AbstractFeedback):
    """`Layer.feedback`, whose gradient is that of the readout's weights, in each layer. An
    optimiser that also shrinks both brings them into line (Kolen and Pollack); the paper's
    code shrinks them by 0.01 in each step. All layers need as many neurons as the last."""

    @property
    def has_weights(self) -> bool:
        return True

    def matrix(
        self,
        readout: Float[Array, "last outputs"],
        own: Float[Array, "neurons outputs"] | None,
    ) -> Float[Array, "neurons outputs"]:
        return _there(own)


def _there(
    own: Float[Array, "neurons outputs"] | None,
) -> Float[Array, "neurons outputs"]:
    if own is None:
        raise ValueError(
            "A layer has no feedback weights: draw them with `ej.init.add_feedback`."
        )
    return own
