"""Scenes: what every layout says, and what is odd, missing or broken in it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from patchword.data.open import open_data
from patchword.data.pixels import Pixels
from patchword.data.scene import VOID, Panoptic, Segment, boxes_of, mask_of, objects_of
from patchword.data.source import Subset
from patchword.errors import DataError, ImageError
from tests.data.pictures import smooth


def opened(where):
    return open_data(where, pixels=Pixels(), seed=0)


def picture(path, size=(6, 8), **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(smooth(*size)).save(path, **more)


def map_(path, values, dtype=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype)).save(path)


def masked(root, values, *, names="sky\nroad\nvoid\n", count=2):
    for name in (*(f"train/{number}" for number in range(count)), "val/0"):
        picture(root / f"images/{name}.jpg")
        map_(root / f"masks/{name}.png", values)
    if names:
        (root / "classes.txt").write_text(names)
    return root


HALF = np.repeat([[0], [1]], 3, axis=0).repeat(8, axis=1)


SETS = {  # kind, sizes of the splits, classes
    "camvid": ("mask", (36, 12, None), 11),
    "ade20k_sample": ("mask", (2, 1, None), 150),
    "bccd_voc": ("objects", (205, 87, 72), 3),
    "coco_instances": ("objects", (50, 20, None), 80),
    "coco_panoptic": ("panoptic", (54, 18, None), 133),
    "panopticapi_sample": ("panoptic", (1, 1, None), 133),
    "depth_7scenes": ("depth", (56, 13, None), 1),
}


@pytest.mark.parametrize("name", SETS)
def test_the_sets_at_hand_open(shared, name):
    data = opened(shared / "sets" / name)
    kind, sizes, classes = SETS[name]
    splits = (data.train, data.validation, data.test)
    assert (data.train.kind, len(data.train.classes)) == (kind, classes)
    assert tuple(None if split is None else len(split) for split in splits) == sizes
    scene = data.train.scene(0)
    rows, columns = data.train.read(0).shape[-2:]
    there = [part for part, value in vars(scene).items() if value is not None]
    assert there == [kind] and scene.checked((rows, columns), "x") is scene
    assert len(data.train.fingerprint()) == 64


def test_values_mean_what_the_sets_say(shared):
    mask = opened(shared / "sets/ade20k_sample").train.scene(0).mask
    name = opened(shared / "sets/ade20k_sample").train.name(0)
    stored = np.array(
        Image.open(
            shared
            / "sets/ade20k_sample"
            / name.replace("images", "annotations").replace(".jpg", ".png")
        )
    )
    assert torch.equal(mask, torch.from_numpy(np.where(stored == 0, VOID, stored - 1)).byte())
    camvid = opened(shared / "sets/camvid")
    assert "void" not in camvid.train.classes
    assert {11, 255} & set(camvid.train.scene(0).mask.unique().tolist()) == {255}
    depth = opened(shared / "sets/depth_7scenes").train.scene(0).depth
    assert 0.3 < depth[depth > 0].median() < 6 and (depth == 0).any()
    boxes = opened(shared / "sets/bccd_voc")
    assert boxes.notes == ("2 boxes without area left out",)
    found = [
        source.scene(i).objects
        for source in (boxes.train, boxes.validation, boxes.test)
        for i in range(0, len(source), 9)
    ]
    for objects in found:
        assert (objects.boxes[:, 2:] > objects.boxes[:, :2]).all()


def test_one_of_several_things_is_asked_for_by_name(shared):
    folder = shared / "sets/coco_panoptic"
    objects, mask = opened(f"objects:{folder}"), opened(f"mask:{folder}")
    assert (objects.train.kind, len(objects.train.classes)) == ("objects", 80)
    assert (mask.train.kind, len(mask.train.classes), mask.name) == ("mask", 133, "coco_panoptic")
    with pytest.raises(DataError, match="has no depth beside its pictures; it has: panoptic"):
        opened(f"depth:{folder}")
    with pytest.raises(DataError, match="there is no folder"):
        opened("mask:nowhere")


def test_panoptic_masks_and_objects_agree(shared):
    """The set's own masks and boxes, made from the same segments by others, say the same."""
    folder = shared / "sets/coco_panoptic"
    whole, objects, mask = opened(folder), opened(f"objects:{folder}"), opened(f"mask:{folder}")
    things = whole.train.things
    assert len(things) == 80
    for index in range(0, 54, 13):
        name = whole.train.name(index)
        panoptic = whole.train.scene(index).panoptic
        at = [[s.name(i) for i in range(54)].index(name) for s in (objects.train, mask.train)]
        assert torch.equal(mask_of(panoptic), mask.train.scene(at[1]).mask)
        ours, theirs = objects_of(panoptic, things), objects.train.scene(at[0]).objects
        order, other = (
            sorted(range(len(o.labels)), key=lambda n: o.boxes[n].tolist()) for o in (ours, theirs)
        )
        torch.testing.assert_close(ours.boxes[order], theirs.boxes[other])
        assert torch.equal(ours.masks[order], theirs.masks[other])
        assert torch.equal(ours.crowd[order], theirs.crowd[other])
        torch.testing.assert_close(ours.areas[order], theirs.areas[other])


def test_splits_and_subsets_keep_their_scenes(shared):
    train = opened(shared / "sets/coco_panoptic").train
    part = Subset(train, np.array([5, 2]))
    assert torch.equal(part.scene(1).panoptic.ids, train.scene(2).panoptic.ids)
    assert part.things == train.things and part.kind == "panoptic"


def test_boxes_of_masks():
    masks = torch.zeros(3, 5, 7, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 4, 6] = True
    assert boxes_of(masks).tolist() == [[2, 1, 6, 3], [6, 4, 7, 5], [0, 0, 0, 0]]


def test_a_crowd_and_void_in_a_panoptic_map():
    ids = torch.tensor([[0, 7, 7], [9, 9, 300]], dtype=torch.int32)
    panoptic = Panoptic(ids, (Segment(7, 2), Segment(9, 0, True), Segment(5, 2)))
    assert mask_of(panoptic).tolist() == [[VOID, 2, 2], [0, 0, VOID]]
    objects = objects_of(panoptic, {0, 2})
    assert objects.labels.tolist() == [2, 0] and objects.crowd.tolist() == [False, True]
    assert objects.boxes.tolist() == [[1, 0, 3, 1], [0, 1, 2, 2]]
    assert len(objects_of(panoptic, ()).labels) == 0


# masks


@pytest.mark.parametrize("kind", ["grey", "palette", "sixteen", "colours"])
def test_masks_of_every_kind(tmp_path, kind):
    masked(tmp_path, HALF)
    for number in range(2):
        path = tmp_path / f"masks/train/{number}.png"
        if kind == "palette":
            image = Image.new("P", (8, 6))
            image.putpalette([200, 100, 50, 10, 20, 30])
            image.putdata(HALF.ravel().tolist())
            image.save(path)
        elif kind == "sixteen":
            map_(path, HALF, np.uint16)
        elif kind == "colours":
            colours = np.array([[70, 130, 180], [128, 64, 128]], np.uint8)
            Image.fromarray(colours[HALF]).save(path)
    if kind == "colours":
        (tmp_path / "classes.txt").unlink()
        table = "name,r,g,b\nsky,70,130,180\nroad,128,64,128\nvoid,0,0,0\n"
        (tmp_path / "class_dict.csv").write_text(table)
    data = opened(tmp_path)
    assert data.train.classes == ("sky", "road")
    assert torch.equal(data.train.scene(0).mask, torch.from_numpy(HALF).byte())


def test_cvat_s_colours(tmp_path):
    masked(tmp_path, HALF, names=None)
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nroad:128,64,128::\nsky:70,130,180::\n"
    )
    for number in range(2):
        colours = np.array([[70, 130, 180], [128, 64, 128]], np.uint8)
        Image.fromarray(colours[HALF]).save(tmp_path / f"masks/train/{number}.png")
    data = opened(tmp_path)
    assert sorted(data.train.classes) == ["road", "sky"]
    assert data.train.classes[data.train.scene(0).mask[0, 0]] == "sky"


def test_cityscapes_ids(tmp_path):
    for split in ("train", "val"):
        picture(tmp_path / f"leftImg8bit/{split}/ulm/ulm_0_leftImg8bit.png")
        values = np.full((6, 8), 7)
        values[0] = [0, 1, 4, 11, 33, 29, 30, 8]
        map_(tmp_path / f"gtFine/{split}/ulm/ulm_0_gtFine_labelIds.png", values)
        map_(tmp_path / f"gtFine/{split}/ulm/ulm_0_gtFine_instanceIds.png", values)
    data = opened(tmp_path)
    assert len(data.train.classes) == 19 and len(data.validation) == 1
    assert data.train.scene(0).mask[0].tolist() == [255, 255, 255, 2, 18, 255, 255, 1]
    for split in ("train", "val"):
        map_(tmp_path / f"gtFine/{split}/ulm/ulm_0_gtFine_labelTrainIds.png", HALF + 17)
    assert opened(tmp_path).train.scene(0).mask[:, 0].tolist() == [17] * 3 + [18] * 3


def test_pascal_voc_s_masks(tmp_path):
    for name, stems in (("train", "ab"), ("val", "c")):
        (tmp_path / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"ImageSets/Segmentation/{name}.txt").write_text("\n".join(stems))
        for stem in stems:
            picture(tmp_path / f"JPEGImages/{stem}.jpg")
            map_(tmp_path / f"SegmentationClass/{stem}.png", np.where(HALF, 255, 15))
    data = opened(tmp_path)
    assert data.train.classes[0] == "background" and len(data.train.classes) == 21
    assert data.validation.scene(0).mask[:, 0].tolist() == [15] * 3 + [VOID] * 3


def test_values_without_names_are_classes_and_a_note_says_so(tmp_path):
    data = opened(masked(tmp_path, np.where(HALF, 40, 255), names=None))
    assert data.train.classes == ("40",) and "1 values in the training masks" in data.notes[0]
    assert data.train.scene(0).mask[:, 0].tolist() == [VOID] * 3 + [0] * 3


def test_a_value_that_is_no_class_is_refused(tmp_path):
    masked(tmp_path, np.where(HALF, 9, 0))
    with pytest.raises(
        ImageError, match=r"masks/train/0.png: has value 9, which is no class; wanted"
    ):
        opened(tmp_path).train.scene(0)


def test_a_mask_of_another_size_is_refused(tmp_path):
    masked(tmp_path, HALF[:, :7])
    with pytest.raises(ImageError, match="its map is 7 x 6 pixels, the picture 8 x 6"):
        opened(tmp_path).train.scene(0)


def test_a_map_of_a_turned_picture_is_turned_with_it(tmp_path):
    masked(tmp_path, HALF)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "images/train/0.jpg", exif=exif)  # stored 6 x 8, upright 8 x 6
    train = opened(tmp_path).train
    assert train.read(0).shape == (3, 8, 6)
    assert torch.equal(train.scene(0).mask, torch.from_numpy(np.rot90(HALF, -1).copy()).byte())


def test_a_lossy_mask_is_refused(tmp_path):
    masked(tmp_path, HALF)
    (tmp_path / "masks/train/0.png").unlink()
    Image.fromarray(HALF.astype(np.uint8)).save(tmp_path / "masks/train/0.png", format="JPEG")
    with pytest.raises(ImageError, match=r"0.png: is a JPEG, which changes the values"):
        opened(tmp_path).train.scene(0)


def test_pictures_without_a_mask_are_left_out_and_said(tmp_path):
    masked(tmp_path, HALF, count=3)
    (tmp_path / "masks/train/1.png").unlink()
    data = opened(tmp_path)
    assert len(data.train) == 2
    assert data.notes == ("train: 1 left out, without a mask: 'images/train/1.jpg', ...",)


# COCO


def coco(root, annotations, *, categories=((3, "cat"), (90, "dog")), images=3, split="train"):
    for number in range(images):
        picture(root / f"images/{split}/{number}.jpg", (20, 30))
    listed = [
        {"id": n * 7, "file_name": f"{n}.jpg", "height": 20, "width": 30} for n in range(images)
    ]
    content = {
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": id_, "name": name} for id_, name in categories],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    return root


def note_(image, category, box, **more):
    return {"id": 1, "image_id": image, "category_id": category, "bbox": box, "area": 9.5, **more}


def test_ids_with_gaps_crowds_flat_boxes_and_empty_pictures(tmp_path):
    runs = {"size": [20, 30], "counts": [0, 20, 580]}
    train = [
        note_(0, 90, [1, 2, 5, 6], segmentation=[[1, 2, 6, 2, 6, 8, 1, 8]], iscrowd=0),
        note_(0, 3, [0, 0, 1, 20], segmentation=runs, iscrowd=1),
        note_(0, 3, [4, 4, 0, 3], segmentation=[]),
        note_(7, 3, [2.5, 3, 4, 4.25]),
    ]
    data = opened(coco(coco(tmp_path, train), [], split="val", images=1))
    assert data.train.classes == ("cat", "dog") and data.train.ids == (3, 90)
    assert data.train.image_ids == (0, 7, 14)
    assert data.notes == ("instances_train.json: 1 boxes without area left out",)
    assert data.train.labels.tolist() == [1, 0, 0]  # of two classes, the rarer
    first = data.train.scene(0).objects
    assert first.labels.tolist() == [1, 0] and first.crowd.tolist() == [False, True]
    assert first.boxes.tolist() == [[1, 2, 6, 8], [0, 0, 1, 20]] and first.areas[0] == 9.5
    assert boxes_of(first.masks).tolist() == first.boxes.tolist()
    assert data.train.scene(1).objects.boxes.tolist() == [[2.5, 3, 6.5, 7.25]]
    assert data.train.scene(1).objects.masks is None
    empty = data.train.scene(2).objects
    assert empty.boxes.shape == (0, 4) and len(empty.labels) == 0


def test_coco_s_own_masks_have_their_areas(shared):
    """The areas in the files are those of the outlines: drawn, they are nearly as large."""
    source = opened(shared / "sets/coco_instances").train
    for index in range(0, len(source), 9):
        objects = source.scene(index).objects
        drawn = objects.masks.flatten(1).sum(1)
        big = (objects.areas > 400) & ~objects.crowd
        assert ((drawn - objects.areas).abs()[big] / objects.areas[big] < 0.08).all()
        off = (boxes_of(objects.masks) - objects.boxes).abs()[~objects.crowd]
        assert not off.numel() or (off < 2).float().mean() > 0.95


def test_what_does_not_fit_is_refused(tmp_path):
    root = coco(tmp_path / "a", [note_(0, 4, [1, 1, 2, 2])])
    with pytest.raises(
        DataError, match=r"has category 4, which instances_train.json does not list"
    ):
        opened(root)
    root = coco(tmp_path / "b", [])
    picture(root / "images/train/1.jpg", (21, 30))
    with pytest.raises(ImageError, match=r"is 30 x 21 pixels, but 30 x 20 in instances_train.json"):
        opened(f"objects:{root}").train.scene(list(opened(root).train.indices).index(1))
    runs = {"size": [20, 30], "counts": [0, 20, 5]}
    root = coco(
        tmp_path / "c", [note_(n * 7, 3, [1, 1, 2, 2], segmentation=runs) for n in range(3)]
    )
    with pytest.raises(ImageError, match="its runs make 25 pixels, not 30 x 20"):
        opened(root).train.scene(0)
    root = coco(tmp_path / "d", [{"image_id": 0, "category_id": 3}])
    with pytest.raises(DataError, match="has an annotation without bbox"):
        opened(root)
    (root / "annotations/instances_train.json").write_text("[1]")
    with pytest.raises(DataError, match="is no COCO file"):
        opened(root)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_s_masks_are_pycocotools(shared):
    coco = pytest.importorskip("pycocotools.mask")
    source = opened(shared / "sets/coco_instances").validation
    for index in range(0, len(source), 2):
        masks, size = source.scene(index).objects.masks, source.header(index).size
        found = source.listed.annotations.get(source.image_ids[index], [])
        for mask, one in zip([] if masks is None else masks, found, strict=True):
            shape = one["segmentation"]
            if isinstance(shape, dict):
                runs = coco.frPyObjects(shape, *size)
            else:
                runs = coco.merge(coco.frPyObjects(shape, *size))
            assert (coco.decode(runs) == mask.numpy()).all()


# text


def yolo(root, texts, names="cat\ndog\n"):
    for number, text in enumerate(texts):
        picture(root / f"images/train/{number}.jpg", (20, 30))
        if text is not None:
            (root / "labels/train").mkdir(parents=True, exist_ok=True)
            (root / f"labels/train/{number}.txt").write_text(text)
    (root / "classes.txt").write_text(names)
    return root


def everything(data):
    found = {}
    for source in filter(None, (data.train, data.validation)):
        found |= {source.name(i): source.scene(i).objects for i in range(len(source))}
    return found


def test_yolo_s_boxes_outlines_and_empty_pictures(tmp_path):
    texts = ["1 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6\n", "", None, "0 0.5 0.5 0 0.4"]
    data = opened(yolo(tmp_path, texts))
    found = everything(data)
    first = found["images/train/0.jpg"]
    torch.testing.assert_close(first.boxes, torch.tensor([[12.0, 6, 18, 14], [3, 2, 15, 12]]))
    assert (
        first.labels.tolist() == [1, 0] and boxes_of(first.masks).tolist() == first.boxes.tolist()
    )
    assert [len(found[f"images/train/{n}.jpg"].labels) for n in (1, 2, 3)] == [0, 0, 0]
    assert data.notes[0] == "1 boxes without area left out"


def test_yolo_s_boxes_are_coco_s(shared, tmp_path):
    """The same pictures' boxes, which others wrote as shares."""
    folder = shared / "sets/coco_panoptic"
    for name in ("images", "labels", "yolo_classes.txt"):
        (tmp_path / name).symlink_to(folder / name)
    ours, theirs = opened(tmp_path), opened(f"objects:{folder}")
    assert ours.train.classes == theirs.train.classes
    other = everything(theirs)
    close = 0
    for name, objects in everything(ours).items():
        plain = other[name].boxes[~other[name].crowd]
        for box in objects.boxes:
            close += bool(len(plain)) and (plain - box).abs().amax(1).min() < 3
    assert close > 0.8 * sum(len(o.boxes) for o in everything(ours).values())


@pytest.mark.parametrize(
    "text",
    [
        "nc: 2\nnames: ['cat', \"dog\"]\n",
        "names:\n  0: cat\n  1: dog  # barks\nnc: 2\n",
        "names:\n- cat\n- dog\ntrain: x\n",
    ],
)
def test_names_from_yaml(tmp_path, text):
    yolo(tmp_path, ["0 .5 .5 .1 .1", "1 .5 .5 .1 .1"])
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(DataError, match="does not name the classes"):
        opened(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    assert opened(tmp_path).train.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("7 .5 .5 .1 .1", "has class 7, of 2"),
        ("0 50 50 10 10", "no shares"),
        ("0 .5 .5", "2 numbers after the class"),
        ("cat .5 .5 .1 .1", "is no list of boxes"),
    ],
)
def test_a_broken_list_of_boxes_is_refused(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        opened(yolo(tmp_path, [text, "0 .5 .5 .1 .1"]))


XML = """<annotation><folder>{folder}</folder><size><width>30</width><height>20</height></size>
<object><name>cat</name><difficult>{difficult}</difficult>
<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>10</xmax><ymax>12</ymax></bndbox></object></annotation>"""


def voc(root, folder="x", difficult=0, size=(20, 30)):
    for number in range(2):
        picture(root / f"JPEGImages/{number}.jpg", size)
        (root / "Annotations").mkdir(exist_ok=True)
        text = XML.format(folder=folder, difficult=difficult * number)
        (root / f"Annotations/{number}.xml").write_text(text)
    return root


def test_voc_s_corners_and_what_is_difficult(tmp_path):
    found = everything(opened(voc(tmp_path / "a", difficult=1)))
    assert found["JPEGImages/0.jpg"].boxes.tolist() == [[3, 4, 10, 12]]
    assert [o.crowd.tolist() for _, o in sorted(found.items())] == [[False], [True]]
    own = everything(opened(voc(tmp_path / "b", folder="VOC2007")))
    assert own["JPEGImages/0.jpg"].boxes.tolist() == [[2, 3, 10, 12]]


def test_voc_s_faults(tmp_path):
    with pytest.raises(ImageError, match="is 29 x 20 pixels, but 30 x 20 where its boxes are"):
        opened(voc(tmp_path / "a", size=(20, 29))).train.scene(0)
    root = voc(tmp_path / "b")
    (root / "Annotations/0.xml").write_text("<annotation>")
    with pytest.raises(DataError, match=r"Annotations/0.xml: is no annotation"):
        opened(root)
    root = voc(tmp_path / "c")
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "ImageSets/Main/train.txt").write_text("0\n9\n")
    with pytest.raises(DataError, match="lists '9', which is not in JPEGImages"):
        opened(root)


# depth


def test_depths_have_the_unit_and_range_that_is_stated(tmp_path):
    values = np.full((6, 8), 5000)
    values[0, :4] = 0, 65535, 100, 60000
    for number in range(2):
        picture(tmp_path / f"rgb/{number}.png")
        map_(tmp_path / f"depth/{number}.png", values, np.uint16)
    data = opened(tmp_path)
    assert data.train.scene(0).depth[0, :5].tolist() == pytest.approx([0, 0, 0.1, 60, 5])
    assert "read as millimetres" in data.notes[0]
    (tmp_path / "depth.json").write_text('{"unit": 0.0002, "near": 0.05, "far": 10}')
    stated = opened(tmp_path)
    assert stated.train.scene(0).depth[0, :5].tolist() == pytest.approx([0, 0, 0, 0, 1])
    assert len(stated.notes) == 1 and stated.train.fingerprint() != data.train.fingerprint()
    (tmp_path / "depth.json").write_text('{"metres": 1}')
    with pytest.raises(DataError, match=r"depth.json wants"):
        opened(tmp_path)
    (tmp_path / "depth.json").write_text('{"unit": -1}')
    with pytest.raises(DataError, match="unit above 0"):
        opened(tmp_path)
