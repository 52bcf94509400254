"""After `nbdev_export`: docstrings say what the comments of parameters say, so that `help()` and editors show it.

The notebook stays the one source: the comments (docments) stand there, and its docstrings stay one sentence. Where
a comment speaks of `a name of` a table, the names are added. Nothing is imported, so a broken package can be read too.
"""
import ast
import re
import sys
import textwrap
from pathlib import Path

NAMES = re.compile(r'[Aa] name of `(\w+)`')

def comment(line, start):
    "The comment at the end of a line whose code ends at or after a column."
    text = line.encode()[start:].decode()
    found = re.search(r'(?:^|[\s,({=\'"\])])# ?(.*)$', text)
    return found[1].strip() if found else ''

def names_of(value):
    "Names that a table holds, as far as its source tells."
    if isinstance(value, ast.Call) and getattr(value.func, 'id', '') == 'dict':
        return [one.arg for one in value.keywords]
    parts = getattr(value, 'keys', None) if isinstance(value, ast.Dict) else getattr(value, 'elts', [])
    return [one.value for one in parts if isinstance(one, ast.Constant)]

def tables_of(tree):
    "Tables that a module defines: name -> names that it holds."
    given = [one for one in tree.body if isinstance(one, ast.Assign | ast.AnnAssign) and one.value]
    pairs = [(target, one.value) for one in given for target in getattr(one, 'targets', None) or [one.target]]
    return {target.id: names_of(value) for target, value in pairs if isinstance(target, ast.Name)}

def imported(path, tree, tables):
    "Tables that a module takes from others: name -> names that it holds."
    found = {}
    for one in tree.body:
        if not isinstance(one, ast.ImportFrom) or not one.level or not one.module: continue
        theirs = tables.get((path.parents[one.level - 1]/one.module.replace('.', '/')).with_suffix('.py'), {})
        found.update({alias.name: theirs[alias.name] for alias in one.names if alias.name in theirs})
    return found

def only(tables):
    "Tables whose name is that of no other module; a name that several share holds nothing."
    found = {}
    for of_module in tables.values():
        for name, names in of_module.items(): found[name] = [] if name in found else names
    return found

def seen_tables(trees):
    "Tables that a comment of each module may mean: its own, an imported one, or the only one of its name."
    tables = {path: tables_of(tree) for path, tree in trees.items()}
    shared = only(tables)
    return {path: {**shared, **imported(path, tree, tables), **tables[path]} for path, tree in trees.items()}

def allowed(text, tables):
    "What a parameter may be called, where its comment names a table of the package."
    found = NAMES.search(text)
    names = tables.get(found[1]) if found else None
    return f'{text} ({", ".join(map(str, names))})' if names else text

INDENT = dict(initial_indent='    ', subsequent_indent='    ', break_on_hyphens=False)

def indented(text): return textwrap.wrap(text, 108, **INDENT)

def entry(name, annotation, default, says, tables):
    "Lines of one parameter."
    kind = ast.unparse(annotation) if annotation else 'object'
    optional = f', default {ast.unparse(default)}' if default else ''
    return [f'{name} : {kind}{optional}', *indented(allowed(says, tables))]

def parameters(function, lines, tables):
    "Lines of all parameters that have a comment."
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    args = [*plain, given.vararg, *given.kwonlyargs, given.kwarg]
    defaults = dict(zip([arg.arg for arg in plain[len(plain) - len(given.defaults):]], given.defaults))
    defaults.update(zip([arg.arg for arg in given.kwonlyargs], given.kw_defaults))
    found = []
    for arg in filter(None, args):
        default = defaults.get(arg.arg)
        last = default or arg
        says = comment(lines[last.end_lineno - 1], last.end_col_offset)
        if says: found += entry(arg.arg, arg.annotation, default, says, tables)
    return found

def returned(function, lines, tables):
    "Lines of what comes back, where a comment says so."
    if not function.returns: return []
    says = comment(lines[function.returns.end_lineno - 1], function.returns.end_col_offset)
    return [ast.unparse(function.returns), *indented(allowed(says, tables))] if says else []

def fields(node, lines, tables):
    "Lines of the fields of a dataclass or named tuple, or of the parameters of a constructor."
    inits = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == '__init__']
    if inits: return parameters(inits[0], lines, tables)
    found = []
    for one in node.body:
        says = comment(lines[one.end_lineno - 1], one.end_col_offset) if isinstance(one, ast.AnnAssign) else ''
        if says: found += entry(one.target.id, one.annotation, one.value, says, tables)
    return found

def section(title, rows):
    "A section of a docstring; nothing where there are no rows."
    return ['', title, '-'*len(title), *rows] if rows else []

def additions(node, lines, tables):
    "Lines that the docstring of a function or class lacks."
    if isinstance(node, ast.ClassDef): return section('Parameters', fields(node, lines, tables))
    return section('Parameters', parameters(node, lines, tables)) + section('Returns', returned(node, lines, tables))

def is_sentence(node):
    "Has it a docstring that is one line of its own?"
    first = node.body[0]
    text = first.value.value if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else None
    return isinstance(text, str) and first.lineno == first.end_lineno != node.lineno and '\\' not in text

def explained(text, tables):
    "Source of a module with whole docstrings."
    tree, lines = ast.parse(text), text.split('\n')
    kinds = (ast.FunctionDef, ast.ClassDef)
    nodes = [one for one in tree.body if isinstance(one, kinds) and not one.name.startswith('_') and is_sentence(one)]
    for node in sorted(nodes, key=lambda one: -one.lineno):
        rows, doc = additions(node, lines, tables), node.body[0]
        if not rows: continue
        indent = ' '*doc.col_offset
        block = [f'"""{doc.value.value}', *rows, '"""']
        lines[doc.lineno - 1:doc.lineno] = [indent + row if row else '' for row in block]
    return '\n'.join(lines)

def explain(root):
    "Rewrite the docstrings of a package; a module that has them already stays as it is."
    paths = [path for path in sorted((root/'bonefrac').rglob('*.py')) if path.name[0] != '_']
    texts = [path.read_text(encoding='utf8') for path in paths]
    tables = seen_tables(dict(zip(paths, map(ast.parse, texts))))
    for path, text in zip(paths, texts):
        new = explained(text, tables[path])
        if new != text: path.write_text(new, encoding='utf8')
    return len(paths)

if __name__ == '__main__':
    print(f'docstrings of {explain(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())} modules')
