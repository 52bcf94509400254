"Every architecture starts from the ImageNet weights that a folder holds, and trains from there."
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bonefrac.training.architectures import ARCHS
from bonefrac.training.models import create_model, find_weights
from bonefrac.training.learner import fit, synth_learner

TORCHVISION = [name for name, arch in ARCHS.items() if arch.torchvision]

def stand_in(name, folder):
    "A file with the names and shapes of the ImageNet weights; each tensor holds one number, so it is tiny."
    state = create_model(name, 'scratch', 1000).state_dict()
    def constant(key, t):
        return 1/np.prod(t.shape[1:]) if t.dim() > 1 else float(key.endswith(('weight', 'running_var')))
    def filled(key, t): return torch.full((1,), constant(key, t), dtype=t.dtype).expand(t.shape) if t.dim() else t
    path = Path(folder)/f'{name}-0123abcd.pth'
    torch.save({key: filled(key, t) for key, t in state.items()}, path)
    return path

@pytest.mark.parametrize('name', TORCHVISION)
def test_starts_from_the_folder_and_trains(name, tmp_path, monkeypatch):
    monkeypatch.setenv('BONEFRAC_WEIGHTS', str(tmp_path))
    path = stand_in(name, tmp_path)
    assert path.stat().st_size < 2**20 and find_weights(name) == path
    given, head = torch.load(path, weights_only=True), ARCHS[name].head + '.'
    state = create_model(name).state_dict()
    kept = [key for key in given if not key.startswith(head) and not key.endswith('num_batches_tracked')]
    assert kept and all(torch.equal(state[key], given[key]) for key in kept)
    assert state[head + 'weight'].shape[0] == 6
    learn = synth_learner(name, n=32, weights='imagenet')
    before = learn.model.state_dict()[head + 'weight'].clone()
    fit(learn, 1, lines=False)
    assert np.isfinite(learn.history.train_loss).all()
    assert not torch.equal(before, learn.model.state_dict()[head + 'weight'])

def test_lite0_comes_with_its_package(monkeypatch):
    monkeypatch.delenv('BONEFRAC_WEIGHTS', raising=False)
    learn = fit(synth_learner('efficientnet_lite0', n=32, weights='imagenet'), 1, lines=False)
    assert np.isfinite(learn.history.train_loss).all()

def test_absent_weights_say_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv('BONEFRAC_WEIGHTS', str(tmp_path))
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path/'hub'))
    def offline(*args, **kwargs): raise OSError('network is unreachable')
    monkeypatch.setattr(torch.hub, 'download_url_to_file', offline)
    advice = 'put resnet18-[0-9a-f]+.pth into a folder and name that folder in BONEFRAC_WEIGHTS'
    with pytest.raises(ValueError, match=f'no ImageNet weights for resnet18.*{advice}'): create_model('resnet18')

WEIGHTS = os.environ.get('BONEFRAC_WEIGHTS')

@pytest.mark.skipif(not WEIGHTS, reason='BONEFRAC_WEIGHTS names no folder of ImageNet weights')
@pytest.mark.parametrize('name', ['squeezenet1_1', 'mobilenet_v2'])
def test_real_companion_weights(name):
    pytest.importorskip('torchvision')
    path = find_weights(name)
    if path.parent != Path(WEIGHTS): pytest.skip(f'no {name} weights in {WEIGHTS}')
    first = next(key for key in torch.load(path, weights_only=True) if key.endswith('weight'))
    assert torch.equal(create_model(name).state_dict()[first], torch.load(path, weights_only=True)[first])
