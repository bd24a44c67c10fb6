"""Compares two result folders of the OCI conformance suite: compare.py BARE REGSEAL.

Prints both side by side. Fails unless every case that passes on the bare registry passes through regseal as well,
and everything about subjects and referrers passes through regseal. Case names repeat, and their order varies, so
results are counted per name.
"""

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from pathlib import Path

REQUIRED_ROWS = {
    "Referrers",
    "Manifest put with subject",
    "Artifacts with Subject",
    "Index with Subject",
    "Missing Subject",
}
REQUIRED_CASES = re.compile(r"/referrers$|-subject/push/")


def read_rows(folder):
    """The `apis` and `data` sections of results.yaml: {row: status}."""
    rows, section = {}, None
    for line in (folder / "results.yaml").read_text().splitlines():
        if not line.startswith(" "):
            section = line.rstrip(":")
        elif section in ("apis", "data"):
            name, status = line.strip().rsplit(": ", 1)
            rows[name] = status
    return rows


def read_cases(folder):
    """junit.xml as {case name: Counter of statuses}, without the name of the whole suite."""
    cases = defaultdict(Counter)
    for case in ElementTree.parse(folder / "junit.xml").iter("testcase"):
        cases[case.get("name").partition("/")[2]][case.get("status")] += 1
    return cases


def by_group(cases):
    groups = defaultdict(Counter)
    for name, counts in cases.items():
        groups[name.partition("/")[0]].update(counts)
    groups["total"] = sum(groups.values(), Counter())
    return groups


def cell(counts):
    failed = counts["failure"] + counts["error"]
    return f"{counts['passed']:>5} {failed or '-':>5} {counts['skipped'] or '-':>5}"


def main(bare, regseal):
    rows = {folder: read_rows(folder) for folder in (bare, regseal)}
    print(f"{'API or data set':<32} {'bare':>9} {'regseal':>9}")
    for name in rows[bare]:
        print(f"{name:<32} {rows[bare][name]:>9} {rows[regseal].get(name, 'absent'):>9}")

    cases = {folder: read_cases(folder) for folder in (bare, regseal)}
    groups = {folder: by_group(cases[folder]) for folder in (bare, regseal)}
    print(f"\n{'cases: pass, fail, skip':<32} {'bare':>17} {'regseal':>19}")
    for name in groups[bare]:
        print(f"{name:<32} {cell(groups[bare][name])}   {cell(groups[regseal][name])}")

    faults = []
    for name, counts in sorted(cases[bare].items()):
        passed = cases[regseal][name]["passed"]
        if passed < counts["passed"]:
            faults.append(f"{name}: passes {counts['passed']} times bare, {passed} times through regseal")
    for name, counts in sorted(cases[regseal].items()):
        if REQUIRED_CASES.search(name) and set(counts) != {"passed"}:
            faults.append(f"{name}: must pass through regseal, got {dict(counts)}")
    for name in sorted(REQUIRED_ROWS):
        if rows[regseal].get(name) != "Pass":
            faults.append(f"{name}: must be Pass through regseal, is {rows[regseal].get(name)}")
    print("\n" + ("\n".join(faults) or "everything that passes on the bare registry passes through regseal"))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
