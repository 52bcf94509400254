"""Measure what each architecture costs, at 96 and 224 pixels and at every other size of the record, and write `results/cost.csv`.

    python results/cost.py     needs the record, no images and no weights

Seconds an epoch come from the runs of the record (median over runs of the study-grouped split on all training images, by the unchanged recipe and without filter; NaN where there is none). Images a second are those of this machine,
batches of 16 in float32 on one CPU thread, best of three; they compare architectures and are no promise.
"""
import time
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save
from torch.utils.flop_counter import FlopCounterMode

from bonefrac.training.architectures import ARCHS
from bonefrac.training.models import create_model
from bonefrac.experiment.record import read_record, unchanged

RESULTS = Path(__file__).resolve().parent

def multiply_adds(model, size):
    "Multiply-adds of one image; the counter counts a multiplication and an addition each."
    with torch.no_grad(), FlopCounterMode(display=False) as counter: model(torch.zeros(1, 3, size, size))
    return counter.get_total_flops()//2

def images_a_second(model, size, batch=16, repeats=3):
    "Speed of inference, best of some repeats after one to warm up."
    images, times = torch.zeros(batch, 3, size, size), []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            start = time.perf_counter()
            model(images)
            times.append(time.perf_counter() - start)
    return batch/min(times[1:])

def epoch_seconds(runs, arch, size):
    "Median seconds an epoch of recorded runs."
    made = runs[(runs.arch == arch) & (runs['size'] == size) & (runs['filter'] == 'none') & (runs.precision == 'bfloat16') & (runs.rates == '')]
    return (made.seconds/made.epochs).median()

def measure(runs, arch, size):
    "One row of the table."
    model = create_model(arch, 'scratch', size=size).eval()
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    return dict(arch=arch, size=size, parameters=sum(p.numel() for p in model.parameters()), multiply_adds=multiply_adds(model, size), megabytes=round(len(save(state))/1e6, 2),
                images_a_second=round(images_a_second(model, size), 1), seconds_an_epoch=round(epoch_seconds(runs, arch, size), 2))

def asked(runs):
    "Sizes and architectures, in order."
    pairs = {*product((96, 224), ARCHS), *zip(runs['size'], runs.arch)}
    return sorted(pairs, key=lambda pair: (pair[0], list(ARCHS).index(pair[1])))

if __name__ == '__main__':
    torch.set_num_threads(1)
    runs = unchanged(read_record(RESULTS), but=('rates',)).query('split == "study_grouped" and recipe == "bonefrac"')
    pd.DataFrame([measure(runs, arch, size) for size, arch in asked(runs)]).to_csv(RESULTS/'cost.csv', index=False)
