"""What monitoring is given and tells: a trained version with its rows and answers, and windows as reported."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.drift.answers import prepare_answers
from evergreen.tasks.core.drift.estimate import Reference, measure_worth
from evergreen.tasks.core.drift.types import DriftKind, KindVerdict, Level, MovedColumn
from evergreen.tasks.core.metrics.registry import deciding_metric, metrics_of
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.monitoring.reference_series import reference_series
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import measure_profile
from evergreen.tasks.core.profiles.reference import reference_profiles
from evergreen.tasks.core.reports.monitored_model import MonitoredModel
from evergreen.tasks.core.training.features import class_labels, feature_frame, outcomes
from evergreen.tasks.core.verdict import Reason
from tests.support.training_data import make_rows, model_config, schema

MINUTE = 60.0


class Trained:
    """A binary, multiclass, regression or ranking model whose scores are drawn beside the rows."""

    def __init__(self, problem="binary", *, n=6000, seed=0, step=MINUTE, **sections):
        ranked = problem == "ranking"
        self.problem = problem
        self.schema = schema(**({"group": "race"} if ranked else {}))
        data = {"time": "at", **({"group": "race"} if ranked else {})}
        self.config = model_config(problem, data=data, **{"monitoring": {"window": "8h"}, **sections})
        self.rows, self.scored = self.window(n=n, seed=seed, step=step)
        self.half = self.scored.take(np.arange(n // 2, n))
        self.metric = deciding_metric(self.config)

    def window(self, *, n=500, seed=1, start=0.0, step=MINUTE, shift=0.0, flip=0.0, labelled=1.0):
        """Return rows and answers; ``shift`` moves a feature, ``flip`` spoils outcomes, ``labelled`` are known."""
        rng = np.random.default_rng(seed)
        made = make_rows(self.problem, n=n, seed=seed)
        frame = made.frame.assign(signal=made.frame["signal"] + shift)
        rows = Rows(frame, start + np.arange(n) * step)
        y = outcomes(frame, self.schema, self.config)
        if flip:
            spoilt = rng.random(n) < flip
            y = y.copy()
            y[spoilt] = rng.permutation(y[spoilt])
        if labelled < 1:
            y = y.astype(object)
            y[rng.random(n) >= labelled] = None
        return rows, self._answer(rows, y)

    def features(self, rows):
        return feature_frame(rows.frame, self.schema)

    def reference_document(self, **options):
        """Return ``profile.json``."""
        plain = reference_profiles(
            self.rows,
            self.half,
            schema=self.schema,
            config=self.config,
            score_source="out_of_fold",
            **options,
        )
        plain["worth"] = measure_worth(self.half, metrics_of(self.config), problem=self.problem)
        return plain

    def watch(self):
        reference = Reference.from_dict(self.reference_document())
        return prepare_answers(reference, config=self.config, metric=self.metric)

    def past(self, watch=None, **options):
        given = {"rows": self.rows, "scored": self.half, **options}
        return reference_series(
            given["rows"],
            given["scored"],
            monitor=watch or self.watch(),
            schema=self.schema,
            config=self.config,
        )

    def _answer(self, rows, y):
        frame = rows.frame
        strength = 2 * frame["signal"].to_numpy() + (frame["colour"] == "red").to_numpy()
        options = {"y": y, "positions": rows.positions}
        if self.problem == "regression":
            return Scored(score=strength, **options)
        if self.problem == "ranking":
            return Scored(score=strength, group=frame["race"].to_numpy(), **options)
        if self.problem == "multiclass":
            return self._classes(strength, options)
        chance = 1 / (1 + np.exp(-(strength - 0.3) / 0.29))
        label = np.where(chance >= 0.5, "yes", "no")
        return Scored(score=chance, label=label, classes=("no", "yes"), positive_class="yes", **options)

    def _classes(self, strength, options):
        from scipy.stats import norm

        low, top = norm.cdf(-1, loc=strength, scale=0.5), norm.sf(1, loc=strength, scale=0.5)
        score = np.column_stack([low, 1 - low - top, top])
        classes = class_labels(np.array(["low", "mid", "top"]), self.config)
        return Scored(
            score=score, label=np.asarray(classes)[score.argmax(axis=1)], classes=classes, **options
        )


BEGIN = datetime(2024, 3, 1, tzinfo=UTC)


def feature_names(features):
    """Return feature names: numbers mostly, every fourth a category."""
    return [f"{'plan' if place % 4 == 3 else 'amount'}_{place}" for place in range(features)]


def moved(column, kind=DriftKind.DATA, *, effect=0.12, limit=0.05, signal="location", alarm=True):
    return MovedColumn(
        column=column,
        kind=kind,
        signal=signal,
        observed=effect,
        expected=0.0,
        limit=limit,
        p_value=1e-7,
        adjusted_p_value=1e-5,
        alarm=alarm,
    )


def measure(column, psi, *, n=500, drifted=False):
    return {
        "column": column,
        "kind": "categorical" if column.startswith("plan") else "numeric",
        "n": n,
        "psi": psi,
        "kl": None if psi is None else psi / 2,
        "js": None if psi is None else psi / 3,
        "ks": psi,
        "p_value": 0.2,
        "adjusted_p_value": 0.5,
        "drifted": drifted,
    }


def window(
    place, *, verdicts=(), columns=(), performance=None, n=500, version=1, labelled=None, clock="timestamp"
):
    """Return one window; ``verdicts`` are its KindVerdicts."""
    start, end = BEGIN + timedelta(hours=place), BEGIN + timedelta(hours=place + 1)
    texts = (
        (str(place * 500), str(place * 500 + 500))
        if clock == "rows"
        else (start.isoformat(), end.isoformat())
    )
    levels = [verdict.level for verdict in verdicts]
    order = [Level.INSUFFICIENT, Level.QUIET, Level.WARNING, Level.DRIFT]
    return {
        "from": texts[0],
        "to": texts[1],
        "start": place * 500.0 if clock == "rows" else start.timestamp(),
        "end": place * 500.0 + 500 if clock == "rows" else end.timestamp(),
        "n": n,
        "labelled": n if labelled is None else labelled,
        "version": version,
        "level": max(levels, key=order.index, default=Level.INSUFFICIENT).value,
        "verdicts": {verdict.kind.value: verdict.level.value for verdict in verdicts},
        "kinds": {verdict.kind.value: verdict.to_dict() for verdict in verdicts},
        "moved": [one.to_dict() for verdict in verdicts for one in verdict.moved],
        "columns": list(columns),
        "performance": performance,
    }


def verdict(kind, *moves, level=None, reasons=()):
    """Return what is said of a kind: drift where an alarm is among the moves, a warning with others."""
    found = Level.DRIFT if any(one.alarm for one in moves) else Level.WARNING if moves else Level.QUIET
    return KindVerdict(kind=kind, level=level or found, moved=tuple(moves), reasons=tuple(reasons))


def insufficient(kind, n):
    """Return what is said of a kind in a window that is too small."""
    reason = Reason(
        code="too_few_rows",
        message=f"{n} rows are too few to judge {kind.value} drift by; 100 would do.",
        observed=float(n),
        limit=100.0,
        n=n,
    )
    return verdict(kind, level=Level.INSUFFICIENT, reasons=(reason,))


def performance(value, *, estimated=False, half=0.02, n=500, reference=0.78):
    return {
        "metric": "roc_auc",
        "value": value,
        "low": value - half,
        "high": value + half,
        "reference": reference,
        "drop": (reference - value) / reference,
        "estimated": estimated,
        "n": n,
    }


def example_windows(features=6, windows=60, *, seed=0, promoted=None, clock="timestamp"):
    """Return windows: quiet, one too small, then a tenth of the columns drift away and performance follows."""
    rng = np.random.default_rng(seed)
    adrift = feature_names(features)[: max(1, features // 10)]
    onset, late = int(windows * 0.7), max(1, windows // 20)
    told = []
    for place in range(windows):
        after = max(0, place - onset + 1) if windows > 1 else 2
        shift = min(1.0, after / 4)
        if place == windows // 3 and windows > 3:
            small = [insufficient(kind, 12) for kind in DriftKind]
            empty = [measure(name, None, n=12, drifted=None) for name in feature_names(features)]
            told.append(window(place, verdicts=small, n=12, clock=clock, columns=empty))
            continue
        psi = {
            name: rng.gamma(2, 0.008) + (0.4 * shift if name in adrift else 0)
            for name in feature_names(features)
        }
        moves = [moved(name, effect=0.15 * shift, alarm=after > 1) for name in adrift if after]
        kinds = [verdict(DriftKind.DATA, *moves), verdict(DriftKind.PREDICTION)]
        estimated = place >= windows - late
        if not estimated:
            lost = [moved("roc_auc", DriftKind.PERFORMANCE, signal="level", effect=-0.07, limit=0.04)]
            kinds += [
                verdict(DriftKind.OUTCOME),
                verdict(DriftKind.CONCEPT),
                verdict(DriftKind.PERFORMANCE, *(lost if after > 3 else ())),
            ]
        value = 0.78 - 0.08 * shift + rng.normal(0, 0.008)
        told.append(
            window(
                place,
                verdicts=kinds,
                columns=[measure(name, psi[name], drifted=psi[name] > 0.1) for name in psi],
                performance=performance(value, estimated=estimated),
                labelled=0 if estimated else 500,
                version=2 if promoted is not None and place >= promoted else 1,
                clock=clock,
            )
        )
    return told


def profiles(features=6, *, seed=0, private=frozenset()):
    """Return a reference and a window's profile, the first tenth of the columns shifted."""
    rng = np.random.default_rng(seed)
    columns = feature_names(features)
    categorical = frozenset(name for name in columns if name.startswith("plan"))

    def draw(n, shift):
        adrift = columns[: max(1, features // 10)]
        return pd.DataFrame(
            {
                name: rng.choice(["basic", "plus", "pro"], n, p=[0.6, 0.3, 0.1])
                if name in categorical
                else rng.gamma(2, 20, n) * (1 + (shift if name in adrift else 0))
                for name in columns
            }
        )

    reference = draw(4000, 0.0)
    grid = make_grid(reference, categorical=categorical, private=private)
    return measure_profile(reference, grid), measure_profile(draw(500, 0.6), grid)


def monitored_model(features=6, windows=60, *, private=(), told=None, promotions=(), **options):
    config = model_config(data={"private": list(private)} if private else None)
    return MonitoredModel(
        config=config,
        windows=example_windows(features, windows, **options) if told is None else told,
        promotions=promotions,
        profiles=(profiles(features, private=frozenset(private)),),
        limits={"Expected alarms": "0.8 in 90 days, over 168 reference windows."},
    )
