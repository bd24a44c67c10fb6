//! The trust directory: notation's trust policy and trust stores, read as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::authority::{Authority, Source};
use super::files;
use super::mistake::{Place, Warning};
use super::reading::{Reader, suggestion};
use super::snapshot::Fingerprint;
use crate::clock::UnixMillis;
use crate::oci::RepositoryName;
use crate::verification::CheckName;
use crate::verification::notary::{
    Action, Level, Statement, StoreType, TrustError, TrustPolicy, TrustStores,
};
use crate::yaml::nearest;

/// The names of the trust policy; notation reads the first that is there.
const TRUST_POLICIES: [&str; 2] = ["trustpolicy.oci.json", "trustpolicy.json"];

/// How long before its end a certificate is worth a word.
const SOON: Duration = Duration::from_hours(30 * 24);

/// How deep a trust store lies, at most.
const DEPTH: usize = 4;

/// What is trusted for Notary Project signatures.
#[derive(Debug)]
pub(super) struct Trust {
    policy: TrustPolicy,
    stores: TrustStores,
    /// The host by which scopes know the registry.
    registry: Option<String>,
    policy_file: PathBuf,
    store_directory: PathBuf,
    bytes: Vec<u8>,
}

impl Trust {
    /// Reads a trust directory.
    pub(super) fn load(
        directory: &Path,
        registry: Option<&str>,
        reader: &mut Reader,
    ) -> Option<Self> {
        let mut candidates = TRUST_POLICIES.iter().map(|name| directory.join(name));
        let Some(policy_file) = candidates.find(|file| fs::symlink_metadata(file).is_ok()) else {
            let place = place(directory, "");
            reader.report_at(place, "has no trustpolicy.json");
            return None;
        };
        let policy = match files::read(&policy_file) {
            Ok(bytes) => match TrustPolicy::parse(&bytes) {
                Ok(policy) => Some((policy, bytes)),
                Err(errors) => {
                    report(&policy_file, errors, reader);
                    None
                }
            },
            Err(error) => {
                reader.report_at(place(&policy_file, ""), format!("cannot be read: {error}"));
                None
            }
        };
        let store_directory = directory.join("truststore");
        let stores = match TrustStores::read(&store_directory) {
            Ok(stores) => Some(stores),
            Err(errors) => {
                report(&store_directory, errors, reader);
                None
            }
        };
        let (policy, bytes) = policy?;
        Some(Self {
            policy,
            stores: stores?,
            registry: registry.map(str::to_owned),
            policy_file,
            store_directory,
            bytes,
        })
    }

    pub(super) fn statements(&self) -> &[Statement] {
        self.policy.statements()
    }

    pub(super) fn stores(&self) -> &TrustStores {
        &self.stores
    }

    /// The statement of that name, or the one that is about `repository`. Without a host name none but `*` can be.
    pub(super) fn statement(
        &self,
        name: Option<&str>,
        repository: &RepositoryName,
    ) -> Option<&Statement> {
        match name {
            Some(name) => self.policy.statement(name),
            None => self.policy.applicable(&self.scope(repository)),
        }
    }

    /// A repository as scopes name it; without a host name, as none does.
    pub(super) fn scope(&self, repository: &RepositoryName) -> String {
        let registry = self.registry.as_deref().unwrap_or_default();
        format!("{registry}/{repository}")
    }

    /// Adds all that was read, and by which name the registry is known, to what names the revision.
    pub(super) fn hash(&self, hashed: &mut Fingerprint) {
        hashed.add(self.registry.as_deref().unwrap_or_default().as_bytes());
        hashed.add(&self.bytes);
        for (name, certificates) in self.stores.iter() {
            hashed.add(name.to_string().as_bytes());
            for certificate in certificates {
                hashed.add(certificate.encoded());
            }
        }
    }

    /// The files and directories in which something may change.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        let mut watched = vec![self.policy_file.clone()];
        walk(&self.store_directory, DEPTH, &mut watched);
        watched
    }

    /// Statements that authorities name have to be there.
    pub(super) fn check(&self, authority: &Authority, reader: &mut Reader) {
        let Source::Notation {
            statement: Some(name),
        } = &authority.source
        else {
            return;
        };
        if self.policy.statement(name).is_none() {
            let names = self.statements().iter().map(Statement::name);
            let meant = suggestion(nearest(names, name));
            let path = format!("{}.notation.statement", authority.path());
            let file = self.policy_file.display();
            let problem = format!("{file} has no statement {name:?}{meant}");
            reader.report(Some(authority.line), &path, problem);
        }
    }

    /// What is worth a look about an authority.
    pub(super) fn lint(&self, authority: &Authority, place: &Place) -> Vec<Warning> {
        let Source::Notation { statement } = &authority.source else {
            return Vec::new();
        };
        match statement {
            Some(name) => {
                let statement = self.policy.statement(name).into_iter();
                statement
                    .flat_map(|one| self.lint_statement(one, place))
                    .collect()
            }
            None => self.lint_scopes(place),
        }
    }

    fn lint_scopes(&self, place: &Place) -> Vec<Warning> {
        let is_wildcard = |scope: &String| scope == "*";
        let is_ours = |scope: &String| match &self.registry {
            Some(registry) => {
                let rest = scope.strip_prefix(registry.as_str());
                rest.is_some_and(|rest| rest.starts_with('/'))
            }
            None => false,
        };
        let mut warnings = Vec::new();
        let can_apply = |one: &&Statement| {
            let mut scopes = one.scopes().iter();
            scopes.any(|scope| is_wildcard(scope) || is_ours(scope))
        };
        if !self.statements().iter().any(|one| can_apply(&one)) {
            let problem = match &self.registry {
                Some(registry) => format!("no statement has a scope that begins with {registry}/"),
                None => "listen.public_url is not set, and no statement has the scope *".to_owned(),
            };
            warnings.push(Warning::hopeless(place.clone(), problem));
        } else if self.registry.is_none() {
            let problem = "listen.public_url is not set, so that of all scopes only * applies";
            warnings.push(Warning::new(place.clone(), problem));
        }
        let applicable = self.statements().iter().filter(can_apply);
        warnings.extend(applicable.flat_map(|one| self.lint_statement(one, place)));
        warnings
    }

    fn lint_statement(&self, statement: &Statement, place: &Place) -> Vec<Warning> {
        let name = statement.name();
        let mut warnings = Vec::new();
        if statement.level() == Level::Skip {
            let problem = format!("statement {name:?} verifies nothing (level skip)");
            warnings.push(Warning::hopeless(place.clone(), problem));
            return warnings;
        }
        if statement.action(CheckName::Authenticity) != Action::Enforce {
            let problem = format!(
                "statement {name:?} only logs who has signed; whom it does not trust still does not count"
            );
            warnings.push(Warning::new(place.clone(), problem));
        }
        let anchors = statement.trust_stores().iter();
        let mut anchors = anchors
            .filter(|store| store.kind() != StoreType::Tsa)
            .peekable();
        let has_anchors = anchors.peek().is_some();
        let missing: Vec<String> = statement
            .trust_stores()
            .iter()
            .filter(|store| self.stores.certificates(store).is_none())
            .map(ToString::to_string)
            .collect();
        let is_hopeless =
            !has_anchors || anchors.all(|store| self.stores.certificates(store).is_none());
        if is_hopeless || !missing.is_empty() {
            let what = if missing.is_empty() {
                "it lists".to_owned()
            } else {
                missing.join(", ")
            };
            let problem = format!("statement {name:?}: there is no trust store {what}");
            warnings.push(Warning {
                is_hopeless,
                ..Warning::new(place.clone(), problem)
            });
        }
        warnings
    }

    /// Certificates that have expired, or soon will.
    pub(super) fn lint_certificates(&self, now: UnixMillis) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (store, certificates) in self.stores.iter() {
            for certificate in certificates {
                let expires = certificate.expires();
                if expires > now.saturating_add(SOON) {
                    continue;
                }
                let verb = if expires <= now { "expired" } else { "expires" };
                let problem = format!("certificate {}: {verb} {expires}", certificate.subject());
                let place = place(&self.store_directory, &store.to_string());
                warnings.push(Warning::new(place, problem));
            }
        }
        warnings
    }
}

fn place(file: &Path, path: &str) -> Place {
    Place {
        file: file.to_owned(),
        line: None,
        path: path.to_owned(),
    }
}

fn report(file: &Path, errors: Vec<TrustError>, reader: &mut Reader) {
    for error in errors {
        reader.report_at(place(file, &error.place), error.mistake.to_string());
    }
}

fn walk(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    found.push(directory.to_owned());
    // What cannot be read now could not be read before either, and that was reported.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => walk(&entry.path(), depth - 1, found),
            Ok(_) | Err(_) => found.push(entry.path()),
        }
    }
}
