"""Ninety stationary days, a retraining forced every week: how often an equal challenger takes the throne.

Both sides are one recipe fitted on 28 days of the same stream, so neither is better but by luck. Rates: docs/limits.md.
"""

import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from evergreen.tasks.core.challenge import evidence as judgement
from evergreen.tasks.core.challenge.decision import judge_challenge
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.replay.run import ConfiguredPolicy, StepChecks
from evergreen.tasks.core.replay.setup import begin_replay, parse_policy
from evergreen.tasks.core.replay.stages import PolicyState
from evergreen.tasks.core.verdict import Outcome, State
from tests.support.replays import BEGIN, make_history
from tests.support.simulated_models import lower_bound, upper_bound
from tests.support.training_data import linear, model_config

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]
SEEDS, PER_DAY, LEARNED, WATCHED = 200, 40, 42, 91
LEAST = {"any improvement would do": 0.0, "default": 0.02}
"""``evaluation.min_improvement``. The first one governs; the other judges the same challenges."""


@dataclass(frozen=True)
class Stream:
    """What a stream is: its problem and metric, and which of its daily means follow AR(.9) with sd 0.5."""

    name: str
    problem: str
    metric: str
    wandering: frozenset = frozenset()


STREAMS = {
    one.name: one
    for one in (
        Stream("logistic, independent rows", "binary", "roc_auc"),
        Stream("logistic, AR(.9) daily means", "binary", "roc_auc", frozenset({"x", "z", "level"})),
        Stream("linear, independent rows", "regression", "rmse"),
        Stream("linear, AR(.9) daily means", "regression", "rmse", frozenset({"x", "z"})),
    )
}
UNSEEN = Stream("linear, an unseen level AR(.9)", "regression", "rmse", frozenset({"x", "z", "level"}))


def make_stream(stream, rng, *, days=LEARNED + WATCHED + 1, phi=0.9):
    """Return rows of a stream; ``phi`` 0 draws each day's means anew."""

    def mean(name):
        if name not in stream.wandering:
            return np.zeros(days * PER_DAY)
        noise = rng.normal(size=days + 100)
        return 0.5 * np.repeat(lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise)[100:], PER_DAY)

    n = days * PER_DAY
    frame = pd.DataFrame({"at": BEGIN + pd.to_timedelta(np.arange(n) * 86400 / PER_DAY, unit="s")})
    frame["x"], frame["z"] = (rng.normal(size=n) + mean(name) for name in ("x", "z"))
    strength = 1.5 * frame["x"] + 0.5 * frame["z"] + mean("level")
    if stream.problem == "binary":
        frame["y"] = (strength + rng.logistic(size=n) > 0).astype(int)
    else:
        frame["y"] = strength + rng.normal(size=n)
    return frame


def configure(stream):
    """Return the model under a policy that forces a retraining every week, whatever was found before."""
    config = model_config(
        stream.problem,
        candidates=(linear(stream.problem, "one"),),
        data={"time": "at"},
        evaluation={"metric": stream.metric, "min_improvement": 0.0},
        monitoring={"window": "7d"},
        retraining={"window": "28d"},
        contract={"enabled": False},
        validation={"leakage_score": 1.0},
    )
    return parse_policy("periodic:7d", config).config


class Asleep:
    """Who watches nothing: these retrainings go by the calendar alone."""

    entries = ()

    def check_windows(self, *_):
        return StepChecks()


class Jury:
    """Judges as always, and notes how each rule would have judged the same difference."""

    def __init__(self):
        self.noted, self._judge = [], judge_challenge

    def __call__(self, difference, rule):
        found = {name: self._judge(difference, replace(rule, min_improvement=x)) for name, x in LEAST.items()}
        outcomes = {name: one.outcome for name, one in found.items()}
        self.noted.append((outcomes, difference.difference > 0, difference.level))
        return found["any improvement would do"]


def replay_quarter(stream, seed):
    """Replay one stream; return (outcomes by rule, ahead, level, true gain) of each challenge, and the other ends."""
    config, jury = configure(stream), Jury()
    history = make_history(make_stream(stream, np.random.default_rng([seed, 20260401])), config)
    begun = begin_replay(history, config, start=BEGIN.timestamp() + LEARNED * 86400.0)
    state = PolicyState(
        config=begun.recipe(config), history=begun.history, ledger=begun.ledger.copy(), tools=begun.tools
    )
    run, challenges, others = ConfiguredPolicy(state, begun.registry), [], Counter()
    run.monitor = Asleep()
    with mock.patch.object(judgement, "judge_challenge", jury):
        for step in begun.steps:
            champion = run.champion
            retraining = run.act(step).retraining
            if len(jury.noted) == len(challenges):
                others[str(retraining and retraining.reasons[0].code)] += 1
                continue
            gain = (
                true_gain(stream, config, champion, retraining)
                if retraining.state is State.PROMOTED
                else None
            )
            challenges.append((*jury.noted[-1], gain))
    return challenges, others


def true_gain(stream, config, champion, retraining):
    """Return how much better the challenger is in the long run: on two thousand days whose means are drawn anew."""
    frame = make_stream(stream, np.random.default_rng(5), days=2_000, phi=0.0)
    rows = Rows(frame, np.arange(len(frame), dtype=float))
    metric = get_metric(stream.metric, problem=stream.problem)
    old, new = (metric(one.model.score(rows, config=config)) for one in (champion, retraining.trained))
    return float(metric.sign * (new - old))


@pytest.fixture(scope="module")
def measured():
    """Replays by stream, each done at first use."""
    return {}


def measure(measured, stream):
    """Replay all seeds of a stream; return what the challenges came to, by rule."""
    if stream.name not in measured:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=spawn, initializer=threadpool_limits, initargs=(1,)) as pool:
            jobs = [pool.submit(replay_quarter, stream, seed) for seed in range(SEEDS)]
            found = [job.result() for job in jobs]
        measured[stream.name] = {rule: summarise(found, rule) for rule in LEAST}
        for rule, summary in measured[stream.name].items():
            report(summary, stream, rule)
    return measured[stream.name]


def summarise(found, rule):
    """Count what challenges ended as under a rule."""
    quarters = [[(one[0][rule], *one[1:]) for one in challenges] for challenges, _ in found]
    every = [one for challenges in quarters for one in challenges]
    hits, unclear = (count(quarters, outcome) for outcome in (Outcome.PASS, Outcome.INSUFFICIENT))
    held = np.array([len(challenges) for challenges in quarters])
    return SimpleNamespace(
        challenges=len(every),
        ahead=float(np.mean([one[1] for one in every])),
        promoted=int(hits.sum()),
        insufficient=int(unclear.sum()),
        bound=bound(hits, held),
        bound_of_decided=bound(hits, held - unclear),
        wrong=sum(one[3] <= 0 for one in every if one[0] is Outcome.PASS),
        quarters=float((hits > 0).mean()),
        levels=(min(one[2] for one in every), max(one[2] for one in every)),
        others=sum((others for _, others in found), Counter()),
    )


def count(quarters, outcome):
    """Return how many challenges of each quarter ended so."""
    return np.array([sum(one[0] is outcome for one in challenges) for challenges in quarters])


def bound(hits, held):
    """Return the upper 95 % bound of a share: the exact one, or that which lets a stream's weeks hang together."""
    share = hits.sum() / held.sum()
    spread = np.sqrt(((hits - share * held) ** 2).sum() * len(hits) / (len(hits) - 1)) / held.sum()
    exact = upper_bound(int(hits.sum()), int(held.sum()), confidence=0.95)
    return max(exact, float(share + norm.ppf(0.95) * spread))


def report(found, stream, rule):
    """Show the row of docs/limits.md."""
    decided = found.challenges - found.insufficient
    print(
        f"\n| {stream.name} | {LEAST[rule]:g} | {found.challenges} | {found.ahead:.0%} | {found.insufficient} | "
        f"{found.promoted} | {found.promoted / found.challenges:.2%} ({found.bound:.2%}) | "
        f"{found.promoted / decided:.2%} ({found.bound_of_decided:.2%}) | {found.wrong} | {found.quarters:.1%} |"
    )
    if os.environ.get("SHOW_RATES"):
        low, high = found.levels
        print(f"  levels {low:.4f} to {high:.4f}; without a challenge: {dict(found.others)}")


@pytest.mark.parametrize("rule", LEAST)
@pytest.mark.parametrize("name", STREAMS)
def test_of_the_weekly_challenges_of_a_stationary_quarter_at_most_one_in_twenty_promotes(
    measured, name, rule
):
    found = measure(measured, STREAMS[name])[rule]
    assert found.challenges >= 12 * SEEDS
    assert (
        max(found.bound, found.bound_of_decided) <= 0.05
    )  # also where what ended InsufficientData is left out
    assert 0.3 < found.ahead < 0.7  # what 'challenger > champion' would have promoted


@pytest.mark.parametrize("rule", LEAST)
def test_where_models_truly_differ_by_what_they_happened_to_see_few_that_are_worse_are_promoted(
    measured, rule
):
    found = measure(measured, UNSEEN)[rule]
    assert upper_bound(found.wrong, found.challenges, confidence=0.95) <= 0.05
    assert lower_bound(found.promoted - found.wrong, found.promoted, confidence=0.95) > 0.5
