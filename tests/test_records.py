"Records of patients as they come: doubled and unknown keys, impossible ages, mixed types, encodings, and names."
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonefrac.data.clinical import add_records, join_records, parsed_records, read_records
from bonefrac.data.readers import read_texts

PERSON = 'Mustermann'

@pytest.fixture
def images():
    names = [f'train/image{k}.rf.0.jpg' for k in range(6)]
    return pd.DataFrame(dict(name=names, source=[f'image{k}' for k in range(6)], study=[f'p{k//2}' for k in range(6)]))

def joined(images, tmp_path, raw):
    file = tmp_path/'records.csv'
    file.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return add_records(images, file)

REFUSED = {
    'study,age\np0,-3\n': 'record 1: age is -3, outside 0 to 120',
    'study,age\np0,999\n': 'record 1: age is 999, outside 0 to 120',
    'study,age\np0,inf\n': 'record 1: age is inf, outside',
    'study,age\np0,71\np1,seventy\n': 'record 2: age is no number',
    f'study,age\np0,{PERSON}\n': 'record 1: age is no number',
    f'study,sex\np0,{PERSON}\n': 'record 1: sex is none of',
    f'study,mechanism\np0,fell over the bicycle of Mrs {PERSON}\n': 'record 1: mechanism is a long text',
    'study,age\np0,71\np0,72\n': 'records 1 and 2 have one study and differ in age',
    'study,age\np0,71\np0,\n': 'records 1 and 2 have one study and differ in age',
    'study,age,Alter\np0,71,72\n': 'two columns for age',
    f'study,age\n{PERSON},71\n': 'none of 1 records belongs to an image',
    f'{PERSON},Erika,71\n{PERSON},Max,9\n': 'no column study or name',
    f'study,Patient Name\np0,{PERSON}\n': 'no column of a record',
    'study,age\n': 'none of 0 records belongs to an image',
    '': 'not a CSV file',
    f'study,age\np0,71,{PERSON},7\n': '',
    b'study,age\np0,\xff\xfe\x00\n': '',
    'study,mechanism\n' + ''.join(f'q{k},{PERSON} {k}\n' for k in range(40)): 'mechanism has 40 different texts',
}

@pytest.mark.parametrize('raw, reason', REFUSED.items(), ids=range(len(REFUSED)))
def test_what_cannot_be_meant_is_refused_without_repeating_it(images, tmp_path, raw, reason):
    with pytest.raises(ValueError) as error: joined(images, tmp_path, raw)
    assert 'records.csv: ' in str(error.value) and reason in str(error.value)
    assert PERSON not in str(error.value)

TAKEN = {
    'study,age\np0,N/A\np1,9\n': [None, None, 9, 9, None, None],
    'study,age\np0,71\np0,71\nunknown,5\n,6\n': [71, 71, None, None, None, None],
    'study;Alter;Ort\np0;71,5;Köln\n'.encode('cp1252'): [71.5, 71.5, None, None, None, None],
    'study,age\np2,0\n'.encode('utf-8-sig'): [None, None, None, None, 0, 0],
    'study\tage\r\np1\t120\r\n'.encode('utf-16'): [None, None, 120, 120, None, None],
    'file,age\nimage3.rf.0.jpg,40\nimage1,7\n': [None, 7, None, 40, None, None],
    f'name,study,age\n{PERSON},p1,9\n': [None, None, 9, 9, None, None],
    f'Patient Name,Birth Date,study,age\n"{PERSON}, Erika",1950-01-01,p1,"9"\n': [None, None, 9, 9, None, None],
}

@pytest.mark.parametrize('raw, ages', TAKEN.items(), ids=range(len(TAKEN)))
def test_what_can_be_meant_is_taken_and_nothing_else(images, tmp_path, raw, ages):
    table = joined(images, tmp_path, raw)
    assert table.age.astype(object).where(table.age.notna(), None).tolist() == ages
    assert set(table) == {*images, 'age'}
    assert PERSON not in table.to_csv() + repr(table.attrs) + repr(read_records(tmp_path/'records.csv'))

def test_names_of_patients_leave_no_trace(call, tmp_path):
    "A whole audit of films with a record that names everybody."
    made = call('bonefrac', 'phantom', '--out', 'films', '--n', '120', '--size', '64', '--annotated', '.5', '--record',
                cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    file = tmp_path/'films/records.csv'
    table = pd.read_csv(file)
    table.insert(0, 'Patient Name', [f'{PERSON}, {k}' for k in range(len(table))])
    table['ward'] = ['trauma', 'clinic']*(len(table)//2) + ['clinic']*(len(table) % 2)
    table.loc[3, 'age'] = None
    table.to_csv(file, index=False)
    done = call('bonefrac', 'audit', 'films', '--known', '5', '--out', 'out', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    columns = pd.read_csv(tmp_path/'out/columns.csv')
    assert set(columns.column) >= {'age', 'sex', 'pain', 'scanner'}
    assert not {'ward', 'Patient Name'} & set(columns.column)
    assert 'without the film' in done.stdout or not columns.warn.any()
    files = [path for path in (tmp_path/'out').rglob('*') if path.is_file()]
    assert len(files) > 10 and not any(PERSON.encode() in path.read_bytes() for path in files)
    assert PERSON not in done.stdout + done.stderr

def test_a_shortcut_is_named(call, tmp_path):
    "A column that the user lets in and that tells the answer."
    made = call('bonefrac', 'phantom', '--out', 'films', '--n', '120', '--size', '64', cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    truth = pd.read_csv(tmp_path/'films/truth.csv')
    room = truth.fractures.gt(0).map({True: 'trauma', False: 'clinic'})
    pd.DataFrame(dict(image=truth.name, room=room, side='L')).to_csv(tmp_path/'told.csv', index=False)
    done = call('bonefrac', 'audit', 'films', '--known', '5', '--records', 'told.csv', '--also', 'room', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'warning: room tells annotated without the film: area under the ROC curve' in done.stdout
    done = call('bonefrac', 'audit', 'films', '--records', 'gone.csv', '--known', '5', cwd=tmp_path)
    assert done.returncode == 1 and 'gone.csv: no such file of records' in done.stderr

@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(raw=st.binary(max_size=80) | st.text(alphabet='study,agex;\t"\n\r\0 -13ñ', max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory, raw):
    file = tmp_path_factory.getbasetemp()/'fuzz.csv'
    file.write_bytes(b'study,age\n' + raw)
    images = pd.DataFrame(dict(name=['a.jpg'], source=['a'], study=['a']))
    try: table = join_records(images, parsed_records(read_texts(file)))
    except ValueError: return
    assert table.age.dropna().between(0, 120).all()
