"""Compress a neural network, measure it on real devices, and publish a table whose cells can be reproduced."""

from __future__ import annotations

import importlib
import sys
import types

__version__ = "0.2.0"
__all__ = ["Study", "Table", "bench", "compare", "records"]

# Functions of edgeproof.api that have the name of a package: calling the package calls the function.
_CALLABLE_PACKAGES = ("bench", "records")


def __getattr__(name: str) -> object:
    """Return a name of edgeproof.api. It is imported when it is first used, because this module ships to devices."""
    if name in (*_CALLABLE_PACKAGES, "api"):
        return importlib.import_module(f"{__name__}.{name}")
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.api"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _CallablePackage(types.ModuleType):
    """A package that is called like the function of edgeproof.api with its name."""

    def __call__(self, *arguments: object, **options: object) -> object:
        return self._function(*arguments, **options)

    @property
    def __signature__(self) -> object:  # notebooks show it as a tooltip
        import inspect

        return inspect.signature(self._function)

    @property
    def _function(self):  # type: ignore[no-untyped-def]
        return getattr(importlib.import_module("edgeproof.api"), self.__name__.rpartition(".")[2])


class _Package(types.ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        """Bind a name. Python binds every package here when it is imported, so this is where it becomes callable."""
        if name in _CALLABLE_PACKAGES and type(value) is types.ModuleType:
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
