"""What all protocols share: what they look at, once; what comes out; and how it is kept."""

import json
from dataclasses import replace

import pytest
import torch

from patchword import evaluate, evaluation
from patchword.cli import main
from patchword.config import dump, parse
from patchword.errors import ConfigError
from patchword.evaluation.answers import reader, relabelled
from patchword.evaluation.protocol import Finding, Score, means
from tests.evaluation.subjects import CONFIG, judged, subject


@pytest.mark.parametrize("name", evaluation.names())
def test_a_protocols_settings_are_a_value_that_json_holds(name):
    rules = evaluation.named(name)
    kept = json.loads(json.dumps(dump(rules)))
    assert parse(type(rules), kept) == rules
    assert hash(rules) == hash(replace(rules))


def test_a_misspelt_protocol_is_corrected():
    assert {"topk", "calibration", "fewshot", "linear", "knn"} <= set(evaluation.names())
    with pytest.raises(ConfigError, match="did you mean 'calibration'"):
        evaluation.named("calibraton")


def test_a_source_is_looked_at_once(monkeypatch):
    model, data = subject(), judged()
    looks = []
    model.model.backbone.register_forward_hook(lambda *_: looks.append(1))
    first = model.features(data.test, "pooled")
    assert model.features(data.test, "pooled") is first and len(looks) == 1
    model.features(data.train, "pooled")
    model.features(data.test, "mean")
    assert len(looks) == 3
    assert torch.equal(model.answers(data.test).logits, model.answers(data.test).logits)
    assert len(looks) == 4


def test_the_tokens_are_the_networks_own():
    backbone = subject().model.backbone.eval()
    images = torch.randn(3, 1, 8, 8)
    with torch.inference_mode():
        whole = backbone(images, taps=("final",))
        torch.testing.assert_close(reader(backbone, "pooled")(images), whole.pooled)
        torch.testing.assert_close(
            reader(backbone, "mean")(images), whole.taps[0].map.mean(dim=(2, 3))
        )
        last = reader(backbone, "last4")(images)
        torch.testing.assert_close(last[:, -8:], whole.taps[0].prefix[:, 0])
        first = backbone(images, taps=("blocks.0",)).taps[0]
        torch.testing.assert_close(last[:, :8], backbone.norm(first.prefix)[:, 0])
    with pytest.raises(ConfigError, match="wants a class token"):
        reader(replace(CONFIG, prefix=(), pool="mean").build(), "last4")(images)


def test_means_are_over_sets_of_each_group_then_of_all():
    def found(data, group, **shares):
        scores = tuple(Score(name=n, value=v, interval=(0.0, 1.0)) for n, v in shares.items())
        return Finding(data=data, group=group, split="test", count=10, scores=scores)

    sets = (
        found("a", "natural", x=0.2, y=0.4),
        found("b", "natural", x=0.4),
        found("c", "", x=0.9),
    )
    natural, every = means(sets)
    assert (natural.data, every.data) == ("mean of natural", "mean")
    assert natural["x"].value == pytest.approx(0.3) and every["x"].value == pytest.approx(0.5)
    assert [score.name for score in natural.scores] == ["x"]  # y is not known of b
    assert every["x"].interval is None and every.count == 30
    assert means(sets[:1]) == ()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "digits"
    words = ["train", "digits", "--out", str(out), "--epochs", "1", "--precision", "fp32"]
    assert main([*words, "--settings", "optim.name=adamw"]) == 0
    return out


def kept(run):
    return json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["evaluations"]


def test_a_run_keeps_what_came_out_once(run, capsys):
    words = ["evaluate", str(run), "--protocol", "knn", "--settings", "neighbours=[5]"]
    found = evaluate(run, protocol="knn", settings=("neighbours=[5]",))
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "k = 5" in said and found["weighted"].words() in said
    (one,) = kept(run)
    assert one["settings"] == {"neighbours": [5], "temperature": 0.07, "tokens": "pooled"}
    score = one["findings"][0]["scores"][0]
    assert (score["value"], tuple(score["interval"])) == (
        found["weighted"].value,
        found["weighted"].interval,
    )
    assert one["data"][0]["pictures"] == 360 and len(one["data"][0]["fingerprint"]) == 64
    evaluate(run, protocol="knn", settings=("neighbours=[6]",))
    evaluate(run, protocol="calibration")
    assert [each["protocol"] for each in kept(run)] == ["knn", "knn", "calibration"]


def test_the_page_shows_what_is_kept(run):
    evaluate(run, protocol="calibration")
    page = (run / "evaluation.html").read_text(encoding="utf-8")
    assert page.count("<section") == len(kept(run))
    newest = kept(run)[-1]["findings"][0]
    assert f"{newest['scores'][0]['value']:.1%}" in page
    assert "Reliability on digits" in page and kept(run)[-1]["data"][0]["fingerprint"] in page


def test_several_sets_stand_in_one_table(run, capsys):
    capsys.readouterr()
    words = ["evaluate", str(run), "natural=digits", "digits", "--json", "--protocol", "topk"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["group"] for each in found["findings"]] == ["natural", ""]
    assert [each["data"] for each in found["means"]] == ["mean of natural", "mean"]
    values = [each["scores"][0]["value"] for each in (*found["findings"], *found["means"])]
    assert len(set(values)) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--protocol", "knm"), "did you mean 'knn'"),
        (("--protocol", "knn", "--settings", "neighbour=[5]"), "did you mean 'neighbours'"),
        (("--protocol", "knn", "--settings", "temperature=warm"), "temperature"),
        (("digts",), "did you mean 'digits'"),
        (("--split", "validation"), "has no validation pictures; it has: train, test"),
    ],
)
def test_a_mistake_is_one_line(run, words, said, capsys):
    assert main(["evaluate", str(run), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_labels_come_back_as_the_model_numbers_them():
    model, data = subject(classes=("hen", "cat", "dog")), judged()
    found = model.answers(data.test)
    own = model.features(data.test, "pooled").labels
    assert torch.equal(found.labels, relabelled(own, data.test, model.card))
    assert not torch.equal(found.labels, own)
