"""Gates: what must hold of the repository as a whole.

    python tests/gates.py            check all; exit status 1 if one fails
    python tests/gates.py --fix      export, clean and write README.md first
    python tests/gates.py export     check one
"""
import argparse, json, os, re, shutil, subprocess, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'site')) # README.md and names of pages are made there

class Broken(Exception): "A gate that does not hold."

def notebooks(root, *parts):
    "Notebooks below nbs/, at least one."
    found = [p for p in sorted((root/'nbs').joinpath(*parts).rglob('*.ipynb')) if '.ipynb_checkpoints' not in p.parts and p.name[0] not in '._' and 'runs' not in p.parts]
    if not found: raise Broken(f'no notebook below {(root/"nbs").joinpath(*parts)}')
    return found

def copy_of(root, to):
    "A copy of what nbdev reads and writes, without outputs of runs."
    to = Path(to)/'copy'
    shutil.copytree(root, to, symlinks=True, ignore=shutil.ignore_patterns('.git', '.venv', 'runs', 'results', 'dist', 'build', '_docs', '_proc', '*.egg-info', '.ipynb_checkpoints', '__pycache__'))
    return to

def nbdev(command, root):
    "Run an nbdev command in a checkout."
    done = subprocess.run([sys.executable, '-c', f'from nbdev.cli import *; from nbdev.clean import *; from nbdev.doclinks import *; {command}()'], cwd=root, capture_output=True, text=True)
    if done.returncode: raise Broken(f'{command}: {done.stderr.strip().splitlines()[-1]}')

def differing(a, b, names):
    "Which of the files `names` differ between two folders or are missing from one."
    return [name for name in sorted(names) if not ((a/name).is_file() and (b/name).is_file() and (a/name).read_bytes() == (b/name).read_bytes())]

def modules(root): return {p.relative_to(root).as_posix() for p in (root/'bonefrac').glob('*.py')}

def gate_export(root):
    "The package is what the notebooks export, no more and no less."
    with TemporaryDirectory() as d:
        copy = copy_of(root, d)
        for file in (copy/'bonefrac').glob('*.py'):
            if file.name != '__init__.py': file.unlink()
        nbdev('nbdev_export', copy)
        made = modules(copy)
        wrong = differing(root, copy, made | modules(root))
    tracked = subprocess.run(['git', 'ls-files', 'bonefrac'], cwd=root, capture_output=True, text=True)
    if tracked.returncode == 0 and (new := sorted(made - set(tracked.stdout.split()))): raise Broken(f'not in git: {", ".join(new)}')
    if wrong: raise Broken(f'not as the notebooks export: {", ".join(wrong)}; run make prepare')
    return f'{len(made)} modules'

def gate_clean(root):
    "Notebooks are as nbdev_clean leaves them; those of the study are executed, and nothing ended in an error."
    names = [p.relative_to(root).as_posix() for p in notebooks(root)]
    with TemporaryDirectory() as d:
        copy = copy_of(root, d)
        nbdev('nbdev_clean', copy)
        wrong = differing(root, copy, names)
    if wrong: raise Broken(f'not clean: {", ".join(wrong)}; run make prepare')
    for name in names: _check_cells(name, json.loads((root/name).read_text(encoding='utf8')))
    return f'{len(names)} notebooks'

WIDGET = 'application/vnd.jupyter.widget-view+json'

def _of_this_machine(out):
    "Is an output a progress bar, or does it name a folder of the machine that made it?"
    return WIDGET in out.get('data', {}) or 'site-packages/' in ''.join(out.get('text', ''))

def drop_machine_outputs(root):
    "Take progress bars and warnings with paths out of the outputs of notebooks."
    for path in notebooks(root):
        nb = json.loads(path.read_text(encoding='utf8'))
        if not any(_of_this_machine(out) for cell in nb['cells'] for out in cell.get('outputs', [])): continue
        for cell in nb['cells']:
            if 'outputs' in cell: cell['outputs'] = [out for out in cell['outputs'] if not _of_this_machine(out)]
        path.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + '\n', encoding='utf8')

def _check_cells(name, nb):
    ids = [cell.get('id') for cell in nb['cells']]
    if None in ids or len(set(ids)) < len(ids): raise Broken(f'{name}: cells without an id of their own')
    for cell in nb['cells']:
        for out in cell.get('outputs', []):
            if out['output_type'] == 'error': raise Broken(f'{name}: a cell ends in {out["ename"]}')
            if 'image/jpeg' in out.get('data', {}): raise Broken(f'{name}: a JPEG output')
            if _of_this_machine(out): raise Broken(f'{name}: the output of a widget or a path of this machine; run make prepare')
    if name.startswith('nbs/study/'):
        tagged = sum('parameters' in cell['metadata'].get('tags', []) for cell in nb['cells'])
        if not any(cell.get('outputs') for cell in nb['cells']): raise Broken(f'{name}: not executed')
        if tagged != 1: raise Broken(f'{name}: {tagged} cells are tagged parameters; exactly one must be')

def gate_readme(root):
    "README.md is nbs/index.ipynb."
    from readme import render, README_FILES
    text, files = render(root/'nbs/index.ipynb')
    if (root/'README.md').read_text(encoding='utf8') != text: raise Broken('README.md is not what nbs/index.ipynb says; run make prepare')
    for name, content in files.items():
        if not (root/name).is_file() or (root/name).read_bytes() != content: raise Broken(f'{name} is not the figure of nbs/index.ipynb; run make prepare')
    extra = {p.relative_to(root).as_posix() for p in (root/README_FILES).glob('*')} - set(files)
    if extra: raise Broken(f'left over: {", ".join(sorted(extra))}')
    return f'{len(text.splitlines())} lines, {len(files)} figures'

def gate_sidebar(root):
    "Every notebook stands in the sidebar of _quarto.yml, nothing else does, and no two make the same page."
    import yaml
    from readme import page
    text = yaml.safe_load((root/'_quarto.yml').read_text())
    def leaves(items): return [leaf for item in items for leaf in (leaves(item['contents']) if isinstance(item, dict) else [item])]
    listed, present = set(leaves(text['website']['sidebar']['contents'])), {p.relative_to(root/'nbs').as_posix() for p in notebooks(root)}
    if listed != present: raise Broken(f'sidebar and notebooks differ: {", ".join(sorted(listed ^ present))}')
    pages = [page(p) for p in sorted(listed)]
    if twice := sorted({p for p in pages if pages.count(p) > 1}): raise Broken(f'pages that two notebooks make: {", ".join(twice)}')
    return f'{len(listed)} pages'

def gate_reporting(root):
    "What the reporting page calls met or partly met is shown by a file or cell that is there."
    from bonefrac.report.reporting import missing_evidence, reporting_items
    try: items = reporting_items(root/'nbs/study/reporting.csv')
    except (OSError, ValueError) as e: raise Broken(str(e)) from None
    if missing := missing_evidence(items, root): raise Broken(f'{len(missing)} targets are not there: {"; ".join(missing[:5])}')
    return f'{len(items)} items of {items.guideline.nunique()} guidelines'

FORBIDDEN = r'\.(jpe?g|dcm|pth|pt|pkl|safetensors|onnx|zip|npy)$'

def gate_tracked(root):
    "No image of the data set, archive or weights is in git, and no file above 1 MB."
    files = subprocess.run(['git', 'ls-files', '-z'], cwd=root, capture_output=True, text=True, check=True).stdout.split('\0')[:-1]
    if not files: raise Broken('git tracks nothing')
    if wrong := [f for f in files if re.search(FORBIDDEN, f, re.I)]: raise Broken(f'tracked: {", ".join(wrong)}')
    if wrong := [f for f in files if (root/f).is_file() and (root/f).stat().st_size > 2**20]: raise Broken(f'above 1 MB: {", ".join(wrong)}')
    return f'{len(files)} files'

def _test(path):
    "Result of nbdev_test on one notebook, and the seconds that it took."
    start = time.time()
    done = subprocess.run([str(Path(sys.executable).parent/'nbdev_test'), '--path', str(path), '--n_workers', '0'], cwd=path.parents[2], capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    return path.name, done.returncode == 0 and 'Success' in done.stdout, time.time() - start, (done.stdout + done.stderr)[-3000:]

def gate_notebooks(root):
    "Every library notebook passes nbdev_test, and has tests to run."
    paths = notebooks(root, 'library')
    for path in paths:
        cells = [''.join(c['source']) for c in json.loads(path.read_text(encoding='utf8'))['cells'] if c['cell_type'] == 'code']
        if not any(re.search(r'^\s*(test_|assert\b)', line) for cell in cells for line in cell.splitlines()): raise Broken(f'{path.name} asserts nothing')
        if skipped := [cell for cell in cells if re.search(r'^#\|\s*(eval:\s*false|notest|cuda|slow)', cell, re.M)]: raise Broken(f'{path.name}: {len(skipped)} cells are skipped')
    with ProcessPoolExecutor(os.cpu_count()) as pool: results = list(pool.map(_test, paths))
    for name, passed, seconds, text in results:
        print(f'    {"ok    " if passed else "FAILED"} {name} {seconds:.0f} s', flush=True)
        if not passed: print(text)
    if failed := [name for name, passed, *_ in results if not passed]: raise Broken(f'{len(failed)} of {len(results)} notebooks failed: {", ".join(failed)}')
    if len(results) != len(paths): raise Broken(f'{len(results)} of {len(paths)} notebooks were run')
    return f'{len(results)} notebooks passed, 0 failed'

GATES = dict(export=gate_export, clean=gate_clean, sidebar=gate_sidebar, readme=gate_readme, reporting=gate_reporting, tracked=gate_tracked, notebooks=gate_notebooks)

def fix(root):
    "Export the package, clean the notebooks, write README.md."
    nbdev('nbdev_export', root)
    drop_machine_outputs(root)
    nbdev('nbdev_clean', root)
    from readme import write
    write(root)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('gates', nargs='*', metavar='GATE', help=f'default: all of {", ".join(GATES)}')
    parser.add_argument('--root', type=Path, default=ROOT, help='checkout to look at')
    parser.add_argument('--fix', action='store_true', help='export, clean and write README.md first')
    args = parser.parse_args()
    if wrong := set(args.gates) - set(GATES): parser.error(f'unknown gate {", ".join(sorted(wrong))}')
    if args.fix: fix(args.root.resolve())
    names, failed = args.gates or list(GATES) if not args.fix or args.gates else [n for n in GATES if n != 'notebooks'], []
    for name in names:
        try: print(f'gate {name}: {GATES[name](args.root.resolve())}', flush=True)
        except (Broken, OSError) as e:
            print(f'gate {name}: FAILED: {e}', flush=True)
            failed.append(name)
    print(f'gates: {len(names) - len(failed)} passed, {len(failed)} failed')
    sys.exit(bool(failed))

if __name__ == '__main__': main()
