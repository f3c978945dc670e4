"""A teacher is matched with the data, sees what the student sees, and is asked once."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from patchword.cli import main
from patchword.conversion import save
from patchword.data import Pixels
from patchword.data.augment import Augment, Mixing
from patchword.data.frame import Frame
from patchword.engine.loop import fit
from patchword.errors import ConfigError, DataError, RunError, Stopped
from patchword.factory import create_model, with_token
from patchword.predictor import normalise
from patchword.recipes.recipe import Recipe
from patchword.tasks.distill import HARD, SOFT, Distill
from patchword.training.answers import Asked, Form
from patchword.training.feed import Feed
from patchword.training.settings import Request, distillation
from patchword.training.store import HEAD, RECORD, Store
from patchword.training.teacher import load_teacher
from tests.engine.small import PLAIN, differing, feed, fresh, opened, pictures, plan

MIXED = replace(
    PLAIN,
    accumulate=2,
    augment=Augment(crop_scale=(0.5, 1.0), erase=0.5),
    mixing=Mixing(mixup=0.8, cutmix=1.0),
    repeats=3,
    distillation=HARD,
)
CLASSES = ("0", "1", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a teacher of three classes that says something else of every picture."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teacher")
    model = create_model("vit_micro_patch2_8", num_classes=3, image_size=12, in_chans=3)
    for head in model.head.values():
        nn.init.normal_(head.weight)
    model.card = replace(model.card, classes=CLASSES)
    save(model, folder)
    return folder


@pytest.fixture(scope="module")
def teacher(trained):
    return load_teacher(str(trained), CLASSES, 1)


def asked(teacher, home, recipe=MIXED, seed=0):
    made = Feed(
        pictures(),
        recipe,
        Frame(image_size=(8, 8), crop=1.0),
        steps=100,
        seed=seed,
        workers=0,
        device=torch.device("cpu"),
    )
    made.ask = Asked(
        teacher,
        made.batches,
        recipe,
        pixels=Pixels(channels=1),
        home=home,
        device=torch.device("cpu"),
    )
    return made


def said(made, steps=7):
    """Return the answers to each step, in one piece."""
    batches = made(0)
    found = [torch.cat([part.answers for part in next(batches)]) for _ in range(steps)]
    batches.close()
    return found


def forbidden(*rest):
    pytest.fail("the teacher was asked again")


RECIPES = {
    "hard": MIXED,
    "soft": replace(MIXED, distillation=SOFT),
    "soft, bf16": replace(MIXED, distillation=replace(SOFT, precision="bf16")),
    "soft, top 2": replace(MIXED, distillation=replace(SOFT, top=2)),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_what_was_asked_is_read_back_bit_for_bit_through_mixup_and_cutmix(
    teacher, tmp_path, monkeypatch, recipe
):
    never = replace(recipe, distillation=replace(recipe.distillation, keep=False))
    in_the_loop = said(asked(teacher, tmp_path / "none", never))
    first = said(asked(teacher, tmp_path, recipe))
    monkeypatch.setattr(Asked, "ask", forbidden)
    second = said(asked(teacher, tmp_path, recipe))
    assert not (tmp_path / "none").exists()
    for loop, one, two in zip(in_the_loop, first, second, strict=True):
        assert loop.dtype == one.dtype == two.dtype
        assert torch.equal(loop, one) and torch.equal(one, two)
    assert len({tuple(answers.flatten().tolist()) for answers in first}) > 1


def test_classes_are_read_from_logits_that_are_there(teacher, tmp_path, monkeypatch):
    hard = said(asked(teacher, tmp_path / "hard"))
    soft = said(asked(teacher, tmp_path / "soft", RECIPES["soft"]))
    monkeypatch.setattr(Asked, "ask", forbidden)
    made = asked(teacher, tmp_path / "soft")
    assert made.ask.there(7) == 7
    for one, two, logits in zip(hard, said(made), soft, strict=True):
        assert torch.equal(one, two) and torch.equal(one, logits.argmax(dim=1))


def test_a_label_takes_two_bytes_a_logit_those_of_its_precision(teacher, tmp_path):
    for name, size in (("hard", 2), ("soft", 3 * 4), ("soft, bf16", 3 * 2), ("soft, top 2", 16)):
        assert asked(teacher, tmp_path, RECIPES[name]).ask.form.size == 8 * size
    said(asked(teacher, tmp_path), steps=5)
    (file,) = tmp_path.rglob("*.records")
    assert file.stat().st_size == HEAD + 5 * (RECORD.size + 8 * 2)


CHANGES = {
    "seed": {"seed": 1},
    "augmentation": {"recipe": replace(MIXED, augment=Augment(crop_scale=(0.6, 1.0), erase=0.5))},
    "mixing": {"recipe": replace(MIXED, mixing=Mixing(mixup=0.8))},
    "batch size": {"recipe": replace(MIXED, batch_size=4)},
    "micro-batches": {"recipe": replace(MIXED, accumulate=1)},
    "views": {"recipe": replace(MIXED, repeats=1)},
    "sampling": {"recipe": replace(MIXED, sampling="balanced")},
    "precision": {"recipe": replace(MIXED, distillation=replace(HARD, precision="bf16"))},
    "kind": {"recipe": RECIPES["soft"]},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_other_views_are_asked_about_anew(teacher, tmp_path, change):
    folder = asked(teacher, tmp_path).ask.store.folder
    assert asked(teacher, tmp_path).ask.store.folder == folder
    assert asked(teacher, tmp_path, **change).ask.store.folder != folder


def test_the_student_s_own_settings_ask_nothing_anew(teacher, tmp_path):
    folder = asked(teacher, tmp_path).ask.store.folder
    other = replace(
        MIXED, epochs=3.0, smoothing=0.2, distillation=replace(HARD, weight=0.9, replay=2)
    )
    assert asked(teacher, tmp_path, other).ask.store.folder == folder


def test_another_teacher_is_asked_anew(teacher, trained, tmp_path):
    folder = asked(teacher, tmp_path).ask.store.folder
    other = load_teacher(str(trained), CLASSES, 1)
    with torch.no_grad():
        next(other.model.parameters()).flatten()[0] += 1e-6
    moved = load_teacher(str(trained), ("2", "0", "1"), 1)
    assert moved.digest == teacher.digest
    from patchword.training.teacher import digest

    other = replace(other, digest=digest(other.model, other.card))
    for changed in (other, moved):
        assert asked(changed, tmp_path).ask.store.folder != folder


def test_epochs_come_again_where_that_is_wanted(teacher, tmp_path):
    recipe = replace(MIXED, distillation=replace(HARD, replay=2))
    made = asked(teacher, tmp_path, recipe)
    epoch = made.batches.steps_per_epoch
    batches = made(0)
    seen = [next(batches) for _ in range(4 * epoch)]
    batches.close()
    for step in range(2 * epoch):
        for now, again in zip(seen[step], seen[step + 2 * epoch], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(now, again, strict=True))
    assert not torch.equal(seen[0][0].images, seen[epoch][0].images)
    assert len(made.ask.store.places) == 2 * epoch == len(made.ask.coming(1000))


def test_the_teacher_sees_the_students_pixels_in_its_own_size_and_colours(teacher):
    """Mixed in the student's pixels, then resized, then normalised."""
    pixels = torch.randint(0, 256, (4, 1, 8, 8)).float()
    frame = teacher.card.preprocessing
    assert (frame.image_size, len(frame.mean)) == ((12, 12), 3)
    wide = nn.functional.interpolate(
        pixels.expand(-1, 3, -1, -1), (12, 12), mode="bicubic", antialias=True
    )
    with torch.no_grad():
        expected = teacher.model(normalise(wide.clamp(0, 255), frame))
    assert torch.equal(teacher.answer(pixels, "fp32"), expected)
    whole = torch.randint(0, 256, (2, 3, 12, 12), dtype=torch.uint8)
    with torch.no_grad():
        expected = teacher.model(normalise(whole, frame))
    assert torch.equal(teacher.answer(whole.float(), "fp32"), expected)


def test_it_is_asked_about_mixed_pictures(teacher, tmp_path):
    """What it is shown is what the student is shown, but for the normalisation."""
    shown = []

    class Curious:
        digest, card, model = teacher.digest, teacher.card, teacher.model
        columns = None

        def answer(self, pixels, precision):
            shown.append(pixels)
            return torch.zeros(len(pixels), 3)

    made = asked(teacher, tmp_path)
    made.ask.teacher = Curious()
    batches = made(0)
    for _ in range(4):
        for part, pixels in zip(next(batches), shown[-2:], strict=True):
            torch.testing.assert_close(
                normalise(pixels, made.preprocessing), part.images, rtol=0, atol=1e-5
            )
    batches.close()
    assert len(shown) == 8  # in the feed's micro-batches


def test_top_answers_keep_the_probabilities_of_the_top_and_of_the_rest():
    logits = 2 * torch.randn(4, 50)
    form = Form(4, 50, "soft", 5, torch.float32)
    found = form.decode(form.encode(logits))
    best, places = logits.topk(5, dim=1)
    assert torch.equal(found.gather(1, places), best)
    torch.testing.assert_close(found.logsumexp(1), logits.logsumexp(1))
    assert found.sort(dim=1).values[:, :45].std(dim=1).max() < 1e-6


def test_classes_are_matched_by_name(trained):
    exact = load_teacher(str(trained), CLASSES, 3)
    assert exact.columns is None
    some = load_teacher(str(trained), ("2", "0"), 3)
    pixels = 255 * torch.rand(5, 3, 8, 8)
    assert torch.equal(some.answer(pixels, "fp32"), exact.answer(pixels, "fp32")[:, [2, 0]])
    with pytest.raises(DataError, match="does not know the classes cat; it knows 0, 1, 2"):
        load_teacher(str(trained), ("0", "cat"), 3)


def test_a_teacher_without_names_has_to_have_as_many_classes(tmp_path):
    save(create_model("vit_micro_patch2_8", num_classes=3), tmp_path)
    assert "taken in the data's order" in load_teacher(str(tmp_path), CLASSES, 3).words
    with pytest.raises(DataError, match="knows 3 classes without names, the data has 2"):
        load_teacher(str(tmp_path), ("0", "1"), 3)


@pytest.mark.peers
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_s_own_weights_teach(monkeypatch, library):
    """As if they were in its cache: nothing is downloaded here."""
    import timm
    import torchvision

    torch.manual_seed(0)
    if library == "timm":
        net = timm.create_model("resnet18", num_classes=1000).eval()
        monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **rest: net)
    else:
        net = torchvision.models.resnet18().eval()
        kind = torchvision.models.ResNet18_Weights
        monkeypatch.setattr(kind, "get_state_dict", lambda self, **rest: net.state_dict())
    from patchword import adapters

    tensors = adapters.trained(f"{library}:resnet18")
    monkeypatch.undo()
    monkeypatch.setattr(adapters, "trained", lambda name: tensors)
    names = tuple(f"class {number}" for number in range(1000))
    found = load_teacher(f"{library}:resnet18", names, 3)
    pixels = 255 * torch.rand(2, 3, 224, 224)
    frame = found.card.preprocessing
    assert frame.mean == (0.485, 0.456, 0.406)
    with torch.no_grad():
        expected = net(normalise(pixels, frame))
    torch.testing.assert_close(found.answer(pixels, "fp32"), expected, rtol=1e-4, atol=1e-4)


def test_a_store_never_reads_what_was_cut_off_or_changed(tmp_path):
    key, draw = {"a": [1, 2]}, np.random.default_rng(0)
    records = [draw.bytes(100) for _ in range(6)]
    store = Store(tmp_path, key, 100)
    for number, held in enumerate(records[:3]):
        store.put(number, held)
    file = next(tmp_path.rglob("*.records"))
    content = file.read_bytes()
    for end in range(HEAD + 2 * (RECORD.size + 100), len(content)):
        file.write_bytes(content[:end])
        cut = Store(tmp_path, key, 100)
        assert [cut.get(n) for n in range(3)] == [*records[:2], None]
    cut.put(2, records[2])  # into a file of its own
    assert [Store(tmp_path, key, 100).get(n) for n in range(3)] == records[:3]
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert Store(tmp_path, key, 100).get(2) == records[2]  # from the other file
    file.write_bytes(content[:20])
    assert [Store(tmp_path, key, 100).get(n) for n in range(3)] == [None, None, records[2]]


def test_two_that_write_at_once_do_not_hurt_each_other(tmp_path):
    one, two = Store(tmp_path, {}, 4), Store(tmp_path, {}, 4)
    for number in range(6):
        (one, two)[number % 2].put(number, bytes([number] * 4))
    third = Store(tmp_path, {}, 4)
    assert [third.get(n) for n in range(6)] == [bytes([n] * 4) for n in range(6)]


def test_a_store_is_read_under_its_own_key(tmp_path):
    store = Store(tmp_path, {"seed": 0}, 4)
    store.put(0, b"abcd")
    other = Store(tmp_path, {"seed": 1}, 4)
    assert other.get(0) is None and other.folder != store.folder
    store.folder.rename(other.folder)
    with pytest.raises(RunError, match="not the key"):
        Store(tmp_path, {"seed": 1}, 4)
    (other.folder / "key.json").write_text(json.dumps({"seed": 1}))
    with pytest.raises(RunError, match="records of another key"):
        Store(tmp_path, {"seed": 1}, 4)


def distil(folder, ask, *, stop=lambda: False):
    state = fresh(replace(MIXED, distillation=None))
    state.task = Distill(state.task.model, HARD)
    made = feed(MIXED)
    made.ask = ask
    fit(state, made, plan(MIXED, steps=8), opened(folder), stop=stop)
    return state


def test_a_training_stopped_and_continued_is_the_same(teacher, tmp_path):
    """Whether the answers after the stop are there already, or not."""
    ask = asked(teacher, tmp_path / "cache").ask
    whole = distil(tmp_path / "whole", ask)
    with pytest.raises(Stopped, match="step 3 of 8"):
        distil(tmp_path / "parts", ask, stop=iter([False, False, True]).__next__)
    parts = distil(tmp_path / "parts", asked(teacher, tmp_path / "cache").ask)
    new = distil(tmp_path / "new", asked(teacher, tmp_path / "elsewhere").ask)
    assert differing(whole.tensors(), parts.tensors()) == []
    assert differing(whole.tensors(), new.tensors()) == []


def test_the_recipe_says_how_or_the_words_do():
    plain, own = Recipe(name="plain"), Recipe(name="own", distillation=replace(HARD, weight=0.7))
    request = Request(data="x", teacher="t")
    assert distillation(plain, request) == HARD
    assert distillation(plain, replace(request, distill="soft")) == SOFT
    assert distillation(own, request).weight == 0.7
    assert distillation(own, replace(request, distill="soft")) == SOFT
    with pytest.raises(ConfigError, match="the recipe own needs a teacher"):
        distillation(own, Request(data="x"))


@pytest.mark.parametrize(
    ("name", "sibling"),
    [
        ("vit_small_patch16_224", "deit_small_distilled_patch16_224"),
        ("deit_base_patch16_384", "deit_base_distilled_patch16_384"),
        ("vit_mini_patch4_32", "deit_mini_distilled_patch4_32"),
        ("vitc_mini_64", "vitc_mini_distilled_64"),
        ("pit_s_224", "pit_s_distilled_224"),
        ("levit_128", "levit_128"),
        ("deit_tiny_distilled_patch16_224", "deit_tiny_distilled_patch16_224"),
    ],
)
def test_a_model_has_a_sibling_with_a_distillation_token(name, sibling):
    assert with_token(name) == sibling


WRONG = {
    ("--distill", "soft"): "--distill soft needs a teacher to learn from",
    ("--token",): "--token needs a teacher to learn from",
    ("--recipe", "deit_distilled"): "the recipe deit_distilled needs a teacher",
    ("--teacher", "no/such/run"): "there is no teacher 'no/such/run'",
    ("--teacher", "resnet18"): "resnet18 has no weights to teach with",
    ("--teacher", "timm:no_such_net"): "timm has no model 'no_such_net'",
    ("--teacher", "resnet18=no.pth"): "there is no weight file no.pth",
    ("--teacher", "T"): "does not know the classes 3, 4, 5, 6, 7, ...",
    ("--teacher", "T", "--token", "--model", "swin_mini_patch2_32"): "no form with a distillation",
    ("--teacher", "T", "--settings", "distillation.tau=3"): "distillation.tau: no such setting",
}


@pytest.mark.parametrize(("words", "line"), WRONG.items(), ids=map(" ".join, WRONG))
def test_a_mistake_is_one_line(trained, tmp_path, capsys, words, line):
    words = [str(trained) if word == "T" else word for word in words]
    out = tmp_path / "run"
    common = ["train", "digits", "--precision", "fp32", "--out", str(out), "--image-size", "8"]
    assert main([*common, "--cache", str(tmp_path / "cache"), *words]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
    assert not out.exists() and not (tmp_path / "cache").exists()


def test_no_room_is_said_beforehand(teacher, tmp_path, monkeypatch):
    from patchword.training import answers

    made = asked(teacher, tmp_path).ask
    words = made.words(10)
    assert "hard answers, 0.00 MB" in words and "0% of them there already" in words
    monkeypatch.setattr(answers, "free", lambda folder: 10)
    with pytest.raises(RunError, match=r"distillation\.keep=false"):
        made.words(10)
