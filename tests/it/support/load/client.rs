//! What every client of a load has: its way to each replica, its own chance, and the ledger in which it writes.

use std::sync::Arc;
use std::time::Duration;

use super::ledger::{Kind, Ledger, List, Part, Place, Subject};
use crate::support::chance::Chance;
use crate::support::http::{Endpoint, NO_ANSWER};
use crate::support::images::{self, ACCEPT};
use crate::support::{ALICE, Http, Reply, Repository};

pub struct Client {
    pub ledger: Arc<Ledger>,
    pub chance: Chance,
    replicas: Vec<Http>,
}

/// How a list was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Api,
    FallbackTag,
    CosignTag,
}

impl Client {
    pub fn new(endpoints: &[Endpoint], ledger: Arc<Ledger>, chance: Chance) -> Self {
        let replicas = endpoints.iter().map(|endpoint| endpoint.http(ALICE));
        Self {
            ledger,
            chance,
            replicas: replicas.collect(),
        }
    }

    pub fn replicas(&self) -> usize {
        self.replicas.len()
    }

    pub fn any_replica(&mut self) -> usize {
        self.chance.below(self.replicas.len())
    }

    pub fn repository(&self, replica: usize, name: &str) -> Repository {
        Repository::new(self.replicas[replica].clone(), name)
    }

    pub fn subject(&self, number: usize) -> Subject {
        self.ledger.book().subjects[number].clone()
    }

    /// Whether one of the parts was not well, for that replica, since then.
    pub fn was_disturbed(&self, parts: &[Part], replica: usize, since: Duration) -> bool {
        let now = self.ledger.now();
        let book = self.ledger.book();
        parts
            .iter()
            .any(|part| book.was_disturbed(*part, replica, since, now))
    }

    /// Complains of a failure that nothing excuses.
    pub fn failed(&self, what: &str, parts: &[Part], replica: usize, since: Duration, why: &str) {
        if why == NO_ANSWER || !self.was_disturbed(parts, replica, since) {
            let text = format!("{what} by {replica} since {since:.3?}: {why}");
            self.ledger.complain(&text);
        }
    }

    /// Reads a list from a replica and writes down what it shows. `None` when it cannot answer.
    pub fn list(&self, subject: usize, way: Way, replica: usize) -> Option<Vec<serde_json::Value>> {
        let begun = self.ledger.now();
        let of = self.subject(subject);
        let repository = self.repository(replica, &of.repository);
        let read = match way {
            Way::Api => read_pages(&repository, &of.image.digest()),
            Way::FallbackTag => read_tag(&repository, &of.image.companion_tag(""), "manifests"),
            Way::CosignTag => read_tag(&repository, &of.image.companion_tag(".sig"), "layers"),
        };
        let shown = match read {
            Ok(shown) => shown,
            Err(Unread::Status(status)) => {
                self.ledger.book().counts.unavailable += 1;
                let excuses: &[Part] = match (status, way) {
                    (503, _) => &[Part::S3, Part::Upstream, Part::Process],
                    // A tag is also asked of the registry.
                    (502 | 504, Way::FallbackTag | Way::CosignTag) => &[Part::Upstream],
                    _ => &[],
                };
                let why = format!("answered {status}");
                self.failed(&format!("{way:?}"), excuses, replica, begun, &why);
                return None;
            }
            Err(Unread::Broken(why)) => {
                let excuses: &[Part] = match way {
                    Way::Api => &[Part::Process],
                    // What the registry says of a tag that is not here is passed on as it comes.
                    Way::FallbackTag | Way::CosignTag => &[Part::Process, Part::Upstream],
                };
                self.failed(&format!("{way:?}"), excuses, replica, begun, &why);
                return None;
            }
        };
        let place = Place {
            subject,
            kind: match way {
                Way::Api | Way::FallbackTag => Kind::Referrers,
                Way::CosignTag => Kind::CosignTag,
            },
        };
        self.note(place, replica, begun, &shown);
        Some(shown)
    }

    fn note(&self, place: Place, replica: usize, begun: Duration, shown: &[serde_json::Value]) {
        let ended = self.ledger.now();
        let mut book = self.ledger.book();
        let mut entries = Vec::with_capacity(shown.len());
        let mut wrong = Vec::new();
        for descriptor in shown {
            let digest = descriptor["digest"].as_str().unwrap_or_default();
            match book.find(place, digest) {
                None => wrong.push(format!("{descriptor} was never pushed")),
                Some(entry) if book.entries[entry].descriptor != *descriptor => wrong.push(
                    format!("{descriptor} instead of {}", book.entries[entry].descriptor),
                ),
                Some(entry) => entries.push(entry),
            }
        }
        entries.sort_unstable();
        if entries.windows(2).any(|pair| pair[0] == pair[1]) {
            wrong.push("a signature is listed twice".to_owned());
        }
        for wrong in wrong {
            let text =
                format!("{ended:.3?} list by {replica} of {place:?} since {begun:.3?}: {wrong}");
            book.complaints.push(text);
        }
        book.counts.lists += 1;
        book.lists.push(List {
            place,
            replica,
            begun,
            ended,
            entries,
        });
    }
}

/// Why a list could not be read.
enum Unread {
    Status(u16),
    Broken(String),
}

fn read_pages(repository: &Repository, digest: &str) -> Result<Vec<serde_json::Value>, Unread> {
    let mut shown = Vec::new();
    let mut next = Some(repository.path(&format!("referrers/{digest}")));
    while let Some(path) = next {
        let reply = answered(repository.http.try_request("GET", &path, &[], ""))?;
        shown.extend(members(&reply, "manifests")?);
        next = images::next_page(reply.header("link"));
    }
    Ok(shown)
}

fn read_tag(
    repository: &Repository,
    tag: &str,
    key: &str,
) -> Result<Vec<serde_json::Value>, Unread> {
    let path = repository.path(&format!("manifests/{tag}"));
    match answered(repository.http.try_request("GET", &path, &[ACCEPT], "")) {
        Ok(reply) => members(&reply, key),
        Err(Unread::Status(404)) => Ok(Vec::new()),
        Err(unread) => Err(unread),
    }
}

fn answered(reply: Result<Reply, String>) -> Result<Reply, Unread> {
    let reply = reply.map_err(Unread::Broken)?;
    if reply.status == 200 {
        Ok(reply)
    } else {
        Err(Unread::Status(reply.status))
    }
}

fn members(reply: &Reply, key: &str) -> Result<Vec<serde_json::Value>, Unread> {
    serde_json::from_slice::<serde_json::Value>(&reply.body)
        .ok()
        .and_then(|body| Some(body[key].as_array()?.clone()))
        .ok_or_else(|| Unread::Broken(format!("not a list: {reply:?}")))
}
