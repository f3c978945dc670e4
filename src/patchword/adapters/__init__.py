"""Other libraries' networks under our contract: `torchvision:regnet_y_16gf`, `timm:NAME`.

A name with a colon is looked up here. What comes back says of one model what a file in `models/`
says of its own, under the same names.
"""

from torch import Tensor

from patchword.adapters.adapted import Adapted as Adapted
from patchword.adapters.adapted import Family as Family
from patchword.errors import ConfigError, WeightsError, suggest

LIBRARIES = ("timm", "torchvision")


def trained(name: str) -> dict[str, Tensor]:
    """Return the weights that a library has for `library:model`, under the library's names.

    The library takes them from its own cache, or else from the net.

    Raises:
        ConfigError: it has no such model.
        WeightsError: it has no weights for it, or they cannot be had.
    """
    family(name)
    library, _, model = name.partition(":")
    if library == "timm":
        from patchword.adapters.timm import trained
    else:
        from patchword.adapters.torchvision import trained
    try:
        return trained(model)
    except (OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{library} cannot give the weights of {model} ({reason}): name a file that holds them"
        ) from None


def terms(name: str) -> tuple[str | None, str]:
    """Return the licence of the weights that `trained` gives, and who says so.

    None is a licence that the library does not state.
    """
    library, _, model = name.partition(":")
    if library == "timm":
        from patchword.adapters.timm import terms
    else:
        from patchword.adapters.torchvision import terms
    return terms(model)


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
