"""Other libraries' networks under our contract: `torchvision:regnet_y_16gf`, `timm:NAME`.

A name with a colon is looked up here. What comes back says of one model what a file in `models/`
says of its own, under the same names.
"""

from patchword.adapters.adapted import Adapted as Adapted
from patchword.adapters.adapted import Family as Family
from patchword.errors import ConfigError, suggest

LIBRARIES = ("timm", "torchvision")


def family(name: str) -> Family:
    """Return what is known of `library:model`, without making it.

    Raises:
        ConfigError: no library is called so, or it has no such model.
        MissingExtra: the library is not installed.
    """
    library, _, model = name.partition(":")
    if library == "timm":
        from patchword.adapters.timm import family_of
    elif library == "torchvision":
        from patchword.adapters.torchvision import family_of
    else:
        known = (f"{there}:{model}" for there in LIBRARIES)
        raise ConfigError(f"no library is called {library!r}; {suggest(name, known)}")
    return family_of(model)
