"""Boxes and segments on pictures: where they are drawn, and in which colours."""

import numpy as np

from patchword.pages.overlays import boxed, palette, segmented, thumbnail


def grey(rows=60, columns=80):
    return np.full((rows, columns, 3), 128, np.uint8)


def test_a_box_is_drawn_around_its_pixels():
    found = boxed(grey(), np.array([[10.0, 20, 30, 50]]), np.array([2]))
    changed = (found != 128).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 49, 10, 29)
    assert not changed[21:49, 11:29].any()
    assert (found[20, 15] == palette()[2]).all()


def test_the_first_box_is_on_top_and_words_are_on_the_picture():
    boxes = np.array([[10.0, 20, 30, 50], [10, 20, 30, 50]])
    found = boxed(grey(), boxes, np.array([0, 1]))
    assert (found[20, 15] == palette()[0]).all()
    outside = boxed(grey(), np.array([[-5.0, -9, 200, 900]]), np.array([0]), ["a long name 0.99"])
    assert outside.shape == (60, 80, 3) and (outside[0] != 128).any()
    assert np.array_equal(boxed(grey(), np.zeros((0, 4)), np.zeros(0, int)), grey())


def test_segments_have_shades_of_their_class_and_borders():
    ids = np.zeros((60, 80), int)
    ids[:, 20:40], ids[:, 40:60] = 1, 2
    found = segmented(grey(), ids, np.array([3, 3]))
    assert (found[:, [19, 39, 59]] == 255).all()
    one, two = found[5, 25].astype(int), found[5, 45].astype(int)
    assert not (one == two).all() and (found[5, 5] < 128).all()
    named = segmented(grey(), ids, np.array([3, 3]), ["left", "right"])
    assert (named != found).any() and np.array_equal(named[:, :10], found[:, :10])


def test_words_on_segments_may_be_larger():
    ids = np.ones((400, 400), int)
    few, many = (segmented(grey(400, 400), ids, np.array([3]), ["x"], larger=k) for k in (1.0, 4.0))
    bare = segmented(grey(400, 400), ids, np.array([3]))
    assert (many != bare).sum() > 4 * (few != bare).sum() > 0
    ids = np.zeros((60, 80), int)
    ids[:10, :10] = 1  # is too small to be named where letters are larger
    bare = segmented(grey(), ids, np.array([3]))
    assert (segmented(grey(), ids, np.array([3]), ["x"]) != bare).any()
    assert (segmented(grey(), ids, np.array([3]), ["x"], larger=3.0) == bare).all()


def test_a_picture_is_made_as_small_as_a_page_shows_it():
    assert thumbnail(grey(600, 900)).shape == (299, 448, 3)
    assert thumbnail(grey()).shape == (60, 80, 3)
