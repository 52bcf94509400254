"""Files of the chapter In the browser, beside a built site: films, network, onnxruntime-web, script and style.

    python site/live.py [FOLDER]        default: _docs

site/build.py does it by itself; after Quarto it is called by the Makefile.
"""
import shutil
import sys
from pathlib import Path

from bonefrac.deploy.browser import write_live
from bonefrac.files import cache_dir
from bonefrac.report.remake import page_network

HERE = Path(__file__).resolve().parent/'live'
OWN = ('live.js', 'live.css', 'LICENSE-onnxruntime.txt')

def network():
    "Folder of the page's network, which is made once, within minutes, and kept in the cache."
    folder = cache_dir('browser')/'made'
    try: return page_network(folder)[1]
    except (OSError, ValueError) as e: # such as no weights to begin with
        print(f'site/live.py: the network of the page In the browser could not be made: {e}', file=sys.stderr)
        return folder/'none'

def add_live(out):
    "Write the folder `live` of a site; why its network cannot answer, empty where it can."
    folder = Path(out)/'live'
    missing = write_live(folder, network())
    for name in OWN: shutil.copyfile(HERE/name, folder/name)
    if missing: print(f'site/live.py: the page In the browser shows films without answers: {missing}', file=sys.stderr)
    return missing

if __name__ == '__main__':
    out = Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parent.parent/'_docs')
    if not (out/'index.html').is_file(): sys.exit(f'site/live.py: {out}: no site there; run make docs')
    add_live(out)
