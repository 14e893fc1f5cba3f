"""Mistakes in a spec: each is told with file, column and remedy."""

import pytest

from data_sources.generators.streams.load import load_spec
from data_sources.generators.streams.words import SpecError
from tests.data_sources.generators.streams.specs import HEAD, TIME, spec_of


def column(words: str, name: str = "x", kind: str = "float64") -> str:
    return f'[[columns]]\nname = "{name}"\ntype = "{kind}"\n{words}\n'


@pytest.mark.parametrize(
    ("columns", "seen", "remedy"),
    [
        (column('expr = "y + 1"') + column('expr = "x + 1"', "y"), "made of itself (x -> y -> x)", "stand on its own"),
        (column('expr = "x + 1"'), "column 'x': is made of itself (x -> x)", "stand on its own"),
        (column('expr = "yy + 1"') + column("min = 0\nmax = 1", "y"), "no column 'yy'", "did you mean 'y'?"),
        (column('expr = "1 +"'), "column 'x', expr", "not an expression"),
        (column('expr = "now()"', kind="timestamp"), "now() is not allowed", "depends on the row alone"),
        (column('expr = "(SELECT 1)"'), "column 'x', expr", "subqueries"),
        (column('expr = "sum(1)"'), "column 'x', expr", "not allowed"),
        (column("expr = \"'a'\""), "column 'x', expr", "Could not convert"),
        (column("values = [1, 2]\nweights = [1]"), "1 weights for 2 values", "give one a value"),
        (column("values = [1, 2]\nweights = [1, -1]"), "weight -1 is impossible", "0 or more"),
        (column("values = [1, 2]\nweights = [1, nan]"), "weight nan is impossible", "0 or more"),
        (column("values = [1, 2]\nweights = [0, 0]"), "all weights are 0", "at least one above 0"),
        (column("min = 0\nmax = 1\nweights = [1]"), "weights are for values", "give values"),
        (column('values = ["a"]'), "'a' is not a float64", "change one"),
        (column('min = 0\nmax = 1\ndistribution = "nromal"'), "unknown distribution 'nromal'", "mean 'normal'"),
        (column("min = 2\nmax = 1"), "min 2 is above max 1", "swap them"),
        (column("min = 0.2\nmax = 0.8", kind="int64"), "no whole number", "widen"),
        (column('distribution = "normal"'), "normal column needs", "mean and stddev"),
        (column('min = 0\nmax = 1\ndistribution = "normal"\nstddev = 0'), "stddev is 0", "above 0"),
        (column('min = 0\nmax = 1\ndistribution = "normal"\nrate = 2'), "rate says nothing", "leave it out"),
        (column("share = 1.5", kind="bool"), "column 'x', share: 1.5", "less than or equal to 1"),
        (column("share = 0.5"), "share makes a bool", "type = 'bool'"),
        (column("min = 0"), "uniform column needs", "min and max"),
        (column(""), "says not how it is made", "exactly one of"),
        (column('expr = "1"\nvalues = [1]'), "told in 2 ways (values, expr)", "exactly one of"),
        (column("min = 0\nmax = 1\nnuls = 0.1"), "column 'x', nuls: unknown word", "did you mean 'nulls'?"),
        (column("min = 0\nmax = 1", kind="flaot"), "unknown type 'flaot'", "use one of"),
        (column("min = 0\nmax = 1", kind="string"), "a string made of numbers", "needs a format"),
        (column("min = 0\nmax = 1", "at"), "column 'at': is declared twice", "another name"),
        (column("min = 0\nmax = 1", "value"), "column 'value': is the row's number", "another name"),
        (column('references = "devices.id"', kind="int64"), "there is no spec", "devices.toml; write it beside"),
        (column('min = 0\nmax = 1\ncorrelate = { with = "y", strength = 0.5 }'), "no column 'y'", "known: at, x"),
        (column("min=0\nmax=1") + '[[anomalies]]\nname="a"\nlabel="l"\n', "anomaly 'a'", "share = 0.03 or when"),
        (
            column("min=0\nmax=1") + '[[anomalies]]\nname="a"\nlabel="l"\nshare=0.1\nset={z="1"}\n',
            "anomaly 'a', set: there is no column 'z'",
            "known",
        ),
        (column("min=0\nmax=1\nomit=true") + '[chaos]\nclock_skew={share=0.1,by="x",offset="5s"}\n', "'x'", "omit out"),
        (column("min=0\nmax=1") + '[chaos]\nlate={share=0.1,delay=["5m","1m"]}\n', "chaos.late", "swap them"),
        (column("min=0\nmax=1") + '[chaos]\ndst={share=0.1,by="x",zone="Berlin"}\n', "time zone 'Berlin'", "Europe/"),
    ],
)
def test_a_mistake_is_told_with_file_column_and_remedy(tmp_path, columns, seen, remedy):
    with pytest.raises(SpecError) as told:
        spec_of(tmp_path, columns)
    assert f"spec {tmp_path / 'made.toml'}" in str(told.value)
    assert seen in str(told.value)
    assert remedy in str(told.value)


@pytest.mark.parametrize(
    ("head", "time", "seen"),
    [
        (HEAD.replace('"at"', '"when"'), TIME, "event_time: there is no column 'when'"),
        (HEAD, TIME.replace('interval = "1s"\n', ""), "begin and interval go together"),
        (HEAD, TIME.replace('"1s"', '"1 second"'), "'1 second' is not a duration; write it as"),
        (HEAD, TIME.replace('"2024-03-30"', '"soon"'), "'soon' is not a time; write it as"),
        (HEAD.replace("rows_per_day = 86400", ""), TIME, "rows_per_day: is missing; add it"),
        (HEAD + "spead = 3", TIME, "unknown word"),
    ],
)
def test_a_mistake_outside_the_columns_is_told(tmp_path, head, time, seen):
    with pytest.raises(SpecError) as told:
        spec_of(tmp_path, column("min = 0\nmax = 1"), head, time)
    assert seen in str(told.value)


def test_files_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "bad.toml").write_text("name = ")
    for path, seen in ((tmp_path / "none.toml", "no such file"), (tmp_path / "bad.toml", "is not TOML")):
        with pytest.raises(SpecError, match=seen):
            load_spec(path)


def test_specs_that_refer_to_each_other_in_a_circle_are_refused(tmp_path):
    other = HEAD.replace('"made"', '"other"') + TIME + column('references = "made.x"', kind="int64")
    (tmp_path / "other.toml").write_text(other)
    with pytest.raises(SpecError, match="refers back"):
        spec_of(tmp_path, column('references = "other.x"', kind="int64"))


def test_a_reference_needs_a_column_of_the_same_type(tmp_path):
    (tmp_path / "other.toml").write_text(
        HEAD.replace('"made"', '"other"') + TIME + column("min = 0\nmax = 9", "id", "int64")
    )
    with pytest.raises(SpecError, match=r"no column 'idd'.*did you mean 'id'"):
        spec_of(tmp_path, column('references = "other.idd"', kind="int64"))
    with pytest.raises(SpecError, match=r"other.id is int64"):
        spec_of(tmp_path, column('references = "other.id"'))
