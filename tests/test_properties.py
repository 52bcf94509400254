"What holds for any input: label rows, CSV dialects, names, vocabularies."
import string
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonefrac.data.polygons import is_box, numbers_of, polygon_of_row, read_label
from bonefrac.data.readers import csv_records
from bonefrac.files import is_leftover
from bonefrac.data.table import image_row, source_name
from bonefrac.vocabulary import REGION_NAMES, SPLITS, finding_of, regions_of, split_of, words_of

settings.register_profile('here', deadline=None, max_examples=60, derandomize=True)
settings.load_profile('here')

shares = st.floats(0, 1)

@given(st.lists(st.tuples(shares, shares), min_size=3, max_size=9), st.integers(0, 4))
def test_a_polygon_comes_back_as_it_was_written(points, k):
    row = [k, *np.ravel(points).tolist()]
    assert polygon_of_row(numbers_of(' '.join(map(repr, row))), 5) == row

@given(shares, shares, shares, shares)
def test_a_box_comes_back_as_its_corners(x1, y1, x2, y2):
    (x1, x2), (y1, y2) = sorted([x1, x2]), sorted([y1, y2])
    polygon = polygon_of_row([0, (x1 + x2)/2, (y1 + y2)/2, x2 - x1, y2 - y1], 1)
    assert np.allclose(polygon, [0, x1, y1, x2, y1, x2, y2, x1, y2])
    assert is_box(polygon) or x2 - x1 < 1e-12 or y2 - y1 < 1e-12

numbers = st.one_of(st.floats(-2, 2), st.floats(), st.integers(-9, 9)).map(str)
near = st.lists(st.floats(-.012, 1.012), min_size=4, max_size=8) # a corner a hair outside moves to the edge
lines = st.one_of(st.text(), near.map(lambda row: ' '.join(map(str, [0, *row]))),
                  st.lists(st.one_of(numbers, st.text(max_size=3)), max_size=12).map(' '.join),
                  st.lists(numbers, max_size=12).map('\t'.join))

@given(st.lists(lines, max_size=3).map('\n'.join))
def test_any_text_gives_polygons_or_names_a_line(text):
    with TemporaryDirectory() as d:
        path = Path(d)/'a.txt'
        path.write_bytes(text.encode('utf8', 'replace'))
        try: polygons = read_label(path, 3)
        except ValueError as e: assert str(e).startswith('line ')
        else: assert all(0 <= x <= 1 for _, *xy in polygons for x in xy)

@given(st.binary(max_size=60))
def test_any_bytes_give_polygons_or_a_value_error(raw):
    with TemporaryDirectory() as d:
        path = Path(d)/'a.txt'
        path.write_bytes(raw)
        try: read_label(path, 3)
        except ValueError as e: assert str(e)

words = st.text(string.ascii_letters + 'äöüß -_()', max_size=12).map(str.strip)
TABLES = st.lists(st.tuples(words, st.sampled_from(['wrist', 'elbow', 'Hüfte', 'left hand'])), min_size=1, max_size=5)

@settings(max_examples=120)
@given(TABLES, st.sampled_from(',;\t|'), st.sampled_from(['utf-8', 'utf-8-sig', 'utf-16', 'cp1252']), st.booleans(),
       st.sampled_from(['none', 'blank', 'unnamed', 'R']), st.sampled_from(['\n', '\r\n']))
def test_a_csv_in_any_dialect_gives_the_same_table(rows, mark, encoding, quoted, index, end):
    def line(values): return mark.join(f'"{value}"' if quoted else value for value in values)
    first = dict(none=[], blank=[''], unnamed=['Unnamed: 0'], R=[])[index]
    body = [([] if index == 'none' else [str(i)]) + [f'{i}.png', note, region] for i, (note, region) in enumerate(rows)]
    text = end.join([line([*first, 'path', 'note', 'region']), *map(line, body), ''])
    with TemporaryDirectory() as d:
        path = Path(d)/'a.csv'
        path.write_bytes(text.encode(encoding))
        records = csv_records(path)
    assert records.values.tolist() == [[f'{i}.png', *row] for i, row in enumerate(rows)]
    assert list(records) == ['path', 'note', 'region']

@given(st.text(min_size=1))
def test_names_of_any_letters_are_taken(name):
    root = Path('/data')
    row = image_row(root, root/name)
    assert isinstance(source_name(name), str) and row['source'] == source_name(row['name'])
    assert isinstance(is_leftover(PurePosixPath(name)), bool)
    assert words_of(words_of(name)) == words_of(name)
    assert set(regions_of(name)) <= set(REGION_NAMES) and split_of(name) in ('train', 'valid', 'test', '')
    assert finding_of(name) in (True, False, None)

spelled = st.sampled_from([str, str.upper, str.title])
between = st.sampled_from([' ', '_', '-', '.', '  '])
TERMS = [(term.strip().replace('*', ''), region) for region, terms in REGION_NAMES.items() for term in terms.split(',')]

@pytest.mark.parametrize('term, region', TERMS)
def test_each_word_for_a_region_finds_it_in_any_spelling(term, region):
    for spell in (str, str.upper, str.title):
        for mark in (' ', '_', '-', '.', '  '):
            for name in (term, f'{term} 12', f'XR {term}', f'left {term} fracture'):
                assert regions_of(spell(name).replace(' ', mark)) == [region]

@given(st.sampled_from(sorted(SPLITS)), spelled, between, st.sampled_from(['', 'images', '2017', 'data']))
def test_each_word_for_a_split_finds_it(word, spell, mark, more):
    assert split_of(spell(mark.join([word, more] if more else [word]))) == SPLITS[word]

@given(st.sampled_from(['fracture', 'fractured', 'broken', 'abnormal', 'positive']), spelled, between)
def test_a_finding_and_its_denial(word, spell, mark):
    assert finding_of(spell(f'wrist{mark}{word}')) is True
    assert finding_of(spell(f'no{mark}{word}')) is False
    assert finding_of(spell(f'not{mark}{word}')) is False
