"""A version that was trained on small rows with a clock: its reference, its past, and windows to watch."""

import numpy as np

from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.drift.answers import prepare_answers
from evergreen.tasks.core.drift.reference import Reference, measure_worth
from evergreen.tasks.core.metrics.registry import deciding_metric, metrics_of
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.monitoring.reference_series import reference_series
from evergreen.tasks.core.profiles.reference import reference_profiles
from evergreen.tasks.core.training.features import class_labels, feature_frame, outcomes
from tests.support.learning import learner, make_rows, schema

MINUTE = 60.0


class Trained:
    """A binary, multiclass, regression or ranking model whose scores are drawn beside the rows."""

    def __init__(self, problem="binary", *, n=6000, seed=0, step=MINUTE, **sections):
        ranked = problem == "ranking"
        self.problem = problem
        self.schema = schema(**({"group": "race"} if ranked else {}))
        data = {"time": "at", **({"group": "race"} if ranked else {})}
        self.config = learner(problem, data=data, **{"monitoring": {"window": "8h"}, **sections})
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
        """Return the feature frame of rows."""
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
        """Return what watches its answers."""
        reference = Reference.from_dict(self.reference_document())
        return prepare_answers(reference, config=self.config, metric=self.metric)

    def past(self, watch=None, **options):
        """Return its own past."""
        given = {"rows": self.rows, "scored": self.half, **options}
        return reference_series(
            given["rows"],
            given["scored"],
            watch=watch or self.watch(),
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
