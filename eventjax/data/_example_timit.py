"""Made-up speech in the layout of TIMIT, to try things out."""

import io
import wave
from pathlib import Path

import numpy as np

from ._example_checks import check_absent, check_positive_numbers
from ._folder import PathLike
from ._phone_file import PhoneSegments
from ._phones import PHONES
from ._tar_archive import MADE_UP
from ._timit_files import SAMPLE_RATE
from ._timit_speakers import CORE_TEST, DEVELOPMENT


# Each phone sounds at two pitches, one of the lower and one of the higher ones, in Hz. They
# are so far apart that filters of the usual number tell them from each other.
_LOWER = 250 * 1.25 ** np.arange(8)
_HIGHER = 1700 * 1.2 ** np.arange(8)
_SILENCE = PHONES.index("h#")


def write_example_timit(
    folder: PathLike,
    *,
    audio: str = "sphere",
    speakers: int = 4,
    sentences: int = 2,
    phones: int = 12,
    seed: int = 0,
) -> list[Path]:
    """Write a small made-up set in the layout of TIMIT to a data folder.

    Each phone is two tones of its own, which each speaker moves a little; `h#` is silence,
    and there is noise everywhere. So phones can be learned. Nothing in them is speech, and
    no result on them says anything about the real set, as the file MADE_UP.txt beside
    `TRAIN` and `TEST` says.

    A set is prepared once, and then read from where it was prepared. So give these files
    a `prepared_dir` of their own:

    ```python
    ej.data.write_example_timit("example")
    train = ej.data.load_speech(
        "timit", data_dir="example", prepared_dir="example-prepared"
    )
    ```

    **Arguments:**

    - `folder`: the data folder; the files go to its subfolder `timit`.
    - `audio`: `"sphere"`, as in the original, or `"riff"`, as in many copies.
    - `speakers`: in `TRAIN`, up to 26. Two speakers of the core test set, two of the
        development set and one more are in `TEST`.
    - `sentences`: of each speaker, besides SA1.
    - `phones`: in each sentence, besides the silence at both ends.
    - `seed`: of all that is random.

    **Returns:** the recordings; beside each is its `.PHN` file.

    **Raises:** `ValueError` for another `audio`, numbers that are not positive, or more
    speakers; `FileExistsError` if there are such folders already, which are left as they
    are.
    """
    if audio not in ("sphere", "riff"):
        raise ValueError(f"`audio` must be 'sphere' or 'riff', got {audio!r}.")
    check_positive_numbers(speakers=speakers, sentences=sentences, phones=phones)
    if speakers > 26:
        raise ValueError(f"`speakers` must be up to 26, got {speakers}.")
    root = Path(folder).expanduser() / "timit"
    parts = {
        "TRAIN": [
            f"dr{k % 8 + 1}-{'fm'[k % 2]}xx{chr(97 + k)}0" for k in range(speakers)
        ],
        "TEST": [*CORE_TEST[:2], *DEVELOPMENT[:2], "dr8-fyya0"],
    }
    check_absent([root / part for part in parts])
    root.mkdir(parents=True, exist_ok=True)
    note = "Made up by eventjax, to try things out. Nothing in here is real.\n"
    (root / MADE_UP).write_text(note)

    rng = np.random.default_rng(seed)
    # Every phone comes in its turn, so that as few utterances as possible have them all.
    turns = rng.permutation(np.delete(np.arange(len(PHONES)), _SILENCE))
    encode = {"sphere": sphere_bytes, "riff": riff_bytes}[audio]
    paths, turn = [], 0
    for part, names in parts.items():
        for name in names:
            region, speaker = name.upper().split("-")
            pitch = rng.uniform(0.97, 1.03)
            place = root / part / region / speaker
            place.mkdir(parents=True)
            for sentence in ["SA1", *(f"SX{k}" for k in range(1, sentences + 1))]:
                order = turns[(turn + np.arange(phones)) % len(turns)]
                turn += phones
                samples, segments = _utterance(order, pitch, rng)
                path = place / f"{sentence}.WAV"
                path.write_bytes(encode(samples))
                path.with_suffix(".PHN").write_text(phone_lines(segments))
                paths.append(path)
    return paths


def _utterance(
    order: np.ndarray, pitch: float, rng: np.random.Generator
) -> tuple[np.ndarray, PhoneSegments]:
    """Samples and segments of these phones between silences; the last few samples are in no
    segment, as in the original."""
    phone = np.array([_SILENCE, *order, _SILENCE], np.int32)
    ends = np.cumsum(rng.integers(800, 1600, len(phone))).astype(np.int32)
    starts = np.append(np.int32(0), ends[:-1])
    samples = rng.normal(0, 30, ends[-1] + rng.integers(100))
    for start, end, k in zip(starts, ends, phone):
        if k != _SILENCE:
            t = np.arange(start, end) / SAMPLE_RATE
            for tone in (_LOWER[k % 8], _HIGHER[k // 8]):
                samples[start:end] += 3000 * np.sin(2 * np.pi * pitch * tone * t)
    return samples.round().astype(np.int16), PhoneSegments(starts, ends, phone)


def phone_lines(segments: PhoneSegments) -> str:
    """The content of a `.PHN` file."""
    rows = zip(*(x.tolist() for x in segments))
    return "".join(f"{start} {end} {PHONES[phone]}\n" for start, end, phone in rows)


def riff_bytes(samples: np.ndarray) -> bytes:
    """The content of a RIFF (wav) file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def sphere_bytes(samples: np.ndarray) -> bytes:
    """The content of a NIST SPHERE file without compression."""
    fields = (
        "database_id -s5 TIMIT\n"
        "channel_count -i 1\n"
        f"sample_count -i {len(samples)}\n"
        f"sample_rate -i {SAMPLE_RATE}\n"
        "sample_n_bytes -i 2\n"
        "sample_byte_format -s2 01\n"
        "sample_sig_bits -i 16\n"
        "end_head\n"
    )
    header = f"NIST_1A\n   1024\n{fields}".encode().ljust(1024)
    return header + samples.astype("<i2").tobytes()
