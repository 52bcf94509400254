"""What a run refuses: photographs, pages, other parts of the body; and what it keeps."""
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from bonefrac.cli import main
from bonefrac.data.sources import load_images
from bonefrac.deploy.export import export
from bonefrac.deploy.predict import predict
from bonefrac.experiment.config import run_config
from bonefrac.experiment.run import read_predictions
from bonefrac.experiment.run import run as make_run
from bonefrac.phantom.bodies import BODIES, body_image
from bonefrac.training.refusal import REASONS
from bonefrac.training.strangers import photographs, stranger

@pytest.fixture(scope='module')
def run(tmp_path_factory):
    "Folder of a run on phantoms with enough films for a gate."
    config = run_config(arch='custom_cnn', data='phantom:240', size=64, epochs=1, batch_size=16)
    return make_run(config, tmp_path_factory.mktemp('runs'))

@pytest.fixture(scope='module')
def films(run):
    "Test films of the run."
    path_of = load_images('phantom:240').set_index('name').path
    return [path_of[name] for name in read_predictions(run).name]

@pytest.fixture(scope='module')
def others(tmp_path_factory):
    "Files of what is no radiograph, and of what is another one."
    folder = tmp_path_factory.mktemp('others')
    page, bodies = folder/'page.png', [folder/f'{name}.png' for name in BODIES]
    Image.fromarray(stranger('page', 999)).save(page)
    for name, file in zip(BODIES, bodies): Image.fromarray(body_image(name, 999)).save(file)
    return [*photographs('sklearn'), page], bodies

def test_the_card_says_what_the_gate_was_fitted_on(run):
    card = json.loads((run/'card.json').read_text())
    assert card['gate']['fitted_on']['films'] > 100 and card['gate']['kept'] > .85
    assert 0 < card['calibration']['limit'] <= 1 and card['calibration']['n'] >= 20
    assert (run/'gate.safetensors').stat().st_size < 2e6

def test_a_run_refuses_what_it_cannot_know_and_keeps_films(run, films, others):
    strangers, bodies = others
    found = predict([*films, *strangers, *bodies], run)
    kept = found[:len(films)]
    assert (kept.refused == '').mean() > .8, kept.refused.value_counts()
    assert kept.probability[kept.refused == ''].notna().all() and set(kept['set'][kept.refused == '']) != {''}
    first = found[len(films):len(films) + len(strangers)]
    assert list(first.refused) == [REASONS[0]]*len(strangers)
    assert list(first.answer) == ['refused']*len(strangers) and first.filter(like='p').filter(like='_').isna().all(None)
    assert (found[-len(bodies):].refused == REASONS[1]).mean() > .7

def test_the_command_says_so_in_words_in_json_and_on_a_page(run, others, capsys, tmp_path):
    photograph = str(others[0][0])
    main(['predict', photograph, str(run)])
    said = capsys.readouterr().out
    assert 'not a radiograph' in said and 'refused' in said and 'nan' not in said.lower()
    main(['predict', photograph, str(run), '--json'])
    image = json.loads(capsys.readouterr().out)['images'][0]
    assert (image['answer'], image['refused'], image['probability']) == ('refused', 'not a radiograph', None)
    main(['predict', photograph, str(run), '--html', str(tmp_path/'page.html')])
    page = re.sub('base64,[^"]+', '', (tmp_path/'page.html').read_text(encoding='utf8'))
    assert 'refused: not a radiograph' in page and '<meter' not in page and 'nan' not in page

def test_an_export_refuses_as_its_run(run, films, others, tmp_path):
    folder, asked = export(run, out=tmp_path/'export'), [*films[:5], *others[0], *others[1][:3]]
    assert sorted(os.listdir(folder)) == ['NOTICE.txt', 'card.json', 'gate.onnx', 'model.onnx']
    own, found = predict(asked, run), predict(asked, folder)
    assert list(found.refused) == list(own.refused)
    assert np.allclose(found.probability, own.probability, atol=1e-4, equal_nan=True)

def test_another_gate_than_the_card_describes_is_refused(run, films, tmp_path):
    for file in run.iterdir(): (tmp_path/file.name).write_bytes(file.read_bytes())
    (tmp_path/'gate.safetensors').write_bytes(b'another')
    with pytest.raises(ValueError, match='gate.safetensors is not the file that card.json describes'):
        predict(films[:1], tmp_path)
    (tmp_path/'gate.safetensors').unlink()
    with pytest.raises(ValueError, match='no gate.safetensors'): predict(films[:1], tmp_path)
