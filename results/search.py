"""A small search for learning rate, weight decay and dropout, judged on validation images alone.

    python results/search.py [TRIALS]

Proposes TRIALS configurations (default 12) of EfficientNet-Lite0 from ImageNet weights at 96 pixels, on the first study-grouped fold,
with Optuna's tree-structured Parzen estimator and seed 0, and adds them to the record. The score is the log loss of the validation
part; test images are never looked at. Finished trials are found again, so an interrupted search goes on. Needs the archive (BONEFRAC_DATA).
"""
import sys
from pathlib import Path

import optuna

from bonefrac.evaluation.metrics import log_loss
from bonefrac.experiment.config import run_config
from bonefrac.experiment.run import read_predictions, run
from bonefrac.experiment.record import collect

RESULTS = Path(__file__).resolve().parent

def score(trial):
    "Validation log loss of one configuration."
    values = dict(lr=round(trial.suggest_float('lr', 2e-4, 8e-3, log=True), 6), wd=round(trial.suggest_float('wd', 1e-3, .3, log=True), 5), dropout=round(trial.suggest_float('dropout', 0, .6), 3))
    folder = run(run_config(arch='efficientnet_lite0', size=96, epochs=12, **values), 'runs')
    collect('runs', RESULTS)
    loss = log_loss(read_predictions(folder, 'valid'))
    print(f'{folder.name}: validation log loss {loss:.4f}', flush=True)
    return loss

if __name__ == '__main__':
    if len(sys.argv) > 1 and not sys.argv[1].isdigit(): sys.exit(__doc__)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=5))
    search.enqueue_trial(dict(lr=2e-3, wd=.05, dropout=.2)) # about the recipe as it is
    search.optimize(score, n_trials=int(sys.argv[1]) if len(sys.argv) > 1 else 12)
    print(f'best: {search.best_params}, validation log loss {search.best_value:.4f}')
