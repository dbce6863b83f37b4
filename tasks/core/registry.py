"""One kind of registry for all that a team can plug in, and the registries whose names a configuration may use."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from evergreen.tasks.core.errors import ConfigError, did_you_mean, unknown_name

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class PluginRegistry(Generic[T]):
    """Things of one kind by name: built-in ones, those of installed packages, and a team's own by dotted path.

    Built-in ones register themselves when their modules are imported, which the first look-up does; those of packages
    are offered by their entry points and loaded when they are asked for; a name with a colon or a dot is a path,
    ``package.module:name``, and imported.

    Parameters
    ----------
    what : str
        The kind for messages, e.g. ``"gate"``.
    key : str
        Configuration key whose values are such names, for messages.
    home : sequence of str
        Modules that register the built-in ones, in the order these are listed in.

    Examples
    --------
    >>> colours = PluginRegistry[int]("colour", key="paint.colour", home=())
    >>> colours.register("red")(0xFF0000)
    16711680
    >>> colours.get("red") == 0xFF0000
    True
    >>> colours.get("rad")
    Traceback (most recent call last):
    ...
    evergreen.tasks.core.errors.UnknownName: Unknown colour 'rad' in paint.colour. Known: red. Did you mean 'red'?
    """

    def __init__(self, what: str, *, key: str, home: Sequence[str]) -> None:
        self.what = what
        self.key = key
        self._home = tuple(home)
        self._registered: dict[str, tuple[T, str]] = {}
        self._offered: dict[str, Callable[[], Any]] = {}
        self._read: Callable[[str, Any], T] = lambda name, thing: cast("T", thing)

    def reader(self, read: Callable[[str, Any], T]) -> Callable[[str, Any], T]:
        """Decorate the function that turns an object under a name into one of this kind, or refuses it."""
        self._read = read
        return read

    def register(self, name: str, *, origin: Any = None) -> Callable[[Any], T]:
        """Decorate a function, class or object to be found under a name; the name then stands for the result.

        ``origin`` is the function it was made of, where it is not the thing itself.

        Raises
        ------
        ConfigError
            When the name has other characters than letters, digits, ``_`` and ``-``, or stands for another thing.
        """
        if not _NAME.fullmatch(name):
            allowed = "write a letter, then letters, digits, '_' or '-'"
            raise ConfigError(f"'{name}' is no name for a {self.what}: {allowed}.")

        def keep(thing: Any) -> T:
            made, place = self._read(name, thing), _origin(thing if origin is None else origin)
            before = self._registered.get(name)
            if before is not None and before[1] != place:
                both = f"{before[1]} and {place}"
                raise ConfigError(f"Two {self.what}s are called '{name}': {both}. Rename one of them.")
            self._registered[name] = made, place
            return made

        return keep

    def offer(self, loads: Mapping[str, Callable[[], Any]]) -> None:
        """Take what packages offer by name, in place of what they did before; it is loaded when it is asked for."""
        self._offered = dict(loads)

    def get(self, name: str, *, key: str = "") -> T:
        """Return what a name or dotted path stands for.

        Raises
        ------
        UnknownName
            When nothing has this name.
        ConfigError
            When a path cannot be imported, a package offers the name of a built-in one, or it is none of this kind.
        """
        where = key or self.key
        if is_path(name):
            return self._read(name, find_object(name, key=where))
        built_in = self.built_in()
        if name in self._offered and name in built_in:
            raise ConfigError(
                f"A package offers the {self.what} '{name}', and there is one of that name "
                f"({self._registered[name][1]}). Remove the package, or have it rename its own."
            )
        if name in self._offered:
            return self._read(name, self._offered[name]())
        if name in self._registered:
            return self._registered[name][0]
        raise unknown_name(self.what, name, self.names(), where=where)

    def read(self, name: str, thing: Any) -> T:
        """Return one of this kind made of an object that is passed in."""
        return self._read(name, thing)

    def names(self) -> list[str]:
        """Return the names of the built-in ones and of those that packages offer."""
        return list(dict.fromkeys([*self.built_in(), *self._offered]))

    def built_in(self) -> dict[str, T]:
        """Return the built-in ones by name, in the order of their modules and then of their registration."""
        for module in self._home:
            importlib.import_module(module)
        modules = {name: origin.partition(":")[0] for name, (_, origin) in self._registered.items()}
        ours = [name for name, module in modules.items() if not self._home or module in self._home]
        ours.sort(key=lambda name: self._home.index(modules[name]) if self._home else 0)
        return {name: self._registered[name][0] for name in ours}

    def standard(self) -> dict[str, T]:
        """Return what there is without a configuration: built-in ones, then those of packages."""
        return {name: self.get(name) for name in self.names()}


def require_type(thing: Any, kind: type[T], *, what: str, allowed: str) -> T:
    """Return an object that a team wrote, where it is of the type that is expected.

    Parameters
    ----------
    thing, kind : the object, and the class it must be of.
    what : subject and verb of the message, e.g. ``"The gate 'strict' returned"``.
    allowed : what is allowed, and what to do; the end of the message.

    Raises
    ------
    ConfigError
        When it is of another type.
    """
    if not isinstance(thing, kind):
        raise ConfigError(f"{what} a {type(thing).__name__}, allowed is {allowed}")
    return thing


def _origin(thing: Any) -> str:
    """Return where a thing was written, ``module:name``."""
    module = getattr(thing, "__module__", type(thing).__module__)
    return f"{module}:{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def is_path(name: str) -> bool:
    """Tell whether a name is a dotted path.

    >>> is_path("rows"), is_path("team.gates:strict"), is_path("team.gates.strict")
    (False, True, True)
    """
    return ":" in name or "." in name


def find_object(path: str, *, key: str) -> Any:
    """Import what ``package.module:name`` or ``package.module.name`` stands for.

    Parameters
    ----------
    path : str
        The dotted path.
    key : str
        Configuration key it stands under, for messages.

    Raises
    ------
    ConfigError
        When the module or the name does not exist.
    """
    module_path, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not module_path or not name:
        raise ConfigError(f"'{path}' in {key} is no dotted path; write package.module:function.")
    try:
        module = importlib.import_module(module_path)
    except ImportError as error:
        raise ConfigError(
            f"'{path}' in {key} cannot be imported: {error}. Correct the path, or start from the folder (PYTHONPATH) "
            "that holds the module."
        ) from error
    thing = getattr(module, name, None)
    if thing is None:
        near = did_you_mean(name, [public for public in dir(module) if not public.startswith("_")])
        raise ConfigError(f"'{path}' in {key}: module '{module_path}' has no function '{name}'.{near}")
    return thing


def import_path(path: str, *, key: str) -> Any:
    """Import a function or class; as `find_object`, and it must be callable.

    Raises
    ------
    ConfigError
        When the module or the name does not exist, or it cannot be called.
    """
    thing = find_object(path, key=key)
    if not callable(thing):
        module_path, _, name = path.partition(":") if ":" in path else path.rpartition(".")
        raise ConfigError(f"'{path}' in {key}: module '{module_path}' has no function '{name}'.")
    return thing


def require_registered(registry: PluginRegistry[Any], entry: Any) -> Any:
    """Return a value of the configuration as it is, where each bare name in it is registered.

    Raises
    ------
    ValueError
        When one is not; a dotted path is looked up when it is used.
    """
    for name in plugged([entry]) if isinstance(entry, (str, Mapping)) else ():
        if not is_path(name) and name not in registry.names():
            hint = did_you_mean(name, registry.names()).strip()
            near = f" ({hint[0].lower()}{hint[1:]})" if hint else ""
            listed = ", ".join(f"'{one}'" for one in sorted(registry.names()))
            raise ValueError(f"it is no {registry.what}{near}; known are {listed}, or write module:name")
    return entry


def plugged(entries: Sequence[str | Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the options of each name in a list of names, some of them with options.

    >>> plugged(["rows", {"team.gates:alarm_rate": {"most": 0.1}}])
    {'rows': {}, 'team.gates:alarm_rate': {'most': 0.1}}
    """
    options: dict[str, dict[str, Any]] = {}
    for entry in entries:
        options |= {entry: {}} if isinstance(entry, str) else {name: dict(own) for name, own in entry.items()}
    return options


# The registries: which modules register the built-in ones, and under which key a configuration names them.


_CORE = "evergreen.tasks.core"
GATES: PluginRegistry[Any] = PluginRegistry(
    "gate",
    key="validation.gates",
    home=[
        f"{_CORE}.validation.{name}"
        for name in ("quality", "baseline", "probabilities", "slices", "leakage", "operations")
    ],
)
METRICS: PluginRegistry[Any] = PluginRegistry("metric", key="evaluation.metric", home=())
"""Metrics of packages; the built-in ones depend on the problem: `evergreen.tasks.core.metrics.registry`."""
DRIFT_MEASURES: PluginRegistry[Any] = PluginRegistry(
    "drift measure", key="drift.measures", home=[f"{_CORE}.drift.measures"]
)
TRIGGERS: PluginRegistry[Any] = PluginRegistry(
    "trigger", key="retraining.triggers", home=[f"{_CORE}.retraining.triggers"]
)
STRATEGIES: PluginRegistry[Any] = PluginRegistry(
    "strategy",
    key="retraining.window, retraining.weighted",
    home=[f"{_CORE}.data.strategy", f"{_CORE}.training.weights"],
)
LIBRARIES: PluginRegistry[Any] = PluginRegistry(
    "model library", key="training.allow", home=[f"{_CORE}.training.estimators"]
)
