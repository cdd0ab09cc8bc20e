"""What a wrong count is made of: told where one product of sizes has that number, or nothing is."""

from tinyqwen.course import exchange_of, made_of

SIZES = {"layers": 7, "width": 61, "vocabulary": 997}


def test_a_wrong_count_is_a_product_of_sizes():
    assert made_of(7 * 997, 7 * 61 * 997, SIZES) == "this is layers · vocabulary"
    assert made_of(2 * 7 * 61, 61, SIZES) == "this is 2 · layers · width"


def test_what_is_counted_too_often_or_not_at_all():
    right = 7 * 61 * (61 + 997)
    assert made_of(right + 7 * 997, right, SIZES) == "that is 6979 too many: layers · vocabulary"
    assert made_of(right - 7 * 61, right, SIZES) == "that is 427 too few: layers · width"


def test_nothing_is_told_where_two_products_have_the_number():
    assert made_of(7 * 7 * 61, 5, SIZES) is None  # no square: too many numbers are one
    assert made_of(2 * 24, 5, {"heads": 24, "layers": 16}) is None
    assert made_of(35, 1001, {"layers": 7, "also layers": 7, "batch": 5}) is None


def test_nothing_is_told_of_what_is_no_number():
    assert made_of("854", 61, SIZES) is None
    assert made_of(float("nan"), 61, SIZES) is None


def test_a_size_too_many_or_in_another_place_is_told():
    right = 7 * 61 * 997
    assert exchange_of(right * 61, right, SIZES) == "width is a factor too many"
    assert exchange_of(right / 61, right, SIZES) == "the factor width is missing"
    assert exchange_of(7 * 997 * 997, right, SIZES) == "vocabulary stands where width belongs"
    assert exchange_of(right + 1, right, SIZES) is None
    assert exchange_of(3 * right, right, SIZES | {"heads": 3}) is None  # as small a ratio is chance
    assert exchange_of(right * 61, right, SIZES | {"also width": 61}) is None
