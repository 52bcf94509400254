"""Four tiny runs whose predictions must not change when code moves.

    python tests/witness.py          run them and print their hashes as JSON

The hashes that tests/test_witness.py expects are in tests/witness.json. Arithmetic in float32 differs between kinds of
CPU and versions of torch, so each set of hashes is kept under a fingerprint, the hash of a piece of training and
of a few NumPy functions.
"""
import hashlib
import json
import os
import sys
from tempfile import TemporaryDirectory

for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ[name] = '1'

COMMON = dict(data='phantom:60', size=48, epochs=2, batch_size=8, precision='float32')
RUNS = {
    'custom_cnn': dict(arch='custom_cnn', weights='scratch'),
    'squeezenet1_1': dict(arch='squeezenet1_1', weights='scratch'),
    'efficientnet_lite0': dict(arch='efficientnet_lite0', weights='scratch'),
    'efficientnet_lite0 from its package': dict(arch='efficientnet_lite0', weights='imagenet'),
}

def sha(*parts): return hashlib.sha256(b''.join(parts)).hexdigest()[:16]

def fingerprint():
    "Hash of what this machine makes of a few steps of training and of NumPy's functions."
    import numpy as np
    import torch
    from torch import nn
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6(), nn.Conv2d(16, 16, 5, padding=2, groups=16),
              nn.Conv2d(16, 32, 1), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(288, 6)]
    net = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(5):
        batch = torch.randn(8, 3, 48, 48).contiguous(memory_format=torch.channels_last)
        loss = nn.functional.cross_entropy(net(batch), torch.arange(8) % 6)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x = np.linspace(-3, 3, 1001)
    functions = [f(x).tobytes() for f in (np.exp, np.sin, np.tanh, np.arctan)] + [(np.outer(x, x) @ x).tobytes()]
    return sha(*(p.detach().numpy().tobytes() for p in net.parameters()), *functions)

def prediction_hash(table):
    "Hash of names, truths and probabilities, to the last bit."
    columns = sorted(c for c in table if c.startswith('p_'))
    words = '\n'.join(map('\t'.join, zip(table.part, table.name, table.truth)))
    return sha(words.encode(), ' '.join(columns).encode(), table[columns].to_numpy('float64').tobytes())

def main():
    import pandas as pd
    import torch
    from bonefrac.experiment.config import run_config
    from bonefrac.experiment.run import run
    torch.set_num_threads(1)
    os.environ.pop('BONEFRAC_WEIGHTS', None)
    found = {}
    with TemporaryDirectory() as runs:
        for name, values in RUNS.items():
            folder = run(run_config(**COMMON, **values), runs)
            table = pd.read_parquet(folder/'predictions.parquet')
            found[name] = prediction_hash(table[table.part != 'train']) # as the first version had them
    print(json.dumps({fingerprint(): found}, indent=1))

if __name__ == '__main__': sys.exit(main())
