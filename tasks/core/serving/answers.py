"""What a model answers for rows: scores, and the decisions they lead to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.training.scoring import Recipe, is_turned


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """Answers for n rows."""

    scores: FloatArray
    """Shape (n,) or (n, k): P(positive) (binary), probabilities in the order of ``classes`` (multiclass), else
    predictions."""
    decisions: list[Any]
    """The class of each row; None where there is only a score (regression, ranking)."""
    classes: tuple[Any, ...] = ()
    """(negative, positive) for binary, all classes for multiclass, else empty."""

    def plain_scores(self) -> list[Any]:
        """Return each row's score as the log stores it: a number, or one a class (by its name) for multiclass."""
        if self.scores.ndim == 1:
            return self.scores.tolist()
        names = [str(label) for label in self.classes]
        return [dict(zip(names, row, strict=True)) for row in self.scores.tolist()]


@dataclass(frozen=True, kw_only=True)
class Decider:
    """Turns a version's scores into answers, as `evergreen.tasks.core.training.scoring` does for stored rows."""

    classes: tuple[Any, ...] = ()
    """Of the version's recipe."""
    threshold: float = 0.5
    """Decision threshold on P(classes[1]) (binary)."""
    flipped: bool = False
    """True when the configuration's positive class is the version's other one: scores are turned, decisions are
    not."""

    def decide(self, scores: FloatArray) -> Answers:
        """Return answers for scores of shape (n,) or (n, k) in the order of the version's classes."""
        if not self.classes:
            return Answers(scores, [None] * len(scores))
        if scores.ndim == 1:
            no, yes = self.classes
            decisions = [yes if above else no for above in (scores >= self.threshold).tolist()]
            if self.flipped:
                return Answers(1.0 - scores, decisions, (yes, no))
            return Answers(scores, decisions, (no, yes))
        best = scores.argmax(axis=1).tolist()
        return Answers(scores, [self.classes[i] for i in best], self.classes)


def decider_of(recipe: Recipe, config: ModelConfig) -> Decider:
    """Return how a version decides under a configuration.

    Raises
    ------
    NotLearnable
        ``classes_changed``: the configuration's positive class is unknown to the version.
    """
    classes = tuple(recipe.classes)
    flipped = config.problem == "binary" and is_turned(classes, config)
    return Decider(classes=classes, threshold=recipe.threshold.value, flipped=flipped)


# What a request is refused for: a 4xx status, a stable code, the field, and a message that says what to do.


_LONGEST, _LONGEST_FIELD = 60, 200
_REFUSALS: dict[int, dict[str, str]] = {
    400: {
        "duplicate_key": "The key {key!r} occurs twice in one object, so it is unclear which is meant. Remove one.",
        "invalid_json": "The body is no JSON ({error}). NaN and Infinity are no JSON either: send null for a missing "
        "value.",
        "invalid_utf8": "The body is no UTF-8 (byte {byte}). Encode it as UTF-8.",
        "no_rows_key": "The body holds {given}; exactly one of {known} must hold them.",
        "not_an_object": "The body is not a JSON object. Send "
        '{{"records": [{{…}}]}}, {{"columns": {{…}}}}, or one of MLflow\'s forms such as {{"dataframe_split": {{…}}}}.',
        "number_out_of_range/body": "The body holds a number beyond what a float can say ({error}). Send a finite "
        "number, or null.",
        "too_deep": "The body nests lists and objects deeper than {most}; a value is text, a number, true, false or "
        "null.",
        "unknown_key": "Unknown key {key!r}. Known: {known}.{hint} Remove it.",
        "wrong_shape": "'{field}' is {given}; it must be {wanted}.",
        "wrong_shape/rows": "The rows of the request and their values do not correspond.",
    },
    413: {
        "body_too_large": "The body has {given} bytes; at most {most} are allowed. Send fewer rows at once.",
        "too_many_parts": "The body holds {given} lists and objects side by side; at most {most} are allowed. Send "
        "fewer rows at once.",
        "too_many_rows": "The request holds {given} rows; at most {most} are allowed at once. Send them in several "
        "requests.",
    },
    422: {
        "duplicate_column": "Column {column!r} is named twice in '{key}.columns', so it is not known which is meant. "
        "Remove one.",
        "duplicate_id": "The prediction id {given} occurs twice. Give every row its own.",
        "invalid_entity": "The entity {given} is not allowed; an entity is a text of 1 to {most} characters or a whole "
        "number. Correct it, or send null.",
        "invalid_id": "The prediction id {given} is not allowed; an id is a text of 1 to {most} characters.",
        "invalid_text": "Column '{column}' holds a text with a null character ({given}), which databases do not keep. "
        "Remove it.",
        "invalid_time": "The event time {given} is not on the clock. Send {wanted}.",
        "key_and_ids": "The request has an Idempotency-Key and ids of its own; either says which predictions it is. "
        "Send one of them.",
        "missing_column": "Missing column {column!r}. The model takes: {takes}. Add it; a missing value is null.",
        "model_refuses": "The model cannot score these rows ({why}). Correct the values, or ask its author.",
        "no_rows": "'{field}' holds no rows. Send at least one.",
        "not_whole": "Column '{column}' holds {given}, and the model takes whole numbers ({only}) there. Send a whole "
        "number.",
        "null_not_allowed": "Column '{column}' holds null, and the model takes no missing values there. Send {wanted}.",
        "number_out_of_range": "Column '{column}' holds a whole number too great to be kept exactly. Send a smaller "
        "one, or text.",
        "number_out_of_range/outcome": "'{field}' is {given}; allowed are finite numbers, whole ones of 64 bits. "
        "Correct it.",
        "ragged": "Rows and columns do not fit: {what}. Send one value for each, null where one is missing.",
        "text_too_long": "Column '{column}' holds a text of {length} characters ({given}); at most {most} are allowed. "
        "Shorten it.",
        "unknown_class": "'{field}' is {given}, which is none of the model's classes. Allowed: {allowed}. Correct it: "
        "an outcome cannot be changed later.",
        "unknown_column": "Unknown column {column!r}. The model takes: {takes}.{hint} Rename or remove it.",
        "wrong_count": "'{field}' has {given} values for {n} rows. Give one for each row.",
        "wrong_type": "Column '{column}' holds {given}, which is not {wanted}. Send {wanted}{null}.",
        "wrong_type/outcome": "'{field}' is {given}; it must be {wanted}, for the problem is {problem}. Correct it.",
    },
}
"""Status, code and sentence of what a request is refused for; a code with several sentences names them behind ``/``."""
_STATUS_AND_SENTENCE = {
    name: (status, sentence) for status, some in _REFUSALS.items() for name, sentence in some.items()
}


class RequestRefused(InputError):
    """A request that is not answered because of what it holds.

    Attributes
    ----------
    status : int
        HTTP status: 400 (no readable JSON of a known shape), 413 (too large), 422 (readable, and wrong).
    code : str
        Stable machine-readable code, e.g. ``unknown_column``.
    field : str | None
        Where it is wrong, e.g. ``records[0].amount``.
    message : str
        What was wrong, the value, what is allowed, and what to do.
    """

    def __init__(self, status: int, code: str, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field if field is None or len(field) <= _LONGEST_FIELD else f"{field[:_LONGEST_FIELD]}…"
        self.message = message


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestLimits:
    """How much one request may ask for."""

    body_bytes: int = 8 * 1024 * 1024
    """Longest body."""
    rows: int = 10_000
    """Most rows."""
    text: int = 1_000
    """Longest text value, column name or prediction id, in characters."""


def refusal(name: str, *, field: str | None = None, **facts: Any) -> RequestRefused:
    """Return the refusal of a request; ``facts`` fill its sentence.

    >>> refusal("no_rows", field="records").message
    "'records' holds no rows. Send at least one."
    """
    status, sentence = _STATUS_AND_SENTENCE[name]
    return RequestRefused(status, name.partition("/")[0], sentence.format(field=field, **facts), field=field)


def model_refuses(why: str) -> RequestRefused:
    """Return the refusal of rows that fit the signature, and that the model itself does not take."""
    return refusal("model_refuses", why=why)


def model_raised(error: Exception) -> RequestRefused:
    """Return the refusal of rows on which the model raised: by the error's kind, for its words may hold values of rows.

    Where a wrapper of ours raised the error, the kind is that of the model's own, which it was raised from.
    """
    own = error.__cause__ if isinstance(error, InputError) and error.__cause__ else error
    return model_refuses(type(own).__name__)


def shown(value: Any) -> str:
    """Return a value for a message, shortened.

    >>> shown("x" * 100)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"
    >>> shown(True), shown(None), shown({"a": 1}), shown([1])
    ('true', 'null', 'an object', 'a list')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value[:_LONGEST] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
