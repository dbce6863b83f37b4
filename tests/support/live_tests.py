"""Live tests: logged answers of made-up models, small enough to read, and many simulated trials side by side."""

from itertools import accumulate
from operator import add

import numpy as np

from evergreen.tasks.core.ab_testing.analysis import analyse_live_test
from evergreen.tasks.core.ab_testing.checks import MIN_UNITS, least_units
from evergreen.tasks.core.ab_testing.definition import Arm, LiveTest
from evergreen.tasks.core.ab_testing.effect import measure_effect
from evergreen.tasks.core.ab_testing.evidence import (
    ArmEvidence,
    Evidence,
    LoggedAnswers,
    UnitTable,
    gather_evidence,
    observe,
)
from evergreen.tasks.core.ab_testing.metric import is_hits, live_metric, span_of
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.stats.association import JointMoments
from evergreen.tasks.core.stats.sequential import compare_arms, compare_pairs, confidence_sequence
from evergreen.tasks.core.stats.sequential_counts import log_mcnemar_e_value
from tests.support.simulated_models import upper_bound

DAY = 86_400.0


def live_test(mode="arms", *, share=0.5, **changed):
    """Return a test of version 2 ('new') against version 1."""
    arms = mode == "arms"
    given = {
        "name": "spring",
        "hypothesis": "version 2 is right more often",
        "metric": "accuracy",
        "mode": mode,
        "control": Arm(name="champion", version=1, share=1 - share if arms else 1.0),
        "challengers": (Arm(name="new", version=2, share=share if arms else 1.0),),
        "min_improvement": 0.05,
        "start": 0.0,
        "longest": 30 * DAY,
        "alpha": 0.05,
    }
    return LiveTest(**{**given, **changed})


def answers(variants, right, *, positions=None, known_at=None, keys=None, units=None, score=None):
    """Return logged answers of a binary model: every outcome is 1, and an answer is right where it says so."""
    n = len(variants)
    place = np.arange(n, dtype=float) if positions is None else np.asarray(positions, dtype=float)
    label = np.asarray(right, dtype=int)
    return LoggedAnswers(
        keys=np.array([f"p{i}" for i in range(n)] if keys is None else keys, dtype=object),
        variants=np.asarray(variants, dtype=object),
        units=np.array([None] * n if units is None else units, dtype=object),
        positions=place,
        known_at=place if known_at is None else np.asarray(known_at, dtype=float),
        scored=Scored(y=np.ones(n, dtype=int), label=label, classes=(0, 1), score=score),
    )


def two_arms(rng, *, n=4_000, share=0.5, control=0.7, challenger=0.8, **more):
    """Return answers of both arms, each row by one of them."""
    variants = np.where(rng.random(n) < share, "new", "champion")
    right = rng.random(n) < np.where(variants == "new", challenger, control)
    return answers(variants, right, **more)


def pairs(rng, *, n=2_000, control=0.7, gain=0.4, loss=0.02, **more):
    """Return answers of the champion and of its shadow to the same rows."""
    before = rng.random(n) < control
    draw = rng.random(n)
    after = np.where(before, draw > loss, draw < gain)
    keys = [f"p{i}" for i in range(n)]
    place = np.tile(np.arange(n, dtype=float), 2)
    return answers(
        np.repeat(["champion", "new"], n), np.append(before, after), keys=keys + keys, positions=place, **more
    )


def look(test, answered, *, now=40 * DAY, metric="accuracy", problem="binary", clip=None, guards=None):
    """Gather the evidence of answers and look at it."""
    found = live_metric(metric, problem=problem)
    evidence = gather_evidence(observe(answered, found), test, now=now, clip=clip)
    return analyse_live_test(
        test, evidence, now=now, hits=is_hits(found), span=span_of(found, clip), guardrails=guards
    )


LOOKS = 500
ALPHA = 0.05


def rated_test(*, share=0.5, mode="arms", effect=0.02, **changed):
    """Return a test without a foreseeable end."""
    return live_test(mode, share=share, **{"min_improvement": effect, "longest": 1e9, **changed})


def running_moments(sets):
    """Return the moments of the first, the first two, … sets along the last leading axis."""
    axes = {"n": -1, "mean": -2, "comoments": -3}
    batched = {name: np.moveaxis(getattr(sets, name), axis, 0) for name, axis in axes.items()}
    batches = (
        JointMoments(**{name: part[k] for name, part in batched.items()}) for k in range(len(batched["n"]))
    )
    totals = list(accumulate(batches, add))
    stacked = {name: np.stack([getattr(one, name) for one in totals], axis) for name, axis in axes.items()}
    return JointMoments(**stacked)


def winners(effect, test, *, least, error=None):
    """Return by trial whether the sequence ever excluded 0, above and below, and whether a fixed z-test did."""
    low, high = confidence_sequence(effect.estimate, effect.standard_error, alpha=ALPHA, scale=test.scale)
    enough = np.minimum(effect.n_control, effect.n_variant) >= least
    with np.errstate(divide="ignore", invalid="ignore"):
        literal = np.abs(effect.estimate / (effect.standard_error if error is None else error)) > 1.96
    return [(mask & enough).any(axis=-1) for mask in (low > 0, high < 0, literal)]


def arms(pair, test, *, span=1.0):
    running = [running_moments(side) for side in pair]
    with np.errstate(divide="ignore", invalid="ignore"):
        welch = np.sqrt(sum(side.covariance()[..., 1, 1] / side.n for side in running))
    return winners(compare_arms(*running, span=span), test, least=MIN_UNITS["arms"], error=welch)


def show(what, better, worse, literal):
    false = int((better | worse).sum())
    bound = upper_bound(false, len(better))
    print(
        f"\n| {what} | {false / len(better):.4f} (at most {bound:.4f}) | {better.mean():.4f} / {worse.mean():.4f} | "
        f"{literal.mean():.3f} |",
        end="",
    )
    return bound


def moments_of_sums(n, total, squares):
    """Return the moments of single rows (a one and a value a row) from counts, sums and sums of squares."""
    n, total, squares = (np.asarray(x, dtype=float) for x in (n, total, squares))
    mean = np.divide(total, n, out=np.zeros(n.shape), where=n > 0)
    comoments = np.zeros((*n.shape, 2, 2))
    comoments[..., 1, 1] = np.maximum(squares - n * mean**2, 0.0)
    return JointMoments(n=n, mean=np.stack([np.where(n > 0, 1.0, 0.0), mean], -1), comoments=comoments)


def hit_batches(rng, *, trials, batch, share, control, challenger, looks=LOOKS):
    """Return both arms' moments by batch of right-or-wrong values with these shares right."""
    shape = (trials, looks)
    n = rng.binomial(batch, share, shape)
    right = rng.binomial(n, challenger)
    others = rng.binomial(batch - n, control)
    return moments_of_sums(batch - n, others, others), moments_of_sums(n, right, right)


def value_batches(rng, draw, *, trials, batch, share, clip, better_by=0.0, looks=LOOKS, chunk=50):
    """Return both arms' moments by batch of values that ``draw(rng, shape)`` gives, clipped or (None) as they are."""
    parts = []
    for first in range(0, trials, chunk):
        shape = (min(chunk, trials - first), looks, batch)
        arm = rng.random(shape, dtype=np.float32) < share
        raw = draw(rng, shape) + better_by * arm
        x = raw if clip is None else np.clip(raw, *clip)
        theirs = np.where(arm, x, 0.0)
        ones, all_of = [arm.sum(-1), theirs.sum(-1), (theirs * theirs).sum(-1)], [x.sum(-1), (x * x).sum(-1)]
        parts.append([batch - ones[0], all_of[0] - ones[1], all_of[1] - ones[2], *ones])
    sums = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return moments_of_sums(*sums[:3]), moments_of_sums(*sums[3:])


def purchases(rng, shape):
    """Profit a row: nine in ten buy nothing and cost one; the others' baskets are lognormal with a heavy tail."""
    buys = rng.random(shape, dtype=np.float32) < 0.1
    basket = np.exp(1.5 * rng.standard_normal(shape, dtype=np.float32) + 2.0)
    return np.where(buys, basket, 0.0) - 1.0


def pareto(rng, shape):
    """Profit a row with infinite variance: Pareto of index 1.5, less its mean."""
    return (1.0 - rng.random(shape, dtype=np.float32)) ** (-1 / 1.5) - 3.0


def regimes(rng, *, trials, blocks, rows, length, apart=0.2, discordant=0.1):
    """Return lost and won pairs by cell, shape (trials, blocks, cells): two models of equal accuracy in the long run.

    For ``length`` rows on end the challenger wins .5 + apart or .5 - apart of the discordant rows.
    """
    cell = int(np.gcd(rows, length))
    cells, per = blocks * rows // cell, length // cell
    sign = rng.choice([-1, 1], (trials, cells // per + 2))
    place = (np.arange(cells) + rng.integers(0, per, (trials, 1))) // per
    share = 0.5 + apart * np.take_along_axis(sign, place, 1)
    both = rng.binomial(cell, discordant, (trials, cells))
    won = rng.binomial(both, share)
    shape = (trials, blocks, rows // cell)
    return (both - won).reshape(shape), won.reshape(shape)


def block_tests(lost, won, test, *, rows):
    """Look at each trial after every block; return whether each ever named a better and a worse challenger.

    Neighbours can only widen a sequence: `measure` is asked where that without them leaves 0 out, until it does so too.
    """
    apart = (won - lost).sum(-1).astype(float)
    table = np.stack([np.full(apart.shape, float(rows)), np.zeros(apart.shape), apart], axis=-1)
    effect = compare_pairs(running_moments(JointMoments.of(table[..., None, :])))
    low, high = confidence_sequence(
        effect.estimate, effect.standard_error, alpha=test.alpha, scale=test.scale, weight=effect.weight
    )
    left_out = ((low > 0) | (high < 0)) & (effect.n_control >= least_units(test))
    better, worse = np.zeros((2, len(apart)), dtype=bool)
    for trial, look in zip(*np.nonzero(left_out), strict=True):
        if not (better[trial] or worse[trial]):
            seen = measured_blocks(table[trial, : look + 1], test)
            better[trial], worse[trial] = seen.low > 0, seen.high < 0
    return better, worse


def measured_blocks(sums, test):
    """Return what is measured of blocks, one row each: how many rows it has, and the sums of both sides."""
    names = np.array([f"{i:012d}" for i in range(len(sums))], dtype=object)
    evidence = Evidence(arms={"new": ArmEvidence(table=UnitTable(names=names, sums=sums))})
    return measure_effect(evidence, test, test.challengers[0], alpha=test.alpha, scale=test.scale, hits=True)


def row_by_row(lost, won, test):
    """Return by trial whether the e-value, and whether McNemar's test, of single rows ever told the two apart."""
    b, c = (x.reshape(len(x), -1).cumsum(1) for x in (lost, won))
    e = log_mcnemar_e_value(b, c, concentration=test.concentration) >= -np.log(ALPHA)
    return e.any(axis=1), ((b - c) ** 2 > 1.96**2 * np.maximum(b + c, 30)).any(axis=1)
