"The home page says what NumPy alone finds in the record."
import re

import pytest
from recompute import ROOT, SAID, compare, numbers

TEXT = (ROOT/'README.md').read_text(encoding='utf8')

@pytest.fixture(scope='module')
def found(): return numbers()

def test_every_number_of_the_home_page(found):
    rows = compare(TEXT, found)
    assert len(rows) > 25 and [row for row in rows if not row[-1]] == []

def test_another_number_is_noticed(found):
    "Each number of each sentence, changed by a tenth and two."
    for pattern in SAID:
        match = re.search(pattern, TEXT)
        for k, said in enumerate(match.groups(), 1):
            if not re.fullmatch(r'[+-]?[\d.]+', said or ''): continue
            other = f'{float(said)*1.1 + 2:+.2f}' if '.' in said else str(int(said) + 3)
            changed = TEXT[:match.start(k)] + other + TEXT[match.end(k):]
            assert not all(row[-1] for row in compare(changed, found)), (pattern, said)
