"""Compares two result folders of the OCI conformance suite: compare.py BARE REGSEAL PROFILE.

Prints both side by side. Fails unless every case that was run passes through regseal, none is skipped, at least those
are run that pass on the bare registry, and every API and data set is Pass that the profile does not disable. Case names
repeat, and their order varies, so results are counted per name.
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from pathlib import Path

# What each profile leaves out; what needs manifests whose content is missing is off in all of them.
DISABLED = {
    "1.1": {"Blob upload cancel", "Manifest put with tag params", "Tag Param", "Tag Param sha512", "Sparse Manifests"},
    "dev": {"Sparse Manifests"},
}
# The report says "skipped" of cases that a profile disables.
DISABLED_CASES = {"1.1": "/blob-post-cancel", "dev": None}
# Cases that a profile has at least, so that a suite which stops early is no success.
LEAST = {"1.1": 690, "dev": 790}


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


def main(bare, regseal, profile):
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
    for name, counts in sorted(cases[regseal].items()):
        disabled = DISABLED_CASES[profile]
        if set(counts) != {"passed"} and not (disabled and name.endswith(disabled)):
            faults.append(f"{name}: must pass through regseal, got {dict(counts)}")
    for name, counts in sorted(cases[bare].items()):
        # Where the tags of a push by digest are set with it, the suite does not push by tag as well.
        if name.startswith("tag-param-") and name.endswith("/push/manifest-by-tag"):
            continue
        passed = cases[regseal][name]["passed"]
        if passed < counts["passed"]:
            faults.append(f"{name}: passes {counts['passed']} times bare, {passed} times through regseal")
    total = groups[regseal]["total"]["passed"]
    if total < LEAST[profile]:
        faults.append(f"{total} cases have passed, at least {LEAST[profile]} were expected")
    for name in sorted(rows[bare].keys() | rows[regseal].keys()):
        wanted = "Disabled" if name in DISABLED[profile] else "Pass"
        if rows[regseal].get(name) != wanted:
            faults.append(f"{name}: must be {wanted} through regseal, is {rows[regseal].get(name)}")
    print("\n" + ("\n".join(faults) or f"all {total} cases pass through regseal"))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
