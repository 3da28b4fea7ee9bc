"""The picture of `exactness.md`, from its own blocks: `python docs/limits_figure.py`."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np


mpl.use("Agg")
import matplotlib.pyplot as plt


HERE = Path(__file__).parent


def main() -> None:
    text = (HERE / "exactness.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec("\n".join(blocks[:2]), names)  # noqa: S102
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    rows = ("exact", "Eventprop()", "o-"), ("bounded", "Eventprop(max_jump=100)", "s--")
    for name, label, style in rows:
        axes.loglog(names["above"], np.abs(names[name]), style, ms=4, label=label)
    axes.legend(frameon=False)
    axes.invert_xaxis()
    axes.set_xlabel("weight above the grazing one, relative")
    axes.set_ylabel("|d first spike / d weight| (ms)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / "grazing.png", dpi=130)


if __name__ == "__main__":
    main()
