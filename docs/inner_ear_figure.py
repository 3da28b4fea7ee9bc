"""The picture of `inner_ear.md`: `python docs/inner_ear_figure.py DATA_FOLDER`.

The folder is one in which `eventjax.data.load_events("spoken_digits")` finds its archives.
"""

import io
import sys
import tarfile
import wave
from pathlib import Path

import matplotlib as mpl
import numpy as np

import eventjax as ej


mpl.use("Agg")
import matplotlib.pyplot as plt


RECORDING = "7_george_10.wav"


def main(data_folder: str) -> None:
    archive = Path(data_folder) / "fsdd" / "free-spoken-digit-dataset-1.0.9.tar.gz"
    with tarfile.open(archive) as tar:
        (member,) = (x for x in tar if x.name.endswith(f"/{RECORDING}"))
        content = tar.extractfile(member).read()
    with wave.open(io.BytesIO(content)) as file:
        rate = file.getframerate()
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2")

    ear = ej.encoders.InnerEar()
    times, units = ear(audio, rate)
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(7, 5), height_ratios=(1, 4), layout="constrained"
    )
    above.plot(np.arange(len(audio)) / rate * 1e3, audio, lw=0.4, color="#222222")
    above.set_yticks([])
    above.set_ylabel("sound")
    below.scatter(times, units, s=0.6, lw=0, color="#222222")
    marks = np.array([100, 200, 500, 1000, 2000, 3500])
    below.set_yticks(np.searchsorted(ear.frequencies, marks), [f"{x}" for x in marks])
    below.set_ylim(0, ear.channels)
    below.set_xlim(0, len(audio) / rate * 1e3)
    below.set_ylabel("centre frequency of the channel (Hz)")
    below.set_xlabel("time (ms)")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).parent / "inner_ear.png", dpi=130)
    print(f"{len(times)} spikes in {len(audio) / rate * 1e3:.0f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
