"""The methods that the packages export, by name, so that tests meet a new one by themselves."""

from __future__ import annotations

import inspect
from types import ModuleType

from supercm_pl.ssl import methods as ssl_methods
from supercm_pl.training.method import Method
from supercm_pl.uda import methods as uda_methods


def exported(package: ModuleType) -> dict[str, type[Method]]:
    found = {name: getattr(package, name) for name in package.__all__}
    return {
        name: kind
        for name, kind in found.items()
        if inspect.isclass(kind) and issubclass(kind, Method) and not inspect.isabstract(kind)
    }


SSL_METHODS = exported(ssl_methods)
UDA_METHODS = exported(uda_methods)
