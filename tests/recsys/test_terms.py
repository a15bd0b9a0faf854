"""Terms and names of groups of texts, in English and Chinese."""

from math import log

import pytest

from recsys.terms import distinctive_terms, names_of, terms_of


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The Red, red WINE of 1984!", ["red", "red", "wine"]),
        ("Schindler's café", ["schindler's", "café"]),
        ("a", []),
        ("", []),
        ("茶", []),
        ("绿茶", ["绿茶"]),
        ("红楼梦", ["红楼", "楼梦", "红楼梦"]),
        ("茶的书", ["茶的书"]),  # 茶的 ends and 的书 begins with grammar
        ("Lu Xun 狂人日记", ["lu", "xun", "狂人", "人日", "日记", "狂人日", "人日记", "狂人日记"]),
    ],
)
def test_terms(text, terms):
    assert terms_of(text) == terms


def test_class_based_tf_idf_by_hand():
    """Ten terms in two groups, so A = 5; f(tea) = 2, f(ink) = 8.

    In the first group tea weighs 2·log(1 + 5/2) = 2.51, ink, though met five times, 5·log(1 + 5/8) = 2.43. With six
    inks it is the other way: A = 5.5, 2·log(1 + 5.5/2) = 2.64 and 6·log(1 + 5.5/9) = 2.86.
    """
    assert 2 * log(1 + 5 / 2) > 5 * log(1 + 5 / 8)
    five, six, other = ["tea ink"] * 2 + ["ink"] * 3, ["tea ink"] * 2 + ["ink"] * 4, ["ink"] * 3
    assert distinctive_terms([five, other]) == [["tea", "ink"], ["ink"]]
    assert 2 * log(1 + 5.5 / 2) < 6 * log(1 + 5.5 / 9)
    assert distinctive_terms([six, other])[0] == ["ink", "tea"]


def test_a_text_that_repeats_itself_counts_once():
    films = ["Alice, Alice and Alice at war", "Men at war", "The war of Bob"]
    assert distinctive_terms([films, ["Tea"]])[0][0] == "war"


def test_chinese_pieces_give_way_to_the_word_they_stand_in():
    novels = ["红楼梦 一", "红楼梦 二", "红楼梦 三"]
    films = ["动作电影", "爱情电影", "科幻电影"]
    (novel, *_), film = distinctive_terms([novels, films])
    assert novel == "红楼梦"
    assert film[0] == "电影"  # in all three, while each longer piece is in one
    assert not {"红楼", "楼梦"} & set(distinctive_terms([novels, films])[0])


def test_a_piece_that_mostly_stands_inside_a_longer_one_gives_way():
    mostly, often = ["红楼梦"] * 4 + ["红楼"], ["红楼梦"] * 3 + ["红楼"]  # 4 of 5 times inside, and 3 of 4
    assert distinctive_terms([mostly, ["茶书"]])[0][0] == "红楼梦"
    assert distinctive_terms([often, ["茶书"]])[0][0] == "红楼"


def test_names_are_told_apart():
    names = names_of([["red tea"], ["red tea"], ["绿茶 green tea", "绿茶"], ["2001"], ["1984"]])
    assert len(set(names)) == 5
    assert "绿茶" in names[2]
    assert names[3:] == ["other", "other (2)"]
