//! Challenges: the value of `WWW-Authenticate` (RFC 9110 section 11.6.1), read strictly.

use std::borrow::Cow;
use std::ops::Range;

/// One challenge of a header line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge<'a> {
    scheme: &'a str,
    parameters: Vec<Parameter<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Parameter<'a> {
    name: &'a str,
    value: Cow<'a, str>,
    /// Where the value stands in the line, its quotes included.
    place: Range<usize>,
}

/// All challenges of a line; `None` if it is anything else than a list of them.
pub(super) fn parse(line: &str) -> Option<Vec<Challenge<'_>>> {
    let mut reader = Reader {
        length: line.len(),
        rest: line,
    };
    let mut challenges = Vec::new();
    reader.separators();
    while !reader.rest.is_empty() {
        challenges.push(reader.challenge()?);
    }
    Some(challenges)
}

/// The line with other realms: `change` is asked for each Bearer realm. `None` if nothing changes.
pub(super) fn with_realms(
    line: &str,
    mut change: impl FnMut(&str) -> Option<String>,
) -> Option<String> {
    let mut changed = String::new();
    let mut written = 0;
    for challenge in parse(line)? {
        let Some(realm) = challenge.bearer() else {
            continue;
        };
        if let Some(new) = change(&realm.value) {
            changed.push_str(line.get(written..realm.place.start)?);
            changed.push('"');
            changed.push_str(&new.replace('\\', "\\\\").replace('"', "\\\""));
            changed.push('"');
            written = realm.place.end;
        }
    }
    if written == 0 {
        return None;
    }
    changed.push_str(line.get(written..)?);
    Some(changed)
}

/// The Bearer realms of a line.
pub(super) fn realms(line: &str) -> Vec<String> {
    let challenges = parse(line).unwrap_or_default();
    let realms = challenges.iter().filter_map(Challenge::bearer);
    realms.map(|realm| realm.value.to_string()).collect()
}

/// The Bearer challenges of a line: their realms, each with its service.
pub(super) fn bearer(line: &str) -> Vec<(String, Option<String>)> {
    let challenges = parse(line).unwrap_or_default();
    let named = challenges.iter().filter_map(|challenge| {
        let realm = challenge.bearer()?.value.to_string();
        let mut parameters = challenge.parameters.iter();
        let service = parameters.find(|parameter| parameter.name.eq_ignore_ascii_case("service"));
        Some((realm, service.map(|service| service.value.to_string())))
    });
    named.collect()
}

/// The schemes of a line, as it writes them.
pub(super) fn schemes(line: &str) -> Vec<String> {
    let challenges = parse(line).unwrap_or_default();
    let schemes = challenges.iter().map(|challenge| challenge.scheme);
    schemes.map(str::to_owned).collect()
}

/// Whether a line names `scheme` and no other.
pub(super) fn is_only(line: &str, scheme: &str) -> bool {
    parse(line).is_some_and(|challenges| {
        let mut schemes = challenges.iter().map(|challenge| challenge.scheme);
        schemes.all(|named| named.eq_ignore_ascii_case(scheme))
    })
}

impl<'a> Challenge<'a> {
    /// The realm, if this is a Bearer challenge and has one.
    fn bearer(&self) -> Option<&Parameter<'a>> {
        let mut parameters = self.parameters.iter();
        self.scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| parameters.find(|parameter| parameter.name.eq_ignore_ascii_case("realm")))?
    }
}

struct Reader<'a> {
    length: usize,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn challenge(&mut self) -> Option<Challenge<'a>> {
        let mut challenge = Challenge {
            scheme: self.token()?,
            parameters: Vec::new(),
        };
        if self.ends_item() {
            return Some(challenge);
        }
        if !self.rest.starts_with(' ') {
            return None;
        }
        self.spaces();
        if self.token68() {
            return Some(challenge);
        }
        loop {
            let before = self.rest;
            let Some(parameter) = self.parameter()? else {
                // The name of the next challenge; there is none before the first parameter.
                self.rest = before;
                return (!challenge.parameters.is_empty()).then_some(challenge);
            };
            let twice = |known: &Parameter<'_>| known.name.eq_ignore_ascii_case(parameter.name);
            if challenge.parameters.iter().any(twice) {
                return None;
            }
            challenge.parameters.push(parameter);
            if !self.ends_item() {
                return None;
            }
            if self.rest.is_empty() {
                return Some(challenge);
            }
        }
    }

    /// `Some(None)`: what stands here is no parameter.
    fn parameter(&mut self) -> Option<Option<Parameter<'a>>> {
        let name = self.token()?;
        self.spaces();
        let Some(rest) = self.rest.strip_prefix('=') else {
            return Some(None);
        };
        self.rest = rest;
        self.spaces();
        let start = self.place();
        let value = match self.rest.strip_prefix('"') {
            Some(rest) => self.quoted(rest)?,
            None => Cow::Borrowed(self.token()?),
        };
        let place = start..self.place();
        Some(Some(Parameter { name, value, place }))
    }

    fn quoted(&mut self, rest: &'a str) -> Option<Cow<'a, str>> {
        let mut value = String::new();
        let mut characters = rest.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => value.push(characters.next()?),
                character => value.push(character),
            }
        }
        self.rest = characters.as_str();
        Some(Cow::Owned(value))
    }

    /// Takes what some schemes have in place of parameters, with what ends it.
    fn token68(&mut self) -> bool {
        let of_token68 = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let after = self.rest.trim_start_matches(of_token68);
        if after.len() == self.rest.len() {
            return false;
        }
        let before = std::mem::replace(&mut self.rest, after.trim_start_matches('='));
        let ends = self.ends_item();
        if !ends {
            self.rest = before;
        }
        ends
    }

    fn token(&mut self) -> Option<&'a str> {
        let of_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let after = self.rest.trim_start_matches(of_token);
        let token = self.rest.strip_suffix(after)?;
        self.rest = after;
        (!token.is_empty()).then_some(token)
    }

    /// Whether an item of a list ends here; then what parts it from the next is taken.
    fn ends_item(&mut self) -> bool {
        let rest = self.rest.trim_start_matches([' ', '\t']);
        let ends = rest.is_empty() || rest.starts_with(',');
        if ends {
            self.separators();
        }
        ends
    }

    fn separators(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn place(&self) -> usize {
        self.length - self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Option<Vec<(&str, Vec<String>)>> {
        let challenges = parse(line)?;
        let shown = |parameter: &Parameter<'_>| format!("{}={}", parameter.name, parameter.value);
        let each = challenges
            .iter()
            .map(|each| (each.scheme, each.parameters.iter().map(shown).collect()));
        Some(each.collect())
    }

    #[test]
    fn challenges_are_read_as_the_grammar_has_them() {
        for (line, expected) in [
            ("", vec![]),
            ("Basic", vec![("Basic", vec![])]),
            (r#"Basic realm="r""#, vec![("Basic", vec!["realm=r"])]),
            (
                r#"Bearer realm="https://a/t?x=1,2",service=s , scope="repository:a:pull,push""#,
                vec![(
                    "Bearer",
                    vec![
                        "realm=https://a/t?x=1,2",
                        "service=s",
                        "scope=repository:a:pull,push",
                    ],
                )],
            ),
            (
                r#"Basic realm="a \"b\" c", Negotiate abc==,bearer REALM = "t" ,"#,
                vec![
                    ("Basic", vec![r#"realm=a "b" c"#]),
                    ("Negotiate", vec![]),
                    ("bearer", vec!["REALM=t"]),
                ],
            ),
            (
                ", Negotiate, , Basic realm=r",
                vec![("Negotiate", vec![]), ("Basic", vec!["realm=r"])],
            ),
        ] {
            let expected: Vec<(&str, Vec<String>)> = expected
                .into_iter()
                .map(|(scheme, all)| (scheme, all.into_iter().map(str::to_owned).collect()))
                .collect();
            assert_eq!(read(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_is_no_list_of_challenges_is_not_guessed_at() {
        for (line, why) in [
            ("=", "no scheme"),
            (r#"realm="r""#, "no scheme"),
            (r#"Bearer realm="r"#, "an open quote"),
            (r#"Bearer realm="r\"#, "an open escape"),
            (r#"Bearer realm="r" service="s""#, "no comma"),
            (
                r#"Bearer realm="a",Realm="b""#,
                "two realms: which one is it?",
            ),
            ("Bearer realm=http://a/t", "not quoted"),
            ("Bearer\trealm=r", "no space"),
            (r#"Bearer "r""#, "no name"),
            ("Bearer a b", "no comma"),
            (r#"Bearer realm="r";x"#, "an unknown separator"),
        ] {
            assert_eq!(read(line), None, "{line}: {why}");
        }
    }

    #[test]
    fn only_bearer_realms_change_and_everything_else_stays_verbatim() {
        let change = |realm: &str| (realm != "stays").then(|| format!("new \"{realm}\""));
        for (line, expected) in [
            (r#"Basic realm="a""#, None),
            (r#"Bearer service="a""#, None),
            (r#"Bearer realm="stays""#, None),
            ("Bearer realm=http://a", None),
            (
                r#"Basic realm="a",  bearer  scope="x \" y" , Realm = t;"#,
                None,
            ),
            (
                r#"Basic realm="a",  bearer  scope="x \" y" , Realm = t ,Foo, Bearer realm="u",error="e""#,
                Some(
                    r#"Basic realm="a",  bearer  scope="x \" y" , Realm = "new \"t\"" ,Foo, Bearer realm="new \"u\"",error="e""#,
                ),
            ),
        ] {
            assert_eq!(with_realms(line, change).as_deref(), expected, "{line}");
        }
        assert_eq!(
            realms(r#"Bearer realm="a", Basic realm="b", Bearer realm="c""#),
            ["a", "c"]
        );
        assert!(is_only(r#"Basic realm="b""#, "basic"));
        assert!(!is_only(r#"Basic realm="b", Bearer realm="c""#, "basic"));
    }

    proptest! {
        #[test]
        fn challenges_are_read_again_as_they_were_written(
            challenges in prop::collection::vec((scheme(), parameters()), 1..4),
            comma in prop::sample::select(vec![",", ", ", " ,", ",, "]),
        ) {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let written = challenges.iter().map(|(scheme, parameters)| {
                let written = parameters.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value)));
                format!("{scheme} {}", written.collect::<Vec<_>>().join(comma))
            });
            let line = written.collect::<Vec<_>>().join(comma);
            let expected: Vec<(&str, Vec<String>)> = challenges
                .iter()
                .map(|(scheme, parameters)| {
                    let shown = parameters.iter().map(|(name, value)| format!("{name}={value}"));
                    (scheme.as_str(), shown.collect())
                })
                .collect();
            prop_assert_eq!(read(&line), Some(expected), "{}", &line);
        }

        #[test]
        fn the_same_realm_changes_nothing_that_is_read(line in "[ -~]{0,60}", realm in "[ -~]{0,20}") {
            let line = format!("Bearer realm=\"{}\",{line}", realm.replace(['\\', '"'], ""));
            if let Some(changed) = with_realms(&line, |realm| Some(realm.to_owned())) {
                prop_assert_eq!(read(&changed), read(&line));
                prop_assert_eq!(realms(&changed), realms(&line));
            }
        }
    }

    fn scheme() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["Bearer", "Basic", "Negotiate", "x-y"]).prop_map(str::to_owned)
    }

    /// Names are not repeated.
    fn parameters() -> impl Strategy<Value = Vec<(String, String)>> {
        let names = prop::sample::subsequence(vec!["realm", "service", "scope", "error"], 1..=4);
        (names, prop::collection::vec("[ -~]{0,12}", 4)).prop_map(|(names, values)| {
            let names = names.into_iter().map(str::to_owned);
            names.zip(values).collect()
        })
    }
}
