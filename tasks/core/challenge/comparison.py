"""Two models to be compared: which, and on which rows that neither was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evergreen.tasks.core.arrays import BoolArray, IntArray
from evergreen.tasks.core.challenge.blocks import make_blocks
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import format_position, span_length
from evergreen.tasks.core.data.rows import Parts, Rows, SplitPlan
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.data.split import unseen_rows
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.promotion.plan import CANDIDATE, CHALLENGER, CHAMPION
from evergreen.tasks.core.promotion.registry_state import EVALUATED_AS, REJECTED_FOR, VALIDATION_STATUS
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.training.baseline import baseline_scores, no_skill_baseline
from evergreen.tasks.core.training.features import ModelSpec
from evergreen.tasks.core.training.scoring import Scorer


@dataclass(frozen=True, kw_only=True)
class Contestants:
    """The two sides of a challenge."""

    challenger: int
    """Version under @challenger."""
    champion: int | None
    """Version under @champion; None before the first, where the naive baseline stands for it."""
    evaluated_version: int | None = None
    """The judged version the champion was refitted from (tag ``evergreen.evaluated_as``): the same recipe
    that never saw the evaluation rows. It stands in for a champion that did."""

    @property
    def defenders(self) -> tuple[int, ...]:
        """Versions that may stand for the champion, in order of preference."""
        return tuple(one for one in (self.champion, self.evaluated_version) if one is not None)


def choose_contestants(
    *, model: str, aliases: Mapping[str, int], tags: Mapping[int, Mapping[str, str]]
) -> Contestants:
    """Name the challenger and what it is compared with.

    Parameters
    ----------
    model : str
        Registered model name, for messages.
    aliases : mapping of str to int
        The model's aliases.
    tags : mapping of int to mapping
        Tags by version.

    Raises
    ------
    NotLearnable
        ``rejected``, ``not_validated`` or ``no_challenger`` when no version passed the gate (``rejected`` also when
        the candidate that was is newer than the challenger);
        ``already_champion`` when the challenger is champion, or what the champion is a refit of.
    """
    challenger, candidate = aliases.get(CHALLENGER), aliases.get(CANDIDATE)
    status = tags.get(candidate, {}).get(VALIDATION_STATUS, "pending") if candidate is not None else None
    if challenger is None or (candidate and candidate > challenger and status == "rejected"):
        raise _no_challenger(model, candidate, status, tags)
    champion = aliases.get(CHAMPION)
    tag = tags.get(champion, {}).get(EVALUATED_AS, "") if champion is not None else ""
    evaluated = int(tag) if tag.isdecimal() and int(tag) in tags else None
    if challenger in (champion, evaluated):
        refit = "" if challenger == champion else f" as its refit, version {champion}"
        message = f"Version {challenger} of '{model}' is champion already{refit}; train a new candidate."
        raise NotLearnable("already_champion", message)
    return Contestants(challenger=challenger, champion=champion, evaluated_version=evaluated)


def _no_challenger(
    model: str, candidate: int | None, status: str | None, tags: Mapping[int, Mapping[str, str]]
) -> NotLearnable:
    if candidate is None:
        message = f"'{model}' has no candidate and no challenger. Run 'evergreen train {model}' first."
        return NotLearnable("no_challenger", message)
    named = f"Candidate version {candidate} of '{model}'"
    if status == "rejected":
        why = tags[candidate].get(REJECTED_FOR, "see its validation report")
        message = f"{named} was rejected by the gate ({why}), so it may not challenge."
        return NotLearnable("rejected", message, observed=status, limit="approved")
    if status == "approved":
        message = f"{named} is approved but was compared with the champion already. Train a new candidate."
        return NotLearnable("no_challenger", message)
    message = f"{named} has not passed the gate. Run 'evergreen validate {model}'."
    return NotLearnable("not_validated", message, observed=status, limit="approved")


# The comparison: two models on the same rows, none of which either was trained or tuned on.


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """The answers of both sides on the same rows."""

    metric: Metric
    """The metric that decides."""
    champion: Scored
    challenger: Scored
    """Answers of the defender (or the naive baseline) and of the challenger, shape (n,) each."""
    blocks: IntArray | None
    """Shape (n,). Block of each row; None where rows are declared independent."""
    defender: int | None
    """Version whose answers ``champion`` holds; None for the naive baseline."""
    fingerprint: str
    """SHA-256 of the rows."""
    window: tuple[str, str] | None
    """First and last moment of the rows, as text."""


def choose_evaluation_rows(
    challenger: BoolArray, defenders: Mapping[int, BoolArray], *, model: str, window: str
) -> tuple[int | None, BoolArray]:
    """Choose the defender and the rows that neither side was trained on.

    The champion itself defends wherever at least half of the rows are new to it. The version it was judged as
    (and refitted from) stands in where that leaves more rows.

    Parameters
    ----------
    challenger : array of bool, shape (n,)
        Rows the challenger was not trained on.
    defenders : mapping of int to array of bool, shape (n,)
        The same for each version that may defend, the champion first; empty where there is no champion.
    model, window : str
        For messages.

    Returns
    -------
    tuple of int and array of bool, shape (n,)
        The version that defends (None: the naive baseline does), and the rows that both are compared on.

    Raises
    ------
    NotLearnable
        ``no_unseen_rows`` when nothing is left.

    Examples
    --------
    >>> new, old = np.array([True, True]), np.array([False, False])
    >>> choose_evaluation_rows(new, {5: old, 4: new}, model="fraud", window="7d")[0]
    4
    """
    defender, usable = None, challenger
    if defenders:
        shared = {version: challenger & unseen for version, unseen in defenders.items()}
        counts = {version: int(rows.sum()) for version, rows in shared.items()}
        champion, most = next(iter(counts)), max(counts, key=counts.__getitem__)
        defender = champion if counts[champion] and counts[champion] * 2 >= counts[most] else most
        usable = shared[defender]
    if not usable.any():
        message = (
            f"No row of the validation window ({window}) is new to both champion and challenger of '{model}'. "
            "Wait for newer labelled rows, or train a challenger that leaves them out."
        )
        raise NotLearnable("no_unseen_rows", message, observed=0, limit=1, n=len(usable))
    return defender, usable


def check_same_clock(plan: SplitPlan, config: ModelConfig, *, version: int) -> None:
    """Refuse a version whose split lies on another clock: its end says nothing about the rows of now.

    Raises
    ------
    NotLearnable
        ``clock_changed``.
    """
    then, now = (plan.clock, plan.time), (config.data.clock, config.data.time)
    if plan.method != "time" or then == now:
        return
    before, after = (f"{clock} in {time or 'file order'}" for clock, time in (then, now))
    message = (
        f"Version {version} was trained by another clock ({before}) than the configuration names now "
        f"({after}), so it cannot be proved which rows it was not trained on. Restore data.clock and "
        "data.time, or train a new version and promote it by hand."
    )
    raise NotLearnable("clock_changed", message, observed=after, limit=before)


def needs_blocks(config: ModelConfig, *, timed: bool) -> bool:
    """Return whether rows of this model have to be blocked.

    ``auto`` blocks wherever there is a clock, a group or an entity.
    """
    if config.evaluation.dependence != "auto":
        return config.evaluation.dependence == "blocked"
    return timed or config.data.entity is not None or config.data.group is not None


def block_rows(rows: Rows, *, schema: Schema, config: ModelConfig) -> IntArray | None:
    """Number the block of each row; None where rows are independent.

    Parameters
    ----------
    rows : Rows
        The n rows of a comparison, in clock order where there is a clock.
    schema : Schema
        Names of entity and group.
    config : ModelConfig
        ``evaluation.dependence``, ``evaluation.block`` and ``evaluation.min_blocks``.

    Raises
    ------
    NotLearnable
        ``too_few_blocks``, with the number needed.
    """
    if not needs_blocks(config, timed=rows.positions is not None):
        return None
    roles, length, clock = schema.with_roles_of(config), config.evaluation.block, config.data.clock
    entity, group = (
        rows.frame[name].to_numpy() if name in rows.frame.columns else None
        for name in (roles.entity, roles.group)
    )
    return make_blocks(
        rows.positions,
        unit="rows" if clock == "rows" else "seconds",
        length=None if length is None else span_length(length, clock=clock),
        entity=group if entity is None else entity,
        group=group,
        min_blocks=config.evaluation.min_blocks,
    )


def score_comparison(
    config: ModelConfig,
    contestants: Contestants,
    models: Mapping[int, Scorer],
    parts: Parts,
    *,
    metric: Metric,
) -> Comparison:
    """Score both sides on the same rows.

    Parameters
    ----------
    config : ModelConfig
        The model's configuration.
    contestants : Contestants
        Which versions are compared.
    models : mapping of int to Scorer
        The challenger and every version that may defend.
    parts : Parts
        Rows as of the challenge: they are compared on its evaluation rows; the naive baseline, where there is no
        champion, is counted on its training rows.
    metric : Metric
        The deciding one.

    Raises
    ------
    NotLearnable
        ``clock_changed``, ``no_unseen_rows``, ``too_few_blocks``, …: they cannot be compared.
    """
    for version, model in models.items():
        check_same_clock(model.plan, config, version=version)
    unseen = {version: unseen_rows(model.plan, parts.evaluation) for version, model in models.items()}
    defender, usable = choose_evaluation_rows(
        unseen[contestants.challenger],
        {version: unseen[version] for version in contestants.defenders},
        model=config.model,
        window=str(config.evaluation.validation_window),
    )
    challenger, rows = models[contestants.challenger], parts.evaluation.take(usable)
    answers, fingerprint = challenger.score(rows, config=config), rows.fingerprint
    schema, window = challenger.schema, None
    if defender is None:
        rng = np.random.default_rng(seed_for(config.model, fingerprint, "baseline"))
        spec = ModelSpec(schema, config, challenger.classes)
        baseline = baseline_scores("constant", spec, training=parts.training, rows=rows, rng=rng)
        metric, defence = no_skill_baseline(metric, baseline=baseline, answers=answers, rng=rng)
    else:
        defence = models[defender].score(rows, config=config)
    if rows.positions is not None and len(rows):
        clock, span = config.data.clock, (float(rows.positions.min()), float(rows.positions.max()))
        window = format_position(span[0], clock=clock), format_position(span[1], clock=clock)
    return Comparison(
        metric=metric,
        champion=defence,
        challenger=answers,
        blocks=block_rows(rows, schema=schema, config=config),
        defender=defender,
        fingerprint=fingerprint,
        window=window,
    )
