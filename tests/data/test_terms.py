"""The terms of data: what is written beside it, and nothing that is not."""

import json

import pytest

from patchword.data.terms import Terms, of_data, recognised, restricted, stated

MIT = "Permission is hereby granted, free of charge, to any person, to deal without restriction"
BSD = "Redistribution and use in source and binary forms, with or without modification"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Attribution-NonCommercial-ShareAlike 4.0 International", ["cc-by-nc-sa-4.0"]),
        ("see https://creativecommons.org/licenses/by-nd/3.0/deed.en", ["cc-by-nd-3.0"]),
        ("CC BY 4.0", ["cc-by-4.0"]),
        ("CC-BY-NC-ND_4.0", ["cc-by-nc-nd-4.0"]),
        ("CC0 1.0 Universal", ["cc0-1.0"]),
        (MIT, ["mit"]),
        ("under the Apache License, Version 2.0", ["apache-2.0"]),
        (BSD, ["bsd-2-clause"]),
        (f"{BSD}. Neither the name may be used to endorse or promote products", ["bsd-3-clause"]),
        ("the licence is CC BY 4.0 or the MIT license", ["mit", "cc-by-4.0"]),
        ("all rights reserved; NIMITZ; 4.0", []),
    ],
)
def test_a_licence_is_told_by_its_text(text, wanted):
    assert recognised(text) == wanted


@pytest.mark.parametrize(
    ("file", "text", "wanted"),
    [
        ("README.md", "---\nlicense: cc-by-nc-4.0\n---\n", Terms("cc-by-nc-4.0", "README.md")),
        ("README.md", "---\nlicense:\n  - mit\n- gpl\n---\n", Terms("mit, gpl", "README.md")),
        (
            "README.md",
            "---\nlicense: other\nlicense_name: own\nlicense_link: LICENSE\n---\n",
            Terms("own", "README.md, LICENSE"),
        ),
        ("README.md", "---\nlicense: unknown\ntags: [mit]\n---\n", None),
        (
            "README.md",
            "# Birds\n\n## License\n\nCC BY 4.0, by me\n",
            Terms("cc-by-4.0", "README.md"),
        ),
        ("README.md", "a licence: CC BY 4.0 or CC BY-NC 4.0", None),
        ("README.md", "CC BY 4.0 was asked for, and not given", None),
        ("dataset_info.json", {"license": "odbl"}, Terms("odbl", "dataset_info.json")),
        (
            "dataset-metadata.json",
            {"licenses": [{"name": "CC0-1.0"}]},
            Terms("CC0-1.0", "dataset-metadata.json"),
        ),
        ("LICENSE.txt", MIT, Terms("mit", "LICENSE.txt")),
        (
            "LICENSE",
            f"{MIT}\nfor non-commercial use",
            Terms("its own terms: non-commercial or research only", "LICENSE: non-commercial"),
        ),
    ],
)
def test_terms_are_read_beside_the_data(tmp_path, file, text, wanted):
    (tmp_path / file).write_text(text if isinstance(text, str) else json.dumps(text))
    assert stated(tmp_path) == wanted
    known = of_data(str(tmp_path))
    assert known == wanted if wanted else known.licence is None


def test_a_licence_that_is_not_recognised_is_left_to_the_reader(tmp_path):
    (tmp_path / "LICENSE").write_text("do as you like")
    assert of_data(str(tmp_path)) == Terms(None, str(tmp_path / "LICENSE"))
    (tmp_path / "list.csv").write_text("path,label\n")
    assert of_data(str(tmp_path / "list.csv")) == Terms(None, str(tmp_path / "LICENSE"))


def test_sets_by_name(tmp_path, monkeypatch):
    assert of_data("digits").licence == "cc-by-4.0"
    assert restricted(of_data(f"torchvision:ImageNet:{tmp_path}").licence)
    assert of_data(f"torchvision:DTD:{tmp_path}").licence is None
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert of_data("hf:org/birds") == Terms(None, "huggingface.co/datasets/org/birds")
    inside = tmp_path / "datasets--org--birds" / "snapshots" / "abc" / "plain"
    inside.mkdir(parents=True)
    (inside / "train.parquet").touch()
    (inside.parent / "README.md").write_text("---\nlicense: cc-by-sa-4.0\n---\n")
    assert of_data("hf:org/birds") == Terms("cc-by-sa-4.0", "README.md")


@pytest.mark.parametrize(
    ("licence", "wanted"),
    [
        ("cc-by-nc-sa-4.0", True),
        ("apple-amlr", True),
        ("fair-noncommercial-research-license", True),
        ("its own terms of access: non-commercial research", True),
        ("apache-2.0", False),
        ("apple-ascl", False),
        ("ncsa", False),
        (None, False),
    ],
)
def test_what_is_not_commercial_is_marked(licence, wanted):
    assert restricted(licence) is wanted
