"""Mutation testing of the rules, keys and stores: `python -m tests.mutation`, or `make mutation`.

Each mutant is the code with one small change. One that no test notices is either a gap in the tests
or a change that makes no difference; `survivors.toml` says of each such one why it makes none.

- `mutants` makes them: the operators of mutmut over whole modules, and some for SQL (`statements`).
- `trees` copies the tree; `worker` runs in the copy, a fork for each mutant, so nothing is changed
  in place and processes that a test starts run the mutant too.
- `run` picks the tests: those that reach the changed statement, and all of them for what is changed
  at import. A test that takes ten times what it takes otherwise, and ten seconds on top of it, is
  a time-out.
- `survivors` compares what survived with the list; `__main__` prints the table.
"""
