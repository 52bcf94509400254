"""Reproducible deep learning on bone radiographs.

The main names are here, and are imported when they are first used:

    from bonefrac import load_images, make_split, run_config, run, predict

Everything else is in the wings: `bonefrac.data`, `bonefrac.audit`, `bonefrac.training`, `bonefrac.experiment`,
`bonefrac.evaluation`, `bonefrac.phantom`, `bonefrac.deploy`, `bonefrac.report`. Not a medical device.
"""
import importlib
import warnings

__version__ = "0.1.0"

# torchvision and timm still script functions when they are imported; nothing that a user can act on
warnings.filterwarnings('ignore', message='.*torch.jit', category=FutureWarning)

HOMES = {
    'data.sources': ('load_images', 'read_images', 'phantom_images'),
    'data.table': ('problems', 'summary'),
    'data.filters': ('apply_filter',),
    'training.tasks': ('askable', 'statement'),
    'training.splits': ('make_split',),
    'training.loaders': ('cached_pixels', 'image_loaders'),
    'training.models': ('create_model',),
    'training.learner': ('fit', 'make_learner', 'predictions'),
    'experiment.config': ('run_config',),
    'experiment.run': ('Prepared', 'read_predictions', 'read_run', 'run'),
    'evaluation.judge': ('plot_predictions', 'scores', 'sentence_of'),
    'evaluation.comparisons': ('compare', 'compare_pairs'),
    'deploy.predict': ('load_model', 'predict'),
    'deploy.export': ('export',),
}
HOME_OF = {name: home for home, names in HOMES.items() for name in names}

def __getattr__(name):
    "A main name, imported from its room when it is first used."
    if name not in HOME_OF: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(f'{__name__}.{HOME_OF[name]}'), name)
    globals()[name] = value
    return value

def __dir__(): return sorted({*globals(), *HOME_OF})
