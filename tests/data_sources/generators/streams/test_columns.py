"""Each way to make a column, judged by what comes out."""

import numpy as np
import polars as pl
import pytest

from data_sources.generators.streams.stream import Stream
from tests.data_sources.generators.streams.specs import HEAD, TIME, rows_of, spec_of

N = 40_000


def made(folder, words, kind="float64", more=""):
    return rows_of(spec_of(folder, f'[[columns]]\nname = "x"\ntype = "{kind}"\n{words}\n{more}'), N)["x"]


def quantiles(series, *shares):
    return [float(np.quantile(series.to_numpy(), s)) for s in shares]


@pytest.mark.parametrize(
    ("words", "median", "p90"),
    [
        ("min = 10\nmax = 20", 15, 19),
        ('min = 20\nmax = 80\ndistribution = "normal"', 50, 50 + 1.2816 * 10 * 0.997),
        ('distribution = "normal"\nmean = -3\nstddev = 2', -3, -3 + 1.2816 * 2),
        ('min = 0\nmax = 10\ndistribution = "exponential"', 0.693, 2.302),
        ('min = 0\nmax = 1\ndistribution = "exponential"\nrate = 1.5', 0.3280, 0.7858),
        ('distribution = "exponential"\nmean = 7', 7 * 0.693, 7 * 2.3026),
        ('distribution = "lognormal"\nmedian = 4\nsigma = 0.5', 4, 4 * np.exp(0.5 * 1.2816)),
    ],
)
def test_a_distribution_has_its_quantiles(tmp_path, words, median, p90):
    seen = made(tmp_path, words)
    width = max(abs(p90 - median), 0.1)
    assert quantiles(seen, 0.5, 0.9) == pytest.approx([median, p90], abs=0.05 * width)
    if "min" in words:
        low, high = (float(words.split(w)[1].split()[1]) for w in ("min", "max"))
        assert low <= seen.min()
        assert seen.max() <= high
        assert (seen == low).sum() + (seen == high).sum() < 3, "cut off, not piled up at the ends"


def test_zipf_ranks_fall_by_their_power(tmp_path):
    seen = made(tmp_path, 'min = 100\nmax = 199\ndistribution = "zipf"\nexponent = 1.0', "int64")
    counts = dict(seen.value_counts().iter_rows())
    assert set(counts) <= set(range(100, 200))
    assert counts[100] / counts[101] == pytest.approx(2, rel=0.1)
    assert counts[100] / counts[109] == pytest.approx(10, rel=0.2)
    assert counts[100] / N == pytest.approx(1 / sum(1 / k for k in range(1, 101)), rel=0.05)


def test_whole_numbers_reach_both_ends_equally(tmp_path):
    counts = made(tmp_path, "min = 5\nmax = 8", "int64").value_counts()
    assert sorted(counts["x"]) == [5, 6, 7, 8]
    assert counts["count"].to_list() == pytest.approx([N / 4] * 4, rel=0.05)


def test_weights_are_shares(tmp_path):
    seen = made(tmp_path, 'values = ["a", "b", "c"]\nweights = [60, 0, 40]', "string")
    assert set(seen) == {"a", "c"}
    assert (seen == "a").mean() == pytest.approx(0.6, abs=0.01)


def test_decimals_have_their_scale_and_formats_their_digits(tmp_path):
    assert made(tmp_path, "min = 1\nmax = 2", "decimal(10,2)").dtype == pl.Decimal(10, 2)
    seen = made(tmp_path, 'unique = 50000\nmin = 1\nformat = "MTR%06d/x"', "string")
    assert seen.n_unique() == N
    assert seen.str.contains(r"^MTR\d{6}/x$").all()


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 39_999, 40_000, 5_000_000])
def test_unique_values_do_not_repeat_and_fill_their_range(tmp_path, size):
    seen = made(tmp_path, f"unique = {size}\nmin = 10", "int64")
    assert seen.n_unique() == N
    first = seen.head(size)
    assert first.min() >= 10
    assert first.max() < 10 + size
    if 1000 <= size <= N:
        assert sorted(first) == list(range(10, 10 + size))
        assert first.to_list() != sorted(first)


def test_an_omitted_column_is_there_for_others_only(tmp_path):
    spec = spec_of(
        tmp_path,
        '[[columns]]\nname = "b"\ntype = "int64"\nexpr = "a * 2 + value"\n'
        '[[columns]]\nname = "a"\ntype = "int64"\nmin = 1\nmax = 9\nomit = true\n',
    )
    rows = rows_of(spec, 100)
    assert rows.columns[:2] == ["at", "b"]
    assert "a" not in rows.columns
    twice = rows["b"] - rows["_row"]
    assert set(twice) <= set(range(2, 19, 2))


def test_rand_is_a_number_for_each_place(tmp_path):
    more = '[[columns]]\nname = "y"\ntype = "float64"\nexpr = "rand()"\n'
    spec = spec_of(tmp_path, f'[[columns]]\nname = "x"\ntype = "float64"\nexpr = "rand() - rand()"\n{more}')
    rows = rows_of(spec, N)
    assert rows["x"].mean() == pytest.approx(0, abs=0.01)
    assert rows["x"].std() == pytest.approx(np.sqrt(1 / 6), abs=0.01)
    assert (rows["x"] == 0).sum() == 0
    assert abs(np.corrcoef(rows["x"], rows["y"])[0, 1]) < 0.02


@pytest.mark.parametrize("words", ["min = 0\nmax = 1", 'expr = "rand()"'])
def test_nulls_have_their_share_and_reach_expressions(tmp_path, words):
    more = '[[columns]]\nname = "y"\ntype = "bool"\nexpr = "x IS NULL"\n'
    spec = spec_of(tmp_path, f'[[columns]]\nname = "x"\ntype = "float64"\nnulls = 0.1\n{words}\n{more}')
    rows = rows_of(spec, N)
    assert rows["x"].null_count() / N == pytest.approx(0.1, abs=0.01)
    assert (rows["x"].is_null() == rows["y"]).all()


@pytest.mark.parametrize("strength", [-0.9, 0.0, 0.7, 1.0])
def test_correlated_columns_have_their_strength(tmp_path, strength):
    spec = spec_of(
        tmp_path,
        '[[columns]]\nname = "x"\ntype = "float64"\nmean = 5\nstddev = 2\ndistribution = "normal"\n'
        '[[columns]]\nname = "y"\ntype = "float64"\nmean = -1\nstddev = 9\ndistribution = "normal"\n'
        f'correlate = {{ with = "x", strength = {strength} }}\n',
    )
    rows = rows_of(spec, N)
    assert np.corrcoef(rows["x"], rows["y"])[0, 1] == pytest.approx(strength, abs=0.02)
    assert rows["y"].std() == pytest.approx(9, rel=0.03)


def test_references_are_of_the_other_spec(tmp_path):
    devices = HEAD.replace('"made"', '"devices"').replace("86400", "50") + TIME
    (tmp_path / "devices.toml").write_text(devices + '[[columns]]\nname = "id"\ntype = "int64"\nunique = 900\n')
    spec = spec_of(tmp_path, '[[columns]]\nname = "device"\ntype = "int64"\nreferences = "devices.id"\n')
    seen = rows_of(spec, 5000)["device"]
    from data_sources.generators.streams.load import load_spec

    parents = rows_of(load_spec(tmp_path / "devices.toml"), 50)["id"]
    assert set(seen) == set(parents)


def test_anomalies_change_their_share_and_are_labelled(tmp_path):
    spec = spec_of(
        tmp_path,
        '[[columns]]\nname = "x"\ntype = "float64"\nmin = 0\nmax = 1\n'
        '[[anomalies]]\nname = "spike"\nlabel = "odd"\nshare = 0.05\nset = { x = "x + 10 + rand()" }\n'
        '[[anomalies]]\nname = "seventh"\nlabel = "odd"\nwhen = "value % 7 = 0"\nset = { x = "-1" }\n',
    )
    rows = rows_of(spec, N)
    seventh = rows["_row"] % 7 == 0
    assert (rows["x"].filter(seventh) == -1).all()
    assert rows["odd"].filter(seventh).all()
    rest = rows.filter(~seventh)
    assert (rest["odd"] == (rest["x"] >= 10)).all()
    assert rest["odd"].mean() == pytest.approx(0.05, abs=0.005)


def test_a_value_that_cannot_be_had_is_told(tmp_path):
    spec = spec_of(tmp_path, '[[columns]]\nname = "x"\ntype = "int64"\nexpr = "CAST(1e30 * (value + 1) AS BIGINT)"\n')
    with pytest.raises(ValueError, match=r"column x: .*out of range"):
        Stream(spec, 1, total=10).batch(0)
