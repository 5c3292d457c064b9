"""The evaluation: godwit beside the paper's method and others, on the same programs, in turn. bench/evaluate runs it,
bench/report shows what it found; docs/evaluation.md has a run.

  experiments.py   a TOML file of experiments, checked          methods.py     the ways to move a container
  plan.py          what is to be measured, in its order         workloads.py   services and synthetic programs
  session.py       measures it, resumably                       programs.py    programs that end with a result
  results.py       JSON lines                                   costs.py       memory, CPU time, bytes, disk over time
  bootstrap.py     medians, confidence intervals                machine.py     machine, versions, what it cannot do
  figures.py, tables.py, page.py, summary.py                    the report
"""
