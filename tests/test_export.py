"Exports: made by one process, asked by another that has no torch, and refused where they are not what they should be."
import json
import os
from importlib.metadata import requires

import numpy as np
import pytest
from packaging.requirements import Requirement

from bonefrac.cli import main
from bonefrac.data.sources import load_images
from bonefrac.deploy.evaluate import chosen
from bonefrac.deploy.export import PACKAGES, export, write_onnx
from bonefrac.deploy.predict import onnx_network, predict, torch_network
from bonefrac.experiment.config import run_config
from bonefrac.experiment.run import read_predictions
from bonefrac.experiment.run import run as make_run
from bonefrac.files import file_sha256
from bonefrac.training.architectures import ARCHS, get_arch
from bonefrac.training.models import create_model

def with_requirements(names):
    "Distributions, and those that they require without extras."
    found, left = set(), list(names)
    while left:
        name = left.pop().lower().replace('_', '-')
        if name in found: continue
        found.add(name)
        asked = map(Requirement, requires(name) or [])
        left += [one.name for one in asked if not one.marker or one.marker.evaluate(dict(extra=''))]
    return found

# Only bonefrac, the standard library and the distributions named in argv[1] can be imported; then the command line.
BARE = '''
import json, sys
from importlib.metadata import packages_distributions
allowed = set(json.loads(sys.argv[1]))
def plain(name): return name.lower().replace('_', '-')
homes = {module: set(map(plain, names)) for module, names in packages_distributions().items()}

class Missing:
    def find_spec(self, name, path=None, target=None):
        home = homes.get(name.partition('.')[0])
        if home and not home & (allowed | {'bonefrac'}): raise ModuleNotFoundError(f'No module named {name!r}')

sys.meta_path.insert(0, Missing())
from bonefrac.cli import main
main(sys.argv[2:])
strange = {'torch', 'fastai', 'timm', 'torchvision', 'safetensors', 'onnx', 'scipy', 'sklearn'} & set(sys.modules)
assert not strange, strange
'''

@pytest.fixture
def bare(call, tmp_path):
    "Runs the command line where only the packages of an export are installed."
    allowed = json.dumps(sorted(with_requirements(PACKAGES)))
    def run(*args): return call('python', '-c', BARE, allowed, *args, cwd=tmp_path)
    return run

@pytest.fixture(scope='module')
def run(tmp_path_factory):
    "Folder of a run on phantoms that gives several answers."
    config = run_config(arch='custom_cnn', data='phantom:72', size=64, epochs=5, batch_size=8, filter='clahe')
    return make_run(config, tmp_path_factory.mktemp('runs'))

@pytest.fixture(scope='module')
def exported(run, tmp_path_factory): return export(run, out=tmp_path_factory.mktemp('exports')/'whole')

@pytest.fixture(scope='module')
def films(run):
    "Test images of the run."
    path_of = load_images('phantom:72').set_index('name').path
    return [path_of[name] for name in read_predictions(run).name]

@pytest.fixture
def copy(exported, tmp_path):
    "Writes a copy of the export with other content or another card."
    def make(content=None, **card):
        known = json.loads((exported/'card.json').read_text())
        content = (exported/'model.onnx').read_bytes() if content is None else content
        (tmp_path/'model.onnx').write_bytes(content)
        (tmp_path/'card.json').write_text(json.dumps({**known, 'sha256': file_sha256(tmp_path/'model.onnx'), **card}))
        return tmp_path
    return make

def refused(capsys, film, folder):
    "What `bonefrac predict` says of a folder that it refuses, in one line."
    with pytest.raises(SystemExit) as ended: main(['predict', str(film), str(folder)])
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count('\n')) == (1, '', 1) and str(folder) in err, err
    return err

def changed(exported, change):
    "Content of an ONNX file after a change."
    import onnx
    model = onnx.load(exported/'model.onnx')
    change(model)
    return model.SerializeToString()

def test_an_export_answers_as_its_run_without_torch(bare, run, exported, films):
    done = bare('predict', *map(str, films), str(exported), '--json')
    assert done.returncode == 0, done.stderr[-2000:]
    found, own = json.loads(done.stdout)['images'], predict(films, run)
    assert own.answer.nunique() > 1 # a network that always says the same would prove nothing
    assert [image['answer'] for image in found] == list(own.answer)
    assert np.allclose([image['probability'] for image in found], own.probability, atol=1e-4)

def test_a_run_without_torch_says_what_is_missing(bare, run, films):
    done = bare('predict', str(films[0]), str(run))
    assert (done.returncode, done.stdout, done.stderr.count('\n')) == (1, '', 1)
    assert 'torch is not installed; pip install bonefrac' in done.stderr

def test_an_export_knows_which_films_its_run_has_seen(run, exported):
    images = load_images('phantom:72')
    by_run, by_export = chosen(images, run), chosen(images, exported)
    assert set(by_run.films.name) == set(by_export.films.name) == set(read_predictions(run).name)
    assert by_run.notes == by_export.notes and 'named like films that the run was trained on' in by_run.notes[0]
    assert not any(name in (exported/'card.json').read_text() for name in images.name)

def test_the_command_exports_and_says_what_it_found(call, run, tmp_path):
    done = call('bonefrac', 'export', str(run), '--out', 'small', cwd=tmp_path)
    assert done.returncode == 0 and 'float32: 100.0% of' in done.stdout, done.stdout + done.stderr
    assert sorted(os.listdir(tmp_path/'small')) == ['NOTICE.txt', 'card.json', 'model.onnx']
    assert os.listdir(tmp_path) == ['small']

def test_another_file_than_the_card_describes_is_refused(copy, films, capsys):
    folder = copy()
    (folder/'model.onnx').write_bytes((folder/'model.onnx').read_bytes() + b'\0')
    assert 'model.onnx is not the file that card.json describes' in refused(capsys, films[0], folder)
    (folder/'model.onnx').unlink()
    assert 'no model.onnx' in refused(capsys, films[0], folder)

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes here')
def test_a_pipe_is_no_network(copy, films, capsys):
    folder = copy()
    (folder/'model.onnx').unlink()
    os.mkfifo(folder/'model.onnx')
    assert 'model.onnx' in refused(capsys, films[0], folder)

HOSTILE_CARDS = {
    'another folder': (dict(model='../model.onnx'), "unknown model '../model.onnx'; did you mean model.onnx?"),
    'another file': (dict(model='/etc/passwd'), "unknown model '/etc/passwd'"),
    'no text': (dict(model=['model.onnx']), 'unknown model'),
    'the weights of a run': (dict(model='model.safetensors'), 'no model.safetensors'),
    'another size': (dict(size=96), 'takes and gives'),
    'a huge size': (dict(size=30_000), 'size must be a whole number from 32 to 1024'),
    'fewer classes': (dict(classes=['a', 'b']), 'takes and gives'),
    'a class that clears the screen': (dict(classes=['a', 'b\x1b[2J']), 'cannot be printed'),
    'an unknown filter': (dict(filter='sharpen'), "unknown filter 'sharpen'"),
}

@pytest.mark.parametrize('name', HOSTILE_CARDS)
def test_a_hostile_card_is_refused(name, copy, films, capsys):
    values, says = HOSTILE_CARDS[name]
    assert says in refused(capsys, films[0], copy(**values))

def test_weights_in_another_file_are_refused(exported, copy, films, capsys):
    def outside(model):
        from onnx import TensorProto
        weight = model.graph.initializer[0]
        weight.ClearField('raw_data')
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key='location', value='../../secret\x1b[2J')
    said = refused(capsys, films[0], copy(changed(exported, outside)))
    assert r'keeps weights in another file, ../../secret\x1b[2J' in said

def test_operators_of_ones_own_are_refused(exported, copy, films, capsys):
    def own(model):
        model.graph.node[1].op_type, model.graph.node[1].domain = 'Run', 'com.evil'
        model.opset_import.add(domain='com.evil', version=1)
    assert 'asks for the operator com.evil:Run' in refused(capsys, films[0], copy(changed(exported, own)))
    def hidden(model): model.graph.node[0].attribute.add(name='body').g.node.add(op_type='Loop')
    assert 'asks for the operator Loop' in refused(capsys, films[0], copy(changed(exported, hidden)))

def test_weights_that_are_no_numbers_give_no_answer(exported, copy, films, capsys):
    def nan(model):
        weight = max(model.graph.initializer, key=lambda one: len(one.raw_data))
        weight.raw_data = np.full(len(weight.raw_data)//4, np.nan, np.float32).tobytes()
    assert 'no finite probability' in refused(capsys, films[0], copy(changed(exported, nan)))

@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'\x08\x0a'*50_000, b'\xff'*1000], ids=len)
def test_what_is_no_onnx_file_is_refused(content, copy, films, capsys): refused(capsys, films[0], copy(content))

def test_damage_never_ends_in_a_traceback(exported, copy, films, capsys):
    whole, rng = (exported/'model.onnx').read_bytes(), np.random.default_rng(0)
    for _ in range(20):
        content = bytearray(whole[:20_000])
        for at in rng.integers(0, 2_000, 5): content[at] = rng.integers(256)
        refused(capsys, films[0], copy(bytes(content)))

@pytest.mark.parametrize('arch', ARCHS)
def test_every_architecture_travels(arch, tmp_path):
    import torch
    torch.manual_seed(0)
    row, rng = get_arch(arch), np.random.default_rng(0)
    card = dict(size=96, mean=row.mean, std=row.std, classes=['a', 'b'])
    squares = rng.integers(0, 256, (2, card['size'], card['size']), np.uint8)
    model = create_model(arch, 'scratch', 2, card['size']).eval()
    write_onnx(model, card, tmp_path/'model.onnx')
    own, other = (one(squares) for one in (torch_network(model, card), onnx_network(tmp_path/'model.onnx', card)))
    assert np.abs(own - other).max() < 1e-3*max(1, np.abs(own).max())

def test_a_map_travels_with_its_peaks(tmp_path):
    config = run_config(task='spot_map', data='phantom:40:0.6', weights='scratch', size=64, epochs=1, batch_size=8,
                        precision='float32')
    films, made = load_images(config.data).path[:6], make_run(config, tmp_path/'runs')
    mine, its = predict(films, made), predict(films, export(made, out=tmp_path/'out'))
    assert list(mine.answer) == list(its.answer) and mine.boxes.map(len).sum() > 0
    for own, other in zip(mine.boxes, its.boxes): assert np.allclose(own, other, atol=1e-3)
    with pytest.raises(ValueError, match='exported without --int8'): export(made, int8=True, out=tmp_path/'small')

def test_an_architecture_that_fails_with_eight_bits_is_refused_before_images_are_read(tmp_path):
    from safetensors.torch import save_file
    save_file(create_model('efficientnet_b0', 'scratch', 2, 32).state_dict(), tmp_path/'model.safetensors')
    card = dict(arch='efficientnet_b0', classes=['a', 'b'], filter='none', size=32, mean=[.5]*3, std=[.2]*3,
                sha256=file_sha256(tmp_path/'model.safetensors'))
    (tmp_path/'card.json').write_text(json.dumps(card))
    with pytest.raises(ValueError, match='efficientnet_b0 cannot be exported with eight bits: SiLU'):
        export(tmp_path, int8=True, out=tmp_path/'out')
    assert not (tmp_path/'out').exists()

def test_images_that_are_not_to_be_had_are_named(run, tmp_path):
    with pytest.raises(ValueError, match='the images of this run are not in phantom:60; --data names where they are'):
        export(run, out=tmp_path/'out', data='phantom:60')
    assert os.listdir(tmp_path) == []
