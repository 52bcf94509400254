"Package bonefrac as settings.ini describes it."
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

config = ConfigParser(delimiters=['='])
config.read(Path(__file__).parent/'settings.ini', encoding='utf8')
settings = config['DEFAULT']

def lines(name): return settings[name].split('\n')[1:]

setup(
    name=settings['lib_name'],
    version=settings['version'],
    description=settings['description'],
    long_description=Path('README.md').read_text(encoding='utf8'),
    long_description_content_type='text/markdown',
    author=settings['author'],
    license='Apache-2.0',
    license_files=['LICENSE'],
    url=settings['git_url'],
    keywords=settings['keywords'].split(),
    python_requires='>=' + settings['min_python'],
    packages=['bonefrac', 'bonefrac.notebooks', 'bonefrac.manifests'],
    package_data={'bonefrac.notebooks': ['*.ipynb'], 'bonefrac.manifests': ['*.csv']},
    install_requires=lines('requirements'),
    extras_require=dict(kaggle=lines('kaggle_requirements'), cluster=lines('cluster_requirements'), dev=lines('dev_requirements')),
    entry_points=dict(console_scripts=[settings['console_scripts']], nbdev=['bonefrac=bonefrac._modidx:d']),
    zip_safe=False,
)
