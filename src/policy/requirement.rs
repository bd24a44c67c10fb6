//! Whose signatures an image needs.

use std::collections::BTreeSet;
use std::fmt;

/// Whose signatures are enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// That of this authority.
    Authority(String),
    /// What each of these requires.
    All(Vec<Self>),
    /// What one of these requires.
    Any(Vec<Self>),
    /// What so many of these require.
    AtLeast(usize, Vec<Self>),
}

impl Requirement {
    /// Whether it is met once the authorities in `by` have signed.
    #[must_use]
    pub fn is_satisfied(&self, by: &BTreeSet<&str>) -> bool {
        let (needed, of) = match self {
            Self::Authority(name) => return by.contains(name.as_str()),
            Self::All(of) => (of.len(), of),
            Self::Any(of) => (1, of),
            Self::AtLeast(needed, of) => (*needed, of),
        };
        // A list that is empty is refused where it is read; if there ever was one, it would be met by nothing.
        !of.is_empty() && of.iter().filter(|part| part.is_satisfied(by)).count() >= needed
    }

    /// Authorities that would complete it, beside those in `by`: where there is a choice, those of which fewest are missing.
    /// Empty if and only if it is met.
    #[must_use]
    pub fn missing(&self, by: &BTreeSet<&str>) -> Vec<&str> {
        let (needed, of) = match self {
            Self::Authority(name) if by.contains(name.as_str()) => return Vec::new(),
            Self::Authority(name) => return vec![name],
            Self::All(of) => (of.len(), of),
            Self::Any(of) => (1, of),
            Self::AtLeast(needed, of) => (*needed, of),
        };
        let mut parts: Vec<Vec<&str>> = of.iter().map(|part| part.missing(by)).collect();
        if needed < parts.len() {
            parts.sort_by_key(Vec::len);
        }
        let mut missing: Vec<&str> = Vec::new();
        for name in parts.into_iter().take(needed).flatten() {
            if !missing.contains(&name) {
                missing.push(name);
            }
        }
        missing
    }

    /// Every authority it names, in order, as often as it does.
    #[must_use]
    pub fn authorities(&self) -> Vec<&str> {
        match self {
            Self::Authority(name) => vec![name],
            Self::All(of) | Self::Any(of) | Self::AtLeast(_, of) => {
                of.iter().flat_map(Self::authorities).collect()
            }
        }
    }

    /// The authorities of each part that counts them.
    pub(super) fn counted(&self) -> Vec<Vec<&str>> {
        match self {
            Self::Authority(_) => Vec::new(),
            Self::All(of) | Self::Any(of) => of.iter().flat_map(Self::counted).collect(),
            Self::AtLeast(_, of) => {
                let mut counted: Vec<_> = of.iter().flat_map(Self::counted).collect();
                counted.push(self.authorities());
                counted
            }
        }
    }

    fn list(of: &[Self], word: &str) -> String {
        let parts: Vec<String> = of
            .iter()
            .map(|part| match part {
                Self::All(of) | Self::Any(of) if of.len() > 1 => format!("({part})"),
                Self::Authority(_) | Self::All(_) | Self::Any(_) | Self::AtLeast(..) => {
                    part.to_string()
                }
            })
            .collect();
        parts.join(word)
    }
}

/// In words, for messages: `a and (b or c)`.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority(name) => f.write_str(name),
            Self::All(of) => f.write_str(&Self::list(of, " and ")),
            Self::Any(of) => f.write_str(&Self::list(of, " or ")),
            Self::AtLeast(needed, of) => {
                write!(f, "at least {needed} of ({})", Self::list(of, ", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn authority(name: &str) -> Requirement {
        Requirement::Authority(name.to_owned())
    }

    fn set(by: &'static str) -> BTreeSet<&'static str> {
        by.split_terminator(' ').collect()
    }

    #[test]
    fn each_form_is_met_by_what_it_says_and_by_no_less() {
        let abc = || vec![authority("a"), authority("b"), authority("c")];
        let nested = Requirement::All(vec![
            authority("a"),
            Requirement::Any(vec![authority("b"), authority("c")]),
        ]);
        for (requirement, by, missing) in [
            (authority("a"), "", "a"),
            (authority("a"), "b", "a"),
            (authority("a"), "a", ""),
            (Requirement::All(abc()), "a c", "b"),
            (Requirement::All(abc()), "a b c", ""),
            (Requirement::Any(abc()), "", "a"),
            (Requirement::Any(abc()), "c", ""),
            (Requirement::AtLeast(2, abc()), "", "a b"),
            (Requirement::AtLeast(2, abc()), "c", "a"),
            (Requirement::AtLeast(2, abc()), "a c", ""),
            (nested.clone(), "a", "b"),
            (nested.clone(), "b c", "a"),
            (nested, "a c", ""),
        ] {
            let by = set(by);
            assert_eq!(
                requirement.missing(&by).join(" "),
                missing,
                "{requirement} {by:?}"
            );
            assert_eq!(
                requirement.is_satisfied(&by),
                missing.is_empty(),
                "{requirement} {by:?}"
            );
        }
    }

    #[test]
    fn the_alternative_that_misses_least_is_named() {
        let both = Requirement::All(vec![authority("a"), authority("b")]);
        let either = Requirement::Any(vec![both, authority("c")]);
        assert_eq!(either.missing(&set("")), ["c"]);
        assert_eq!(either.missing(&set("a")), ["b"]);
        assert_eq!(either.to_string(), "(a and b) or c");
    }

    #[test]
    fn nothing_meets_a_list_of_nothing() {
        for requirement in [
            Requirement::All(Vec::new()),
            Requirement::Any(Vec::new()),
            Requirement::AtLeast(0, Vec::new()),
        ] {
            assert!(!requirement.is_satisfied(&set("a")));
        }
    }

    fn requirements() -> impl Strategy<Value = Requirement> {
        let leaf = "[a-e]".prop_map(Requirement::Authority);
        leaf.prop_recursive(3, 16, 4, |inner| {
            let list = prop::collection::vec(inner, 1..4);
            prop_oneof![
                list.clone().prop_map(Requirement::All),
                list.clone().prop_map(Requirement::Any),
                (list, 0..3_usize)
                    .prop_map(|(of, more)| { Requirement::AtLeast(1 + more % of.len(), of) }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_missing_completes_it_and_more_signatures_never_harm(
            requirement in requirements(),
            by in prop::collection::btree_set("[a-e]", 0..4),
            more in "[a-e]",
        ) {
            let mut by: BTreeSet<&str> = by.iter().map(String::as_str).collect();
            let satisfied = requirement.is_satisfied(&by);
            let missing = requirement.missing(&by);
            prop_assert_eq!(satisfied, missing.is_empty());
            let mut with_more = by.clone();
            with_more.insert(&more);
            prop_assert!(!satisfied || requirement.is_satisfied(&with_more));
            by.extend(missing);
            prop_assert!(requirement.is_satisfied(&by));
        }
    }
}
