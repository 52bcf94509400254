"Package bonefrac as settings.ini describes it."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_namespace_packages, setup

config = ConfigParser(delimiters=['='])
config.read(Path(__file__).parent/'settings.ini', encoding='utf8')
settings = config['DEFAULT']

STATUS = {'1': '1 - Planning', '2': '2 - Pre-Alpha', '3': '3 - Alpha', '4': '4 - Beta', '5': '5 - Production/Stable'}
PYTHONS = '3.10', '3.11', '3.12', '3.13'
CLASSIFIERS = [
    f'Development Status :: {STATUS[settings["status"]]}',
    f'Intended Audience :: {settings["audience"]}',
    'Intended Audience :: Science/Research',
    'Framework :: Jupyter',
    f'Natural Language :: {settings["language"]}',
    'Operating System :: MacOS',
    'Operating System :: POSIX :: Linux',
    *(f'Programming Language :: Python :: {version}' for version in ('3', *PYTHONS)),
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
    'Topic :: Scientific/Engineering :: Image Recognition',
    'Topic :: Scientific/Engineering :: Medical Science Apps.',
    'Typing :: Typed',
]

def lines(name): return settings[name].split('\n')[1:]

# Wings are found, not listed. bonefrac.notebooks, bonefrac.manifests and bonefrac.labels are links to folders of data;
# nothing below them is a package.
packages = find_namespace_packages(
    include=['bonefrac', 'bonefrac.*'],
    exclude=['bonefrac.notebooks.*', 'bonefrac.manifests.*', 'bonefrac.labels.*'],
)

setup(
    name=settings['lib_name'],
    version=settings['version'],
    description=settings['description'],
    long_description=Path('README.md').read_text(encoding='utf8'),
    long_description_content_type='text/markdown',
    author=settings['author'],
    license_expression='Apache-2.0', # in place of a classifier, which it forbids
    license_files=['LICENSE'],
    url=settings['git_url'],
    keywords=settings['keywords'].split(),
    classifiers=CLASSIFIERS,
    python_requires='>=' + settings['min_python'],
    packages=packages,
    package_data={
        'bonefrac': ['py.typed'],
        'bonefrac.notebooks': ['*.ipynb'],
        'bonefrac.manifests': ['*.csv'],
        'bonefrac.labels': ['*.csv'],
    },
    install_requires=lines('requirements'),
    extras_require={
        'dicom': lines('dicom_requirements'),
        'kaggle': lines('kaggle_requirements'),
        'cluster': lines('cluster_requirements'),
        'trust': lines('trust_requirements'),
        'ct': lines('ct_requirements'),
        'onnx': lines('onnx_requirements'),
        'reader': lines('reader_requirements'),
        'dev': lines('dev_requirements'),
    },
    entry_points={
        'console_scripts': [settings['console_scripts']],
        'nbdev': ['bonefrac=bonefrac._modidx:d'],
    },
    zip_safe=False,
)
