//! Reads the document and collects its mistakes (trust-store-trust-policy, "Trust policy constraints").

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::distinguished_name::DistinguishedName;
use super::super::level::{Action, Actions, Level};
use super::super::mistake::{Mistake, TrustError};
use super::super::trust_store::StoreName;
use super::{Identity, Statement, VerifyTimestamp, WILDCARD};
use crate::oci::{RepositoryName, strict_json};

const STATEMENT: [&str; 5] = [
    "name",
    "registryScopes",
    "signatureVerification",
    "trustStores",
    "trustedIdentities",
];

pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Statement>, Vec<TrustError>> {
    let mut reader = Reader::default();
    let document = strict_json::from_slice(bytes);
    let statements = match document {
        Ok(document) => reader.document(&document),
        Err(error) => {
            reader.note(Mistake::Json(error));
            Vec::new()
        }
    };
    if reader.mistakes.is_empty() {
        Ok(statements)
    } else {
        Err(reader.mistakes)
    }
}

/// Walks the document. What is wrong is noted, and the walk goes on with a value that makes no mistake of its own; the
/// statements count only if nothing was noted.
struct Reader {
    place: String,
    mistakes: Vec<TrustError>,
    names: BTreeSet<String>,
    scopes: BTreeSet<String>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            place: "trust policy".to_owned(),
            mistakes: Vec::new(),
            names: BTreeSet::new(),
            scopes: BTreeSet::new(),
        }
    }
}

impl Reader {
    fn note(&mut self, mistake: Mistake) {
        self.mistakes
            .push(TrustError::new(self.place.clone(), mistake));
    }

    fn document(&mut self, document: &Value) -> Vec<Statement> {
        let Some(members) = self.object(
            "the document",
            Some(document),
            &["version", "trustPolicies"],
        ) else {
            return Vec::new();
        };
        match self.text(members, "version") {
            Some("1.0") | None => {}
            Some(version) => self.not_one_of("version", version, "\"1.0\""),
        }
        let statements = match members.get("trustPolicies") {
            Some(Value::Array(statements)) => statements.as_slice(),
            Some(_) => {
                self.wrong_type("trustPolicies", "a list");
                return Vec::new();
            }
            None => &[],
        };
        if statements.is_empty() {
            self.note(Mistake::Empty("trustPolicies"));
        }
        let mut read = Vec::new();
        for (index, statement) in statements.iter().enumerate() {
            self.place = match statement.get("name").and_then(Value::as_str) {
                Some(name) if !name.is_empty() => format!("statement {name:?}"),
                _ => format!("trustPolicies[{index}]"),
            };
            read.extend(self.statement(statement));
        }
        read
    }

    fn statement(&mut self, value: &Value) -> Option<Statement> {
        let members = self.object("a statement", Some(value), &STATEMENT)?;
        let name = self.text(members, "name").unwrap_or_default().to_owned();
        if !name.is_empty() && !self.names.insert(name.clone()) {
            self.note(Mistake::RepeatedName);
        }
        let (level, actions, verify_timestamp) =
            self.verification(members.get("signatureVerification"));
        let skips = level == Some(Level::Skip);
        let scopes = self.scopes(members, skips);
        let stores = self.stores(members, skips);
        let identities = self.identities(members, skips);
        Some(Statement {
            name,
            scopes,
            level: level?,
            actions,
            verify_timestamp,
            stores,
            identities,
        })
    }

    fn verification(&mut self, value: Option<&Value>) -> (Option<Level>, Actions, VerifyTimestamp) {
        let mut actions = Level::Strict.actions();
        let always = VerifyTimestamp::Always;
        let field = "signatureVerification";
        let Some(members) = self.object(field, value, &["level", "override", "verifyTimestamp"])
        else {
            return (None, actions, always);
        };
        let written = self.text(members, "level");
        let level = written.and_then(Level::parse);
        if let (Some(written), None) = (written, level) {
            self.not_one_of("level", written, Level::NAMES);
        }
        if let Some(level) = level {
            actions = level.actions();
        }
        self.overrides(members.get("override"), level, &mut actions);
        let verify_timestamp = match members.get("verifyTimestamp").map(Value::as_str) {
            None | Some(Some("always")) => always,
            Some(Some("afterCertExpiry")) => VerifyTimestamp::AfterCertExpiry,
            Some(Some(other)) => {
                self.not_one_of("verifyTimestamp", other, "always or afterCertExpiry");
                always
            }
            Some(None) => {
                self.wrong_type("verifyTimestamp", "a string");
                always
            }
        };
        (level, actions, verify_timestamp)
    }

    fn overrides(&mut self, value: Option<&Value>, level: Option<Level>, actions: &mut Actions) {
        let members = match value {
            None => return,
            Some(Value::Object(members)) => members,
            Some(_) => return self.wrong_type("override", "an object"),
        };
        if level == Some(Level::Skip) && !members.is_empty() {
            return self.note(Mistake::SkipWith("override"));
        }
        for (name, value) in members {
            let Some(action) = actions.named(name) else {
                self.note(Mistake::NotOverridable(name.clone()));
                continue;
            };
            let skippable = name == "revocation";
            match value.as_str().map(Action::parse) {
                Some(Some(Action::Skip)) if !skippable => {
                    self.not_one_of(&format!("override.{name}"), "skip", "enforce or log");
                }
                Some(Some(written)) => *action = written,
                Some(None) => {
                    let allowed = if skippable {
                        "enforce, log or skip"
                    } else {
                        "enforce or log"
                    };
                    let written = value.as_str().unwrap_or_default();
                    self.not_one_of(&format!("override.{name}"), written, allowed);
                }
                None => self.wrong_type(&format!("override.{name}"), "a string"),
            }
        }
    }

    fn scopes(&mut self, members: &Map<String, Value>, skips: bool) -> Vec<String> {
        let field = "registryScopes";
        let Some(scopes) = self.list(members, field) else {
            return Vec::new();
        };
        if scopes.is_empty() {
            self.note(Mistake::Empty(field));
        }
        if scopes.len() > 1 && scopes.contains(&WILDCARD) {
            self.note(Mistake::WildcardWithOthers(field));
        }
        for scope in &scopes {
            if *scope == WILDCARD && skips {
                self.note(Mistake::SkipEverything);
            }
            if *scope != WILDCARD && !is_scope(scope) {
                self.note(Mistake::MalformedScope((*scope).to_owned()));
            }
            if !self.scopes.insert((*scope).to_owned()) {
                self.note(Mistake::RepeatedScope((*scope).to_owned()));
            }
        }
        scopes.into_iter().map(str::to_owned).collect()
    }

    fn stores(&mut self, members: &Map<String, Value>, skips: bool) -> Vec<StoreName> {
        let mut stores = Vec::new();
        for written in self.needed_unless(skips, members, "trustStores") {
            match StoreName::parse(written) {
                Some(store) => stores.push(store),
                None => self.note(Mistake::MalformedStore(written.to_owned())),
            }
        }
        stores
    }

    fn identities(&mut self, members: &Map<String, Value>, skips: bool) -> Vec<Identity> {
        let field = "trustedIdentities";
        let written = self.needed_unless(skips, members, field);
        if written.len() > 1 && written.contains(&WILDCARD) {
            self.note(Mistake::WildcardWithOthers(field));
        }
        let mut identities = Vec::new();
        let mut names: Vec<(&str, DistinguishedName)> = Vec::new();
        for identity in written {
            if identity == WILDCARD {
                identities.push(Identity::Anyone);
                continue;
            }
            match identity.split_once(':') {
                Some(("x509.subject", name)) => match DistinguishedName::parse(name) {
                    Ok(name) => {
                        for (other, known) in &names {
                            if name.covers(known) || known.covers(&name) {
                                let pair = Mistake::Overlap((*other).into(), identity.into());
                                self.mistakes.push(TrustError::new(&*self.place, pair));
                            }
                        }
                        names.push((identity, name.clone()));
                        identities.push(Identity::Subject(name));
                    }
                    Err(source) => self.note(Mistake::Identity {
                        identity: identity.to_owned(),
                        source,
                    }),
                },
                Some((prefix, _)) if !prefix.is_empty() => {
                    identities.push(Identity::Other(identity.to_owned()));
                }
                _ => self.note(Mistake::MalformedIdentity(identity.to_owned())),
            }
        }
        identities
    }

    /// A list that a statement must have, or must not have if it skips verification.
    fn needed_unless<'a>(
        &mut self,
        skips: bool,
        members: &'a Map<String, Value>,
        field: &'static str,
    ) -> Vec<&'a str> {
        let Some(list) = self.list(members, field) else {
            return Vec::new();
        };
        if skips && !list.is_empty() {
            self.note(Mistake::SkipWith(field));
        }
        if !skips && list.is_empty() {
            self.note(Mistake::Empty(field));
        }
        list
    }

    /// The members of an object, which has only the fields named.
    fn object<'a>(
        &mut self,
        field: &'static str,
        value: Option<&'a Value>,
        known: &[&str],
    ) -> Option<&'a Map<String, Value>> {
        let members = match value {
            None => {
                self.note(Mistake::Missing(field));
                return None;
            }
            Some(Value::Object(members)) => members,
            Some(_) => {
                self.wrong_type(field, "an object");
                return None;
            }
        };
        for name in members.keys() {
            if !known.contains(&name.as_str()) {
                self.note(Mistake::UnknownField(name.clone()));
            }
        }
        Some(members)
    }

    /// A string that has to be there and not empty.
    fn text<'a>(
        &mut self,
        members: &'a Map<String, Value>,
        field: &'static str,
    ) -> Option<&'a str> {
        match members.get(field) {
            None => self.note(Mistake::Missing(field)),
            Some(Value::String(text)) if text.is_empty() => self.note(Mistake::Empty(field)),
            Some(Value::String(text)) => return Some(text),
            Some(_) => self.wrong_type(field, "a string"),
        }
        None
    }

    /// A list of strings, empty if it is not there; `None` if it is something else, which is noted.
    fn list<'a>(
        &mut self,
        members: &'a Map<String, Value>,
        field: &'static str,
    ) -> Option<Vec<&'a str>> {
        let items: Option<Vec<&str>> = match members.get(field) {
            None => return Some(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(Value::as_str).collect(),
            Some(_) => None,
        };
        if items.is_none() {
            self.wrong_type(field, "a list of strings");
        }
        items
    }

    fn wrong_type(&mut self, field: &str, expected: &'static str) {
        self.note(Mistake::WrongType {
            field: field.to_owned(),
            expected,
        });
    }

    fn not_one_of(&mut self, field: &str, value: &str, allowed: &'static str) {
        self.note(Mistake::NotOneOf {
            field: field.to_owned(),
            value: value.to_owned(),
            allowed,
        });
    }
}

/// Whether a scope is `host[:port]/repository`.
fn is_scope(scope: &str) -> bool {
    let Some((host, repository)) = scope.split_once('/') else {
        return false;
    };
    let (domain, port) = match host.split_once(':') {
        Some((domain, port)) => (domain, Some(port)),
        None => (host, None),
    };
    let is_number = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    domain.split('.').all(is_label)
        && port.is_none_or(is_number)
        && repository.parse::<RepositoryName>().is_ok()
}

/// Letters, digits and inner hyphens.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
