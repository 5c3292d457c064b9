"""What must happen when a migration is refused: both commands name the problem, and the container does not notice."""

import json

from . import migration


def assert_refused(lab, container, target, *texts, outcome="rolled_back"):
    """`godwit migrate` is refused with all of TEXTS in its error, and the container's first process goes on."""
    before = container.state(lab)
    result = migration.migrate(lab, container, target)
    _assert_report(result, texts, outcome)
    assert container.state(lab) == before, "the container is not what it was"
    return result


def assert_check_finds(lab, node, name, target, subject, *texts):
    """`godwit check` fails and lists a problem of this SUBJECT with all of TEXTS in it."""
    found = check(lab, node, name, target)
    fitting = [problem["text"] for problem in found
               if problem["subject"] == subject and all(text in problem["text"] for text in texts)]
    assert fitting, f"no problem '{subject}' with {texts} in {found}"


def assert_both_refuse(lab, container, target, subject, *texts):
    """A problem that can be known before anything is touched: said by `check`, and by `migrate` in the same words."""
    assert_check_finds(lab, container.node, container.name, target, subject, *texts)
    assert_refused(lab, container, target, *texts)


def check(lab, node, name, target):
    """The problems that `godwit check` lists; its exit status fits them."""
    result = lab.exec(node, "godwit", "check", name, "--to", target, "--json", check=False)
    problems = json.loads(result.stdout.splitlines()[-1])["problems"]
    assert result.returncode == (1 if problems else 0), result
    return problems


def migrate_by_name(lab, node, name, target, *options):
    """`godwit migrate` for what no Container stands for."""
    result = lab.exec(node, "godwit", "migrate", name, "--to", target, *options, "--json", check=False)
    lines = result.stdout.strip().splitlines()
    return migration.Migration(result.returncode, json.loads(lines[-1]) if lines else {}, result.stderr)


def _assert_report(result, texts, outcome):
    assert result.status == {"rolled_back": 3, "failed": 1}[outcome], result
    assert result.report["outcome"] == outcome, result
    for text in texts:
        assert text in result.report["error"], f"'{text}' is not in: {result.report['error']}"
    assert result.report["downtime_ms"] == 0
