"""The recipe of a training: as it was asked for, or picked for what is learnt and from where."""

from dataclasses import replace

from patchword import recipes
from patchword.data.scenes import KINDS
from patchword.errors import ConfigError
from patchword.recipes.pick import Found, Pick
from patchword.recipes.recipe import Recipe
from patchword.training.settings import Request, overridden


def prescribed(
    request: Request, model: str, found: Found, picked: Pick
) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe as it will run, and what is to be said of it.

    Args:
        request: what is asked for.
        model: the name of what is trained.
        found: in the data.
        picked: for what is not said.

    Raises:
        ConfigError: the recipe needs weights to start from, and there are none.
    """
    ours = request.model is None and request.init is None  # the network is picked, too
    name, why = _named(request, picked, found)
    recipe = recipes.fitted(name, model, found)
    if not name.startswith("tiny") and recipe.batch_size > found.pictures // 10:
        recipe = replace(recipe, batch_size=max(found.pictures // 20 * 2, 1))
    reasons = picked.reasons if ours else ()
    recipe = overridden(recipe, request)
    if recipe.frozen and request.init is None:
        raise ConfigError(
            f"recipe {name} leaves the backbone, or a part of it, as it is: name weights to start "
            "from with --init"
        )
    return recipe, (*reasons, f"recipe {name}{why}")


def _named(request: Request, picked: Pick, found: Found) -> tuple[str, str]:
    """Name the recipe, and say why where it is not the one of a training from scratch."""
    if request.recipe is not None:
        return request.recipe, ""
    if found.kind in KINDS:  # of the head's paper, whatever the backbone starts from
        return picked.recipe, ""
    if request.init is not None:
        others = "vit_finetune, bit_hyperrule, fixres and linear_probe are papers' own"
        return "finetune", f", as --init starts from what was learnt; {others}"
    return picked.recipe if request.model is None else "tiny", ""
