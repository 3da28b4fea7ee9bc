"""From frames to phones: counts by hand, and paths against all paths there are."""

import builtins
import itertools as it

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eventjax as ej


d = ej.decoding
LABELS = np.array([[0, 0, 1, 1, 0, -1], [1, 2, 2, 2, -1, -1]])
VALID = LABELS >= 0


def random_bigram(rng, phones):
    def logs(*shape):
        p = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
        return jnp.log(jnp.asarray(p))

    rows = logs(phones, phones + 1)
    return d.PhoneBigram(logs(phones), rows[:, :-1], rows[:, -1])


def best_of_all(heard, bigram):
    """The best path and its score, of all paths."""
    start, move, end = (np.asarray(x) for x in (bigram.start, bigram.move, bigram.end))
    frames, phones = heard.shape

    def score(path):
        steps = sum(move[a, b] for a, b in zip(path, path[1:]))
        return heard[range(frames), path].sum() + start[path[0]] + steps + end[path[-1]]

    best = max(it.product(range(phones), repeat=frames), key=lambda x: score(list(x)))
    return list(best), score(list(best))


def test_bigram_counts_by_hand():
    bigram = d.count_bigram(LABELS, VALID, 3, smoothing=0.5)
    # Segments: 0 1 0 and 1 2, three frames of each phone, 9 in 5 segments
    assert isinstance(bigram, d.PhoneBigram) and bigram.phones == 3
    np.testing.assert_allclose(np.exp(bigram.start), [1.5 / 3.5, 1.5 / 3.5, 0.5 / 3.5])
    lengths = [3.9 / 2.5, 3.9 / 2.5, 3.9 / 1.5]
    stay = 1 - 1 / np.array(lengths)
    np.testing.assert_allclose(np.exp(np.diag(bigram.move)), stay)
    follow = np.array([[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 0, 1]]) + 0.5
    follow[range(3), range(3)] = 0
    follow *= ((1 - stay) / follow.sum(axis=1))[:, None]
    follow[range(3), range(3)] = stay
    np.testing.assert_allclose(np.exp(bigram.move), follow[:, :3])
    np.testing.assert_allclose(np.exp(bigram.end), follow[:, 3])
    priors = d.count_priors(LABELS, VALID, 4, smoothing=0.5)
    np.testing.assert_allclose(np.exp(priors), np.array([3.5, 3.5, 3.5, 0.5]) / 11)


@pytest.mark.parametrize("lengths", [[1], [7, 2, 3], [5, 5]])
def test_probabilities_have_the_sum_one(lengths):
    rng = np.random.default_rng(0)
    valid = np.arange(max(lengths))[None] < np.array(lengths)[:, None]
    labels = np.where(valid, rng.integers(0, 5, valid.shape), -7)
    bigram = d.count_bigram(labels, valid, 6)
    total = np.exp(bigram.move).sum(axis=1) + np.exp(bigram.end)
    np.testing.assert_allclose(total, 1)
    np.testing.assert_allclose(np.exp(bigram.start).sum(), 1)
    np.testing.assert_allclose(np.exp(d.count_priors(labels, valid, 6)).sum(), 1)
    # What padding holds is not looked at
    other = d.count_bigram(np.where(valid, labels, 3), valid, 6)
    assert all(map(np.array_equal, jax.tree.leaves(bigram), jax.tree.leaves(other)))


def test_phones_of_one_frame_are_left_at_once():
    bigram = d.count_bigram(np.array([[0, 1, 0, 1]]), np.ones((1, 4), bool), 2)
    np.testing.assert_array_equal(np.diag(bigram.move), [-np.inf, -np.inf])
    decoded = d.viterbi(
        jnp.log(jnp.full((1, 4, 2), 0.5)), np.ones((1, 4), bool), bigram
    )
    assert np.abs(np.diff(decoded.path)).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("seed", range(6))
def test_viterbi_is_the_best_of_all_paths(seed):
    """Of different lengths, with a weight and priors that change what is best."""
    rng = np.random.default_rng(seed)
    lengths = np.array([6, 1, 4, 5])
    valid = np.arange(6)[None] < lengths[:, None]
    posteriors = rng.dirichlet(np.full(3, 0.7), (4, 6))
    posteriors[~valid] = np.nan  # is not looked at
    bigram, priors = random_bigram(rng, 3), np.log(rng.dirichlet(np.ones(3)))
    paths = []
    for weight, scale in ((1.0, 0.0), (0.6, 1.0), (2.5, 0.4)):
        decoded = d.viterbi(
            np.log(posteriors),
            valid,
            bigram,
            priors,
            acoustic_weight=weight,
            prior_scale=scale,
        )
        heard = weight * (np.log(posteriors) - scale * priors)
        for row, length in enumerate(lengths):
            path, score = best_of_all(heard[row, :length], bigram)
            assert decoded.path[row].tolist() == path + [-1] * (6 - length)
            np.testing.assert_allclose(decoded.score[row], score)
        paths.append(np.asarray(decoded.path))
    assert any(np.any(paths[0] != other) for other in paths[1:])


def test_padding_and_neighbours_change_nothing():
    rng = np.random.default_rng(1)
    bigram = random_bigram(rng, 4)
    logs = np.log(rng.dirichlet(np.ones(4), (2, 9)))
    valid = np.arange(9)[None] < np.array([[9], [5]])
    both = d.viterbi(logs, valid, bigram)
    alone = d.viterbi(logs[1:, :5], valid[1:, :5], bigram)
    wider = d.viterbi(
        np.pad(logs, ((0, 0), (0, 3), (0, 0)), constant_values=5.0),
        np.pad(valid, ((0, 0), (0, 3))),
        bigram,
    )
    np.testing.assert_array_equal(both.path[1, :5], alone.path[0])
    np.testing.assert_array_equal(both.score[1], alone.score[0])
    np.testing.assert_array_equal(wider.path[:, :9], both.path)
    np.testing.assert_array_equal(wider.path[:, 9:], -1)
    np.testing.assert_array_equal(wider.score, both.score)


def test_one_compilation_and_single_precision():
    rng = np.random.default_rng(2)
    bigram = random_bigram(rng, 5)
    logs = np.log(rng.dirichlet(np.ones(5), (1, 7))).astype(np.float32)
    valid = np.ones((1, 7), bool)
    jitted = jax.jit(d.viterbi)
    found = [
        f(logs, valid, bigram, acoustic_weight=x)
        for f in (d.viterbi, jitted)
        for x in (0.5, 2.0)
    ]
    assert jitted._cache_size() == 1
    assert {x.score.dtype for x in found} == {np.dtype("float32")}
    for one, two in zip(found[:2], found[2:]):
        np.testing.assert_array_equal(one.path, two.path)


def test_no_possible_path_has_no_score():
    logs = jnp.full((1, 3, 3), -jnp.inf)
    bigram = d.count_bigram(LABELS, VALID, 3)
    assert d.viterbi(logs, np.ones((1, 3), bool), bigram).score[0] == -np.inf


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(valid=np.array([[True, False, True]])), "row 0. Put padding last"),
        (dict(valid=np.array([[False, False, False]])), "utterances without frames"),
        (dict(acoustic_weight=0.0), "`acoustic_weight` must be positive, got 0.0"),
        (dict(log_posteriors=np.full((1, 3, 2), np.nan)), "frame 0 of row 0"),
        (dict(log_posteriors=np.zeros((1, 3, 3))), "of the 3 phones"),
        (dict(log_priors=np.zeros(3)), "of the 2 phones"),
        (dict(valid=np.ones((1, 4), bool)), r"\(1, 3\), got \(1, 4\)"),
    ],
)
def test_bad_input_of_viterbi(change, message):
    bigram = random_bigram(np.random.default_rng(0), 2)
    given = dict(
        log_posteriors=np.zeros((1, 3, 2)), valid=np.ones((1, 3), bool), bigram=bigram
    )
    with pytest.raises(ValueError, match=message):
        d.viterbi(**{**given, **change})


@pytest.mark.parametrize("count", [d.count_bigram, d.count_priors])
@pytest.mark.parametrize(
    "change, message",
    [
        (dict(labels=LABELS + 1), "0 to 2, got values from 1 to 3"),
        (dict(labels=LABELS[:, :3]), "must have one shape"),
        (dict(valid=~VALID), "row 0"),
        (dict(valid=VALID[:0], labels=LABELS[:0]), "at least one utterance"),
        (dict(smoothing=0.0), "`smoothing` must be positive"),
        (dict(phones=0), "`phones` must be at least 1"),
    ],
)
def test_bad_input_of_counts(count, change, message):
    given = dict(labels=LABELS, valid=VALID, phones=3)
    with pytest.raises(ValueError, match=message):
        count(**{**given, **change})


def test_shapes_of_a_bigram_must_fit():
    with pytest.raises(ValueError, match=r"got \(2,\), \(2, 3\) and \(2,\)"):
        d.PhoneBigram(jnp.zeros(2), jnp.zeros((2, 3)), jnp.zeros(2))


def test_collapse():
    rows = d.collapse(np.array([[3, 3, 5, 3, -1], [0, 1, 1, 1, 1], [-1] * 5]))
    assert [x.tolist() for x in rows] == [[3, 5, 3], [0, 1], []]
    with pytest.raises(ValueError, match="must come last"):
        d.collapse(np.array([[3, -1, 3]]))


def test_scored_phones():
    place, names = ej.data.PHONES.index, ej.data.FOLDED_PHONES

    def scored(text, **how):
        given = np.array([place(x) for x in text.split()], int)
        return " ".join(names[k] for k in d.scored_phones(given, **how))

    text = "h# hv ix kcl pau k q ao ax-h zh nx epi h#"
    assert scored(text) == "sil hh ih sil sil k aa ah sh n sil sil"
    assert scored(text, silence=False) == "hh ih k aa ah sh n"
    assert scored("") == ""
    for wrong in (-1, 61):
        with pytest.raises(ValueError, match=f"{wrong}"):
            d.scored_phones(np.array([0, wrong]))


def edits(one, two):
    """By the textbook."""
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        new = [i]
        for j, b in enumerate(two, 1):
            new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (a != b)))
        row = new
    return row[-1]


def test_phone_error_rate_by_the_textbook():
    pytest.importorskip("jiwer")
    rng = np.random.default_rng(0)
    wanted, found = (
        [rng.integers(0, 12, size) for size in rng.integers(low, 9, 8)]
        for low in (1, 0)
    )
    total = sum(map(edits, wanted, found))
    assert d.phone_error_rate(wanted, found) == total / sum(map(len, wanted))
    assert d.phone_error_rate(wanted, wanted) == 0
    assert d.phone_error_rate([np.array([1, 12])], [np.array([11, 2, 1])]) == 1.5


def test_word_error_rate():
    pytest.importorskip("jiwer")
    rate = d.word_error_rate
    assert rate(["the cat sat"], ["the cat  sat down"]) == pytest.approx(1 / 3)
    assert rate(["the cat", "sat"], ["", "Sat"]) == 1.0
    with pytest.raises(ValueError, match="got 1 and 2"):
        rate(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="a single text"):
        rate("a b", ["a b"])
    with pytest.raises(ValueError, match="no number to divide by"):
        rate([" "], ["a"])


def test_without_jiwer(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "jiwer":
            raise ImportError("no jiwer here")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"eventjax\[decode\]"):
        d.phone_error_rate([np.array([1])], [np.array([1])])
