"""Canary ramps played through with made-up requests: the champion's arm and a canary that is as good, or is not."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from evergreen.tasks.core.config.canary import GuardrailLimits, Ramp
from evergreen.tasks.core.traffic.counts import ArmFigures, measure_reference
from evergreen.tasks.core.traffic.decide import Round, TrafficAction, decide_traffic
from evergreen.tasks.core.traffic.guardrails import round_number
from evergreen.tasks.core.traffic.plan import plan_traffic
from evergreen.tasks.core.traffic.state import TrafficState
from evergreen.tasks.core.traffic.variant import Role, Variant

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CANARY = Variant(name="v8", role=Role.CHALLENGER, share=0.01, members=((8, 1.0),))


@dataclass(frozen=True)
class World:
    """How requests of both arms come out; what differs in the canary is its own."""

    errors: float = 0.01
    canary_errors: float = 0.01
    slower: float = 1.0
    shift: float = 0.0
    """By how much the canary's scores are moved, in ranks of the champion's."""
    spread: float = 0.5
    """Standard deviation of the logarithm of the time that one of the same rows takes, from call to call."""

    def slower_in(self, rng, n, ratio):
        """Return in how many of n duels the canary takes more than ``ratio`` times as long."""
        seconds, usual = rng.lognormal(0.0, self.spread, (2, n))
        return int((self.slower * seconds > ratio * usual).sum())

    def scores(self, rng, n, canary):
        """Return scores whose rank in the canary is higher by ``shift`` on average: u -> 1 - (1 - u)^b."""
        return 1.0 - (1.0 - rng.random(n)) ** np.where(canary, 1.0 / (0.5 - self.shift) - 1.0, 1.0)


def play_ramp(world, rng, *, ramp=None, limits=None, looks=10):
    """Play a ramp to its end, with ``looks`` judgements in the least rows of a round; every row is an entity.

    Returns
    -------
    tuple of (Act, int)
        How it ended, and how many rows the canary answered until then.
    """
    limits = limits or GuardrailLimits(min_rows=200, min_time=MINUTE)
    ramp = ramp or Ramp(arm="v8", min_rows=limits.min_rows, min_time=limits.min_time)
    state = TrafficState(
        plan=plan_traffic([CANARY], salt="s").with_share("v8", ramp.steps[0]), set_at=START, ramp=ramp, step=0
    )
    now, number, served = START, 0, 0
    reference = _reference(world, rng)
    while True:
        number = round_number(set_at=START, now=now, min_time=limits.min_time, before=number)
        tally, since = _Tally(reference), now
        for look in range(1, 100 * looks):
            n = int(np.ceil(ramp.min_rows / looks / state.plan.variant("v8").share))
            served += tally.serve(world, rng, n, share=state.plan.variant("v8").share)
            now = since + look * MINUTE / looks
            decision = decide_traffic(
                state, Round(number=number, since=since, figures=tally.figures()), now=now, limits=limits
            )
            if decision.act in (TrafficAction.STOP, TrafficAction.DONE):
                return decision.act, served
            state = decision.state
            if decision.next_round:
                break
        reference = tally.next_reference()


def rate_of(world, *, trials, seed, wanted=TrafficAction.STOP, **options):
    """Return the share of ramps that end so, and the median of rows the canary answered in these."""
    ends = [play_ramp(world, np.random.default_rng([seed, n]), **options) for n in range(trials)]
    rows = [served for act, served in ends if act is wanted]
    return len(rows) / trials, float(np.median(rows)) if rows else float("nan")


def _reference(world, rng):
    nobody = np.zeros(200, dtype=bool)
    return measure_reference(world.scores(rng, 200, nobody))


class _Tally:
    """Counts like `RoundCounts`, many rows at once."""

    def __init__(self, reference, ratio=1.5):
        self.reference, self.ratio = reference, ratio
        self.sums = np.zeros((2, 5), dtype=int)
        self.ranks = np.zeros((2, len(reference.ranks)), dtype=int)
        self.recent = []

    def serve(self, world, rng, n, *, share):
        canary = rng.random(n) < share
        failed = rng.random(n) < np.where(canary, world.canary_errors, world.errors)
        score = world.scores(rng, n, canary)
        for arm in (0, 1):
            own = canary == bool(arm)
            good = own & ~failed
            self.sums[arm] += [own.sum(), (own & failed).sum(), good.sum(), 0, 0]
            self.ranks[arm] += np.bincount(
                np.searchsorted(self.reference.edges, score[good]), minlength=len(self.reference.ranks)
            )
        self.recent = score[~canary & ~failed][-500:]
        duels = int((canary & ~failed).sum())
        self.sums[1, 3:] += [duels, world.slower_in(rng, duels, self.ratio)]
        return int(canary.sum())

    def figures(self):
        return tuple(
            ArmFigures(
                name=name,
                rows=int(rows),
                errors=int(errors),
                erred=int(errors),
                answered=int(answered),
                duels=int(duels),
                slower=int(slower),
                ranks=tuple(
                    (rank, int(count))
                    for rank, count in zip(self.reference.ranks, ranks, strict=True)
                    if count
                ),
            )
            for name, (rows, errors, answered, duels, slower), ranks in zip(
                ("champion", "v8"), self.sums, self.ranks, strict=True
            )
        )

    def next_reference(self):
        return measure_reference(self.recent) if len(self.recent) >= 200 else self.reference


def literal_rate(world, *, trials, seed, limits=None, looks=10):
    """Return the share of ramps that three fixed-sample tests at 5 % send back, looked at as often."""
    return float(
        np.mean([_literal(world, np.random.default_rng([seed, n]), limits, looks) for n in range(trials)])
    )


def _literal(world, rng, limits, looks):
    limits = limits or GuardrailLimits(min_rows=200, min_time=MINUTE)
    reference = _reference(world, rng)
    for share in (0.01, 0.05, 0.25, 0.5):
        tally = _Tally(reference)
        for _ in range(looks):
            tally.serve(world, rng, int(np.ceil(limits.min_rows / looks / share)), share=share)
            champion, arm = tally.figures()
            tests = (
                _z(arm.errors, arm.rows, champion.errors, champion.rows),
                (2 * arm.slower - arm.duels) / np.sqrt(max(arm.duels, 1)),
                abs(arm.mean_rank - champion.mean_rank) / np.sqrt((1 / arm.scored + 1 / champion.scored) / 12)
                if arm.scored and champion.scored
                else 0.0,
            )
            if max(tests[0] / 1.645, tests[1] / 1.645, tests[2] / 1.96) > 1:
                return True
    return False


def _z(events, n, events_before, n_before):
    """Return the statistic of two proportions, positive where the first is larger."""
    if not n or not n_before:
        return 0.0
    pooled = (events + events_before) / (n + n_before)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_before))
    return (events / n - events_before / n_before) / error if error else 0.0
