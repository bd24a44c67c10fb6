//! What is wrong with a requirement.

use super::mistakes::of_rule;

#[track_caller]
fn of_requirement(require: &str) -> String {
    let usual = "name: all, repositories: ['**'], on_unsigned_push: reject";
    of_rule(&format!("{usual}, require: {require}")).replace(".require", "")
}

#[test]
fn a_requirement_can_be_met_and_counts_each_authority_once() {
    for (require, expected) in [
        ("release", ": unknown authority \"release\""),
        ("7", ": expected a mapping of keys, found 7"),
        ("[a]", ": expected a mapping of keys, found a list"),
        ("", ": expected a mapping of keys, found nothing"),
        (
            "{}",
            ": expected an authority, or exactly one of all, any and at_least",
        ),
        (
            "{all: []}",
            ".all: expected a list of authorities, found an empty one",
        ),
        (
            "{any: a}",
            ".any: expected a list of authorities, found \"a\"",
        ),
        (
            "{all: [a], any: [b]}",
            ": expected an authority, or exactly one of all, any and at_least",
        ),
        (
            "{all: [a, release]}",
            ".all[1]: unknown authority \"release\"",
        ),
        ("{any: [a, b, a]}", ".any: \"a\" is listed twice"),
        (
            "{al: [a]}",
            ": expected an authority, or exactly one of all, any and at_least\n.al: unknown key (did you mean \"all\"?)",
        ),
        ("{at_least: 2}", ": at_least and of are written together"),
        (
            "{of: [a]}",
            ": expected an authority, or exactly one of all, any and at_least\n: at_least and of are written together",
        ),
        (
            "{at_least: 0, of: [a]}",
            ".at_least: expected a whole number from 1 to 1, the length of the list, found 0",
        ),
        (
            "{at_least: 3, of: [a, b]}",
            ".at_least: expected a whole number from 1 to 2, the length of the list, found 3",
        ),
        (
            "{at_least: -1, of: [a, b]}",
            ".at_least: expected a whole number from 1 to 2, the length of the list, found -1",
        ),
        (
            "{at_least: '1', of: [a, b]}",
            ".at_least: expected a whole number from 1 to 2, the length of the list, found \"1\"",
        ),
        ("{at_least: 2, of: [a, a]}", ".of: \"a\" is listed twice"),
        (
            "{at_least: 2, of: [a, {any: [a, b]}]}",
            ": \"a\" could count twice for at_least",
        ),
        (
            "{at_least: 2, of: [{all: [a, b]}, {all: [b, c]}]}",
            ": \"b\" could count twice for at_least",
        ),
        (
            "{all: [{all: [{all: [{all: [{all: [{all: [{all: [{all: [{all: [a]}]}]}]}]}]}]}]}]}",
            ".all[0].all[0].all[0].all[0].all[0].all[0].all[0].all[0]: nested more than 8 deep",
        ),
    ] {
        assert_eq!(of_requirement(require), expected, "{require}");
    }
}
